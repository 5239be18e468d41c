//! What listeners are fed from, and who decides it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use media::Format;
use ring::Ring;

use crate::{Delays, Seating};

/// A live stream as delivery sees it: a ring and how its bytes must be treated.
#[derive(Debug)]
pub struct Feed {
    /// Unique within the process.
    pub id: u64,
    /// Name of the mount that it belongs to.
    pub mount: Arc<String>,
    /// Where the bytes are.
    pub ring: Arc<Ring>,
    /// Decides whether pages are rewritten per listener.
    pub format: Format,
    /// Streams with the same key can follow each other on one connection; empty means that nothing can.
    pub compatible: ArcSwap<String>,
    /// Places of the mount that this stream belongs to.
    pub seating: Arc<Seating>,
    /// What was delivered and what was not.
    pub counters: Arc<FeedCounters>,
    /// Bytes that a listener gets at once.
    pub burst: AtomicU64,
    /// Whether frames go out as they come instead of in batches.
    pub low_latency: AtomicBool,
}

impl Feed {
    /// Whether a listener of a stream with key `other` can go on with this one.
    #[must_use]
    pub fn can_follow(&self, other: &str) -> bool {
        let key = self.compatible.load();
        !key.is_empty() && **key == other
    }

    /// Bytes that a listener gets at once.
    #[must_use]
    pub fn burst(&self) -> u64 {
        self.burst.load(Ordering::Relaxed)
    }
}

/// Totals of one mount. They only grow, also over reconnects of the source.
#[derive(Debug, Default)]
pub struct FeedCounters {
    /// Bytes written to listeners, metadata and heads included.
    pub bytes_out: AtomicU64,
    /// Bytes that listeners missed because they fell behind; exactly what was jumped over.
    pub dropped: AtomicU64,
    /// Listeners that fell behind: each jump and each disconnection for slowness counts once.
    pub slow: AtomicU64,
    /// Where the time of its frames went.
    pub delays: Delays,
}

/// The mount that listeners asked for, whoever feeds them now.
#[derive(Debug)]
pub struct Home {
    /// Unique within the process.
    pub id: u64,
    routing: ArcSwap<Routing>,
}

impl Home {
    /// A mount without a stream.
    #[must_use]
    pub fn new(id: u64) -> Arc<Self> {
        Arc::new(Self {
            id,
            routing: ArcSwap::from_pointee(Routing::default()),
        })
    }

    /// Publishes new routing; [`crate::Fanout::reroute`] makes the threads apply it.
    pub fn set_routing(&self, routing: Routing) {
        self.routing.store(Arc::new(routing));
    }

    /// The routing in force.
    #[must_use]
    pub fn routing(&self) -> Arc<Routing> {
        self.routing.load_full()
    }
}

/// Where the listeners of a mount are to be fed from.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// Live streams in order of preference. Each listener takes the first that its decoder can follow.
    pub feeds: Vec<Arc<Feed>>,
    /// A listener whose present feed is in `feeds` stays with it, whatever its rank.
    pub stay: bool,
    /// What happens to listeners that none of `feeds` suits.
    pub otherwise: Otherwise,
}

/// What to do with a listener that nothing feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Otherwise {
    /// It gets what is due and is closed.
    #[default]
    Close,
    /// The connection is held this long for something to come.
    Hold(Duration),
}
