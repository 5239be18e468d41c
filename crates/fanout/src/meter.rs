//! What delivery measures of itself: where time went per mount, and how busy each thread is.
//!
//! Contract: measuring costs a few atomic additions per flush, not per listener.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use observe::metrics::{Counter, Gauge, Histogram};
use ring::Chunk;

/// Bounds of the stages of the way from a source to its listeners, in seconds. Few, because every mount has them.
const STAGE: &[f64] = &[0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Bounds of the whole way, in seconds.
const LAG: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0,
];

/// Bounds of one round of a thread, in seconds.
const CYCLE: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

/// Bounds of the time to the first byte, in seconds.
const FIRST_BYTE: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Where the time of one mount's frames goes between the source's read and the listener's write.
#[derive(Debug)]
pub struct Delays {
    /// From the read until what was read had passed the framing: how long the source's task takes.
    pub ingest: Histogram,
    /// How long bytes were held until the frame they belong to was whole.
    pub framing: Histogram,
    /// From the ring to a delivery thread that picks the frames up: mostly the flush interval.
    pub ring: Histogram,
    /// From being picked up to the write of a listener's socket.
    pub fanout: Histogram,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            ingest: Histogram::seconds(STAGE),
            framing: Histogram::seconds(STAGE),
            ring: Histogram::seconds(STAGE),
            fanout: Histogram::seconds(STAGE),
        }
    }
}

impl Delays {
    /// The stages in their order, with their names.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, &Histogram); 4] {
        [
            ("ingest", &self.ingest),
            ("framing", &self.framing),
            ("ring", &self.ring),
            ("fanout", &self.fanout),
        ]
    }
}

/// How one delivery thread is doing.
#[derive(Debug)]
pub struct WorkerMeter {
    /// Listeners now; what admission balances by.
    pub(crate) listeners: AtomicUsize,
    /// Listeners that are behind the live edge; about a second old.
    pub(crate) catching_up: AtomicU64,
    /// Rounds of the thread that had something to do.
    pub cycle: Histogram,
    /// From the source's read of a frame's first byte to the write of a listener's socket, for listeners at the
    /// live edge.
    pub lag: Histogram,
    /// From the acceptance of a listener's request to its first byte.
    pub first_byte: Histogram,
    /// The pause between two flushes, in seconds.
    pub interval: Gauge,
    /// Bytes of the past that listeners got when they came.
    pub burst_bytes: Counter,
}

impl WorkerMeter {
    pub(crate) fn new() -> Self {
        Self {
            listeners: AtomicUsize::new(0),
            catching_up: AtomicU64::new(0),
            cycle: Histogram::seconds(CYCLE),
            lag: Histogram::seconds(LAG),
            first_byte: Histogram::seconds(FIRST_BYTE),
            interval: Gauge::new(),
            burst_bytes: Counter::new(),
        }
    }

    /// Listeners now.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }

    /// Listeners that are behind the live edge; about a second old.
    #[must_use]
    pub fn catching_up(&self) -> u64 {
        self.catching_up.load(Ordering::Relaxed)
    }

    /// Counts a flush of `batch` that began at `picked_up` and reached `live` listeners at the edge.
    pub(crate) fn count_flush(
        &self,
        delays: &Delays,
        batch: &[std::sync::Arc<Chunk>],
        picked_up: Instant,
        live: u64,
    ) {
        if !observe::ENABLED || live == 0 {
            return;
        }
        let took = picked_up.elapsed();
        for chunk in batch {
            let waited = picked_up.saturating_duration_since(chunk.at);
            delays.ring.observe_duration(waited);
            // Listeners are written to one after the other, so half of them before the middle of the flush.
            self.lag.observe_durations(chunk.held + waited + took / 2, live);
        }
        let slices = live.min(SLICES);
        for slice in 0..slices {
            let (begin, end) = (live * slice / slices, live * (slice + 1) / slices);
            let share = u32::try_from(2 * slice + 1).unwrap_or(1);
            let parts = u32::try_from(2 * slices).unwrap_or(2);
            delays.fanout.observe_durations(took * share / parts, end - begin);
        }
    }
}

/// Pieces that a flush is cut into to tell how long its listeners waited for their turn.
const SLICES: u64 = 8;

/// What a flush did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) bytes: u64,
    /// Listeners at the live edge that got all of it.
    pub(crate) live: u64,
}

/// A delay that is worth counting only when something is counted at all.
pub(crate) fn since(start: Instant) -> Duration {
    if observe::ENABLED {
        start.elapsed()
    } else {
        Duration::ZERO
    }
}
