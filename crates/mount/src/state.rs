//! One mount: what lasts over its sources, and what the present one is doing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use config::MountName;
use fanout::{FeedCounters, Home, Seating};
use observe::Mutex;
use ring::Writer;

use crate::{Health, Stream, claim::Stop, metrics::IntakeMeter};

/// A mount. It outlives its sources, so that counters only grow and listeners on a fallback have a home.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) name: MountName,
    pub(crate) label: Arc<String>,
    pub(crate) home: Arc<Home>,
    pub(crate) seating: Arc<Seating>,
    pub(crate) counters: Arc<FeedCounters>,
    /// Bytes from all its sources since the process began.
    pub(crate) bytes_in: AtomicU64,
    pub(crate) intake: IntakeMeter,
    /// Whether a source is connected, for readers that must not wait for the state.
    pub(crate) connected: AtomicBool,
    /// The station's name, or what it was when there was one.
    pub(crate) station_name: ArcSwap<String>,
    /// The stream on air, for readers that must not wait for the state.
    pub(crate) stream: ArcSwapOption<Stream>,
    /// Held for a few assignments at a time, never while something is sent or awaited.
    pub(crate) state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) source: Source,
    pub(crate) health: Health,
    /// Listeners on a fallback come back then, if the source is still there.
    pub(crate) settles_at: Option<Instant>,
    /// Listeners have been sent to the fallback and not come back yet.
    pub(crate) fallen: bool,
    /// Somebody sent the source away: no other may come before.
    pub(crate) kept_free_until: Option<Instant>,
}

/// Who writes.
#[derive(Debug)]
pub(crate) enum Source {
    /// Nobody, and there is no stream.
    Nobody,
    /// A claim is alive.
    Live { stop: Arc<Stop> },
    /// The source went away; its stream waits for one to go on with it.
    Away { writer: Box<Writer>, until: Instant },
}

impl Mount {
    pub(crate) fn new(name: MountName, id: u64) -> Arc<Self> {
        Arc::new(Self {
            label: Arc::new(name.to_string()),
            name,
            home: Home::new(id),
            seating: Seating::new(None),
            counters: Arc::default(),
            bytes_in: AtomicU64::new(0),
            intake: IntakeMeter::default(),
            connected: AtomicBool::new(false),
            station_name: ArcSwap::default(),
            stream: ArcSwapOption::empty(),
            state: Mutex::new(
                "mount.state",
                State {
                    source: Source::Nobody,
                    health: Health::Healthy,
                    settles_at: None,
                    fallen: false,
                    kept_free_until: None,
                },
            ),
        })
    }

    /// Bytes from all its sources since the process began.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Ends the present stream: nothing more will come.
    pub(crate) fn end_stream(&self, state: &mut State) {
        state.source = Source::Nobody;
        self.connected.store(false, Ordering::Relaxed);
        state.settles_at = None;
        state.health = Health::Healthy;
        if let Some(stream) = self.stream.swap(None) {
            stream.feed().ring.close();
        }
    }
}
