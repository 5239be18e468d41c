//! A mount's ring: one writer, any number of readers, one copy of the data.
//!
//! Contract: a reader can never delay the writer, and the writer never waits. Readers follow by sequence
//! number; one that falls out of the window finds that out when it asks and picks a sync point.
//!
//! The ring is an array of slots, each an atomically swapped pointer to a [`Chunk`] of whole frames. The
//! writer fills a slot, then publishes the new head; readers load slots without locks. What a late joiner
//! must get first (the stream header) and the title in force hang on each chunk, so a position is all that a
//! reader has to remember.
//!
//! ```
//! use std::time::Instant;
//! use ring::{Entry, Limits, Ring};
//! let (mut writer, ring) = Ring::new(Limits::for_burst(65_536));
//! let now = Instant::now();
//! writer.push(Entry::frames("one frame".into(), true), now);
//! let start = ring.join(65_536, now);
//! assert_eq!(ring.get(start).unwrap().bytes, "one frame");
//! ```

mod bell;
mod chunk;
mod reader;
mod writer;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::{ArcSwap, ArcSwapOption};

pub use bell::{Bell, Rung};
pub use chunk::{Chunk, Entry, Mark, Preamble};
pub use writer::Writer;

/// How much a ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of media kept for readers that are behind.
    pub bytes: u64,
}

impl Limits {
    /// Bytes that every ring holds at least; Icecast's queue size, which operators know.
    pub const LEAST: u64 = 524_288;

    /// Room for twice the burst, so that a listener which starts with the burst is not overtaken at once.
    #[must_use]
    pub fn for_burst(burst: u64) -> Self {
        Self {
            bytes: burst.saturating_mul(2).max(Self::LEAST),
        }
    }

    /// One slot per 128 bytes: Opus at low rates makes pages hardly bigger.
    fn slots(self) -> usize {
        let wanted = (self.bytes / 128).clamp(1_024, 1 << 20);
        usize::try_from(wanted).unwrap_or(1 << 20).next_power_of_two()
    }
}

/// The readers' side. Shared by all of them.
pub struct Ring {
    slots: Box<[ArcSwapOption<Chunk>]>,
    /// Sequence number that the next chunk will get.
    head: AtomicU64,
    /// Sequence number of the oldest chunk still held; equals `head` when empty.
    oldest: AtomicU64,
    /// Readers before this number jump to it (a new run began).
    floor: AtomicU64,
    /// Sequence number of the newest stream header, 0 when there is none (or it is the first chunk).
    newest_header: AtomicU64,
    /// Bytes written since the ring was made.
    written: AtomicU64,
    closed: AtomicBool,
    /// Who wants to hear of new chunks. Changed rarely, read at each push.
    bells: ArcSwap<Vec<Arc<Bell>>>,
    limits: Limits,
}

impl Ring {
    /// A new ring and its one writer.
    #[must_use]
    pub fn new(limits: Limits) -> (Writer, Arc<Self>) {
        let slots = (0..limits.slots()).map(|_| ArcSwapOption::empty()).collect();
        let ring = Arc::new(Self {
            slots,
            head: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            newest_header: AtomicU64::new(0),
            written: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            bells: ArcSwap::from_pointee(Vec::new()),
            limits,
        });
        (Writer::new(Arc::clone(&ring)), ring)
    }

    fn slot(&self, seq: u64) -> &ArcSwapOption<Chunk> {
        // The number of slots is a power of two, so the mask keeps the index inside.
        let mask = self.slots.len() as u64 - 1;
        &self.slots[usize::try_from(seq & mask).unwrap_or(0)]
    }

    /// Has `bell` rung at each chunk while it is armed. Rings are rare: a handful per mount.
    pub fn attach(&self, bell: &Arc<Bell>) {
        self.bells.rcu(|bells| {
            let mut bells = Vec::clone(bells);
            bells.push(Arc::clone(bell));
            bells
        });
    }

    /// Takes a bell off again.
    pub fn detach(&self, bell: &Arc<Bell>) {
        self.bells.rcu(|bells| {
            bells
                .iter()
                .filter(|b| !Arc::ptr_eq(b, bell))
                .cloned()
                .collect::<Vec<_>>()
        });
    }

    /// Marks that nothing more will come; readers see it once they have read everything.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.ring_bells();
    }

    /// Whether the writer is done for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn ring_bells(&self) {
        for bell in self.bells.load().iter() {
            bell.ring();
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("head", &self.head())
            .field("oldest", &self.oldest())
            .field("written", &self.written())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
