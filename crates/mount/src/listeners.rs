//! Who is listening, for limits per address and for administration.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use fanout::{Interleave, Presence, Seat, Wire};
use observe::Mutex;

use crate::Stream;

/// Why a listener cannot come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The server has all the listeners that it may have.
    ServerFull,
    /// The mount has.
    MountFull,
    /// The client's address has.
    AddressFull,
}

/// A listener that has places and waits for its head and socket.
#[derive(Debug)]
pub struct Entrance {
    pub(crate) presence: Presence,
    pub(crate) stream: Arc<Stream>,
    pub(crate) home: Arc<fanout::Home>,
    pub(crate) seat: Seat,
    pub(crate) server_seat: Seat,
}

impl Entrance {
    /// Sets what the client says of itself.
    #[must_use]
    pub fn with_agent(mut self, user_agent: &str, referer: &str) -> Self {
        self.presence.user_agent = user_agent.into();
        self.presence.referer = referer.into();
        self
    }

    pub(crate) fn into_admission(self, wire: Wire, head: Bytes, interleave: Interleave) -> fanout::Admission {
        fanout::Admission {
            wire,
            head,
            home: self.home,
            feed: Arc::clone(self.stream.feed()),
            interleave,
            presence: Arc::new(self.presence),
            seat: self.seat,
            server_seat: self.server_seat,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Listeners {
    next_id: AtomicU64,
    /// Touched when a listener comes or goes and when somebody asks; never by delivery.
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    by_id: HashMap<u64, Arc<Presence>>,
    per_address: HashMap<IpAddr, u32>,
}

impl Listeners {
    pub(crate) fn new() -> Self {
        Self {
            next_id: AtomicU64::new(1),
            present: Mutex::new("mount.listeners", Present::default()),
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count_of(&self, ip: IpAddr) -> u32 {
        self.present.lock().per_address.get(&ip).copied().unwrap_or(0)
    }

    pub(crate) fn enter(&self, presence: &Arc<Presence>) {
        let mut present = self.present.lock();
        *present.per_address.entry(presence.ip).or_default() += 1;
        present.by_id.insert(presence.id, Arc::clone(presence));
    }

    pub(crate) fn leave(&self, presence: &Presence) {
        let mut present = self.present.lock();
        present.by_id.remove(&presence.id);
        if let Some(count) = present.per_address.get_mut(&presence.ip) {
            *count -= 1;
            if *count == 0 {
                present.per_address.remove(&presence.ip);
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Presence>> {
        let mut all: Vec<_> = self.present.lock().by_id.values().cloned().collect();
        all.sort_by_key(|presence| presence.id);
        all
    }

    /// How many there are like that.
    pub(crate) fn count(&self, is_meant: impl Fn(&Presence) -> bool) -> u64 {
        let present = self.present.lock();
        present
            .by_id
            .values()
            .filter(|presence| is_meant(presence))
            .count() as u64
    }

    pub(crate) fn contains(&self, id: u64) -> Option<Arc<Presence>> {
        self.present.lock().by_id.get(&id).cloned()
    }
}
