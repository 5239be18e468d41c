//! How relays are doing, for the API and everybody else who asks.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use config::MountName;
use icecast::relay::{Chain, RelayHead};
use jiff::Timestamp;
use observe::Mutex;

use crate::{events, trouble::Trouble};

/// A relay that got no byte for this long is connected, but not active.
const ACTIVE: Duration = Duration::from_secs(5);

/// Where a relay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nobody listens to a relay that pulls on demand.
    Idle,
    /// The first attempt is under way.
    Connecting,
    /// It feeds its mount.
    Connected,
    /// It did, and has not yet failed to come back.
    Reconnecting,
    /// The last attempt failed; the next one will come.
    Failed,
}

impl Phase {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Failed => "failed",
        }
    }
}

/// One relay at one moment.
#[derive(Debug, Clone)]
pub struct RelayState {
    /// Where it pulls from, without credentials.
    pub url: String,
    /// Where it stands.
    pub phase: Phase,
    /// Whether data flows right now.
    pub active: bool,
    /// The most recent trouble; it stays when the relay is well again.
    pub last_error: Option<String>,
    /// When it was accepted last.
    pub last_connected: Option<Timestamp>,
    /// How often it was accepted after the first time.
    pub reconnects: u64,
    /// Bytes from the upstream, over all connections.
    pub bytes_in: u64,
}

/// The states of all relays that run. Clones show the same.
#[derive(Debug, Clone)]
pub struct Board(Arc<Mutex<BTreeMap<MountName, Arc<Gauge>>>>);

impl Default for Board {
    fn default() -> Self {
        Self(Arc::new(Mutex::new("relay.board", BTreeMap::new())))
    }
}

impl Board {
    /// All relays that run, by mount.
    #[must_use]
    pub fn states(&self) -> Vec<(MountName, RelayState)> {
        let gauges: Vec<_> = self
            .0
            .lock()
            .iter()
            .map(|(mount, gauge)| (mount.clone(), Arc::clone(gauge)))
            .collect();
        gauges
            .into_iter()
            .map(|(mount, gauge)| (mount, gauge.state()))
            .collect()
    }

    /// The relay of one mount; nothing when none runs.
    #[must_use]
    pub fn state(&self, mount: &MountName) -> Option<RelayState> {
        Some(self.find(mount)?.state())
    }

    /// The instances that a relayed mount came through, for relays that pull it from us. Empty when no relay feeds it.
    #[must_use]
    pub fn chain(&self, mount: &MountName) -> Chain {
        self.find(mount)
            .map(|gauge| gauge.0.lock().chain.clone())
            .unwrap_or_default()
    }

    fn find(&self, mount: &MountName) -> Option<Arc<Gauge>> {
        self.0.lock().get(mount).cloned()
    }

    pub(crate) fn add(&self, mount: &MountName, url: String) -> Arc<Gauge> {
        let gauge = Arc::new(Gauge::new(mount.clone(), url));
        self.0.lock().insert(mount.clone(), Arc::clone(&gauge));
        gauge
    }

    pub(crate) fn remove(&self, mount: &MountName) {
        self.0.lock().remove(mount);
    }
}

/// One relay's place on the board. Its task writes, everybody reads.
#[derive(Debug)]
pub(crate) struct Gauge(Mutex<Reading>);

#[derive(Debug)]
struct Reading {
    mount: MountName,
    url: String,
    phase: Phase,
    last_error: Option<String>,
    last_connected: Option<Timestamp>,
    connects: u64,
    bytes_in: u64,
    since: Instant,
    last_data: Option<Instant>,
    chain: Chain,
}

impl Gauge {
    fn new(mount: MountName, url: String) -> Self {
        Self(Mutex::new(
            "relay.state",
            Reading {
                mount,
                url,
                phase: Phase::Connecting,
                last_error: None,
                last_connected: None,
                connects: 0,
                bytes_in: 0,
                since: Instant::now(),
                last_data: None,
                chain: Chain::default(),
            },
        ))
    }

    fn state(&self) -> RelayState {
        let reading = self.0.lock();
        let now = tokio::time::Instant::now().into_std();
        let fresh = |at: Instant| now.saturating_duration_since(at) < ACTIVE;
        RelayState {
            url: reading.url.clone(),
            phase: reading.phase,
            active: reading.phase == Phase::Connected && reading.last_data.is_some_and(fresh),
            last_error: reading.last_error.clone(),
            last_connected: reading.last_connected,
            reconnects: reading.connects.saturating_sub(1),
            bytes_in: reading.bytes_in,
        }
    }

    /// An attempt begins. Only the first one shows.
    pub(crate) fn connecting(&self) {
        let mut reading = self.0.lock();
        if reading.phase == Phase::Idle {
            reading.phase = Phase::Connecting;
        }
    }

    /// The upstream was accepted.
    pub(crate) fn connected(&self, head: &RelayHead, now: Instant) {
        let mut reading = self.0.lock();
        reading.phase = Phase::Connected;
        reading.last_connected = Some(Timestamp::now());
        reading.connects += 1;
        reading.since = now;
        reading.last_data = None;
        reading.chain.clone_from(&head.chain);
        observe::emit(events::RelayConnected {
            mount: reading.mount.as_str(),
            url: &reading.url,
            upstream: head.server.as_deref(),
            content_type: head.content_type.as_deref(),
            metaint: head.metaint.map(std::num::NonZero::get),
        });
    }

    /// Bytes came.
    pub(crate) fn data(&self, bytes: usize, now: Instant) {
        let mut reading = self.0.lock();
        reading.bytes_in += bytes as u64;
        reading.last_data = Some(now);
    }

    /// The relay is not connected. The log is told when that is news.
    pub(crate) fn trouble(&self, trouble: &Trouble, now: Instant) {
        let mut reading = self.0.lock();
        let error = trouble.to_string();
        let was = reading.phase;
        let is_news = was != Phase::Failed || reading.last_error.as_ref() != Some(&error);
        reading.phase = if was == Phase::Connected {
            Phase::Reconnecting
        } else {
            Phase::Failed
        };
        if was == Phase::Connected {
            observe::emit(events::RelayLost {
                mount: reading.mount.as_str(),
                url: &reading.url,
                error: &error,
                connected: now.saturating_duration_since(reading.since),
            });
        } else if is_news {
            observe::emit(events::RelayFailed {
                mount: reading.mount.as_str(),
                url: &reading.url,
                error: &error,
            });
        }
        reading.last_error = Some(error);
    }

    /// The address is of no use; nothing will be tried.
    pub(crate) fn unusable(&self, error: String) {
        let mut reading = self.0.lock();
        observe::emit(events::RelayUnusable {
            mount: reading.mount.as_str(),
            error: &error,
        });
        reading.phase = Phase::Failed;
        reading.last_error = Some(error);
    }

    /// Nobody listens.
    pub(crate) fn idle(&self) {
        let mut reading = self.0.lock();
        if reading.phase != Phase::Idle {
            reading.phase = Phase::Idle;
            observe::emit(events::RelayIdle {
                mount: reading.mount.as_str(),
            });
        }
    }

    /// The relay's task ends.
    pub(crate) fn stopped(&self) {
        observe::emit(events::RelayStopped {
            mount: self.0.lock().mount.as_str(),
        });
    }
}
