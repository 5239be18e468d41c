//! Who holds a lock: three plain stores to take it, one to let go.
//!
//! Contract: only the holder writes, and it writes the place last and takes it away first, so that whoever sees a
//! place sees the holder that belongs to it or a later one.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use crossbeam_utils::atomic::AtomicCell;

use super::tick;
use crate::task::current_id;

pub(crate) type At = &'static Location<'static>;

/// The one who holds a lock alone.
#[derive(Debug)]
pub(super) struct Holder {
    id: AtomicU64,
    since: AtomicU64,
    /// `None` while nobody holds it.
    at: AtomicCell<Option<At>>,
}

/// A holder as it was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Its task or thread; 0 if that is not registered.
    pub(crate) id: u64,
    pub(crate) at: At,
    /// A tick of the clock in [`tick`].
    since: u64,
    /// Whether it only reads.
    pub(crate) reads: bool,
    /// How many hold the lock together.
    pub(crate) count: u32,
}

impl Seen {
    /// How long it has held the lock; `None` while no watchdog turns the clock.
    pub(crate) fn held_for(&self) -> Option<std::time::Duration> {
        tick::since(self.since)
    }
}

impl Holder {
    pub(super) const fn new() -> Holder {
        Holder {
            id: AtomicU64::new(0),
            since: AtomicU64::new(0),
            at: AtomicCell::new(None),
        }
    }

    #[inline]
    pub(super) fn take(&self, at: At) {
        if crate::ENABLED {
            self.id.store(current_id(), Ordering::Relaxed);
            self.since.store(tick::now(), Ordering::Relaxed);
            self.at.store(Some(at));
        }
    }

    #[inline]
    pub(super) fn release(&self) {
        if crate::ENABLED {
            self.at.store(None);
        }
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        let at = self.at.load()?;
        Some(Seen {
            id: self.id.load(Ordering::Relaxed),
            at,
            since: self.since.load(Ordering::Relaxed),
            reads: false,
            count: 1,
        })
    }
}

/// Locks that one thread may hold for reading at once and be known for; those beyond are held without a name.
const READS: usize = 4;

/// The read locks of one thread.
#[derive(Default)]
struct Reads([Read; READS]);

#[derive(Default)]
struct Read {
    /// The address of the lock, 0 for a free place.
    lock: AtomicUsize,
    id: AtomicU64,
    since: AtomicU64,
    at: AtomicCell<Option<At>>,
}

/// The read locks of each thread that ever read. The lock is held to add a thread or to copy the references.
#[allow(
    clippy::disallowed_types,
    reason = "the named locks cannot keep a book on their own book"
)]
static READERS: LazyLock<parking_lot::Mutex<Vec<Weak<Reads>>>> = LazyLock::new(Default::default);

thread_local! {
    static MINE: Arc<Reads> = {
        let mine = Arc::new(Reads::default());
        let mut readers = READERS.lock();
        readers.retain(|reads| reads.strong_count() > 0);
        readers.push(Arc::downgrade(&mine));
        mine
    };
}

/// A read that was noted, to be taken back with [`forget_read`].
pub(super) type Place = u8;
const NOT_NOTED: Place = Place::MAX;

/// Notes that this thread reads what is behind the lock.
#[inline]
pub(super) fn note_read(lock: usize, at: At) -> Place {
    if !crate::ENABLED {
        return NOT_NOTED;
    }
    let note = |mine: &Arc<Reads>| {
        let free = mine
            .0
            .iter()
            .zip(0..)
            .find(|(read, _)| read.lock.load(Ordering::Relaxed) == 0);
        let Some((read, place)) = free else {
            return NOT_NOTED;
        };
        read.id.store(current_id(), Ordering::Relaxed);
        read.since.store(tick::now(), Ordering::Relaxed);
        read.at.store(Some(at));
        read.lock.store(lock, Ordering::Release);
        place
    };
    // A thread that is ending reads without a note.
    MINE.try_with(note).unwrap_or(NOT_NOTED)
}

/// Takes back a note of this thread.
#[inline]
pub(super) fn forget_read(place: Place) {
    if place != NOT_NOTED {
        let forget = |mine: &Arc<Reads>| mine.0[usize::from(place)].lock.store(0, Ordering::Release);
        // The notes of a thread that is ending are gone with it.
        let _ = MINE.try_with(forget);
    }
}

/// The one that has read for longest, with the number of known readers.
pub(super) fn seen_reading(lock: usize) -> Option<Seen> {
    let threads = READERS.lock().clone();
    let mut seen: Option<Seen> = None;
    for reads in threads.iter().filter_map(Weak::upgrade) {
        for read in &reads.0 {
            if read.lock.load(Ordering::Acquire) != lock {
                continue;
            }
            let Some(at) = read.at.load() else { continue };
            let reader = Seen {
                id: read.id.load(Ordering::Relaxed),
                at,
                since: read.since.load(Ordering::Relaxed),
                reads: true,
                count: seen.map_or(0, |seen| seen.count) + 1,
            };
            // The note may have moved on to another lock while it was copied.
            if read.lock.load(Ordering::Acquire) != lock {
                continue;
            }
            seen = Some(match seen {
                Some(longest) if longest.since <= reader.since => Seen {
                    count: reader.count,
                    ..longest
                },
                _ => reader,
            });
        }
    }
    seen
}

/// Whether this thread itself reads what is behind the lock.
pub(super) fn reads_here(lock: usize) -> bool {
    let reads = |mine: &Arc<Reads>| {
        mine.0
            .iter()
            .any(|read| read.lock.load(Ordering::Relaxed) == lock)
    };
    MINE.try_with(reads).unwrap_or(false)
}
