//! Places for listeners: a limit, a count and a peak.
//!
//! Contract: a seat in hand is counted until it is dropped, and checking the limit and taking the seat are one
//! step, so a limit is never overshot.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The places of a mount or of the whole server.
#[derive(Debug)]
pub struct Seating {
    limit: AtomicU64,
    taken: AtomicU64,
    peak: AtomicU64,
    total: AtomicU64,
}

/// No place is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Seating {
    /// `None` is no limit.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            taken: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            total: AtomicU64::new(0),
        })
    }

    /// Changes the limit; those who have a seat keep it.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes a place. `exempt` listeners are counted but never refused.
    ///
    /// # Errors
    /// [`Full`] when the limit is reached.
    pub fn take(self: &Arc<Self>, exempt: bool) -> Result<Seat, Full> {
        let limit = if exempt {
            u64::MAX
        } else {
            self.limit.load(Ordering::Relaxed)
        };
        let before = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < limit).then_some(taken + 1)
            })
            .map_err(|_| Full)?;
        self.peak.fetch_max(before + 1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        Ok(Seat(Arc::clone(self)))
    }

    /// Listeners now.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Most listeners at once since the last [`Seating::restart`].
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Seats ever taken since the last [`Seating::restart`].
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The limit, if there is one.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit != u64::MAX)
    }

    /// Begins peak and total anew: a new source has come.
    pub fn restart(&self) {
        self.peak.store(self.taken(), Ordering::Relaxed);
        self.total.store(0, Ordering::Relaxed);
    }
}

/// One taken place. Dropping it frees it.
#[derive(Debug)]
pub struct Seat(Arc<Seating>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_never_overshot_and_exempt_listeners_are_counted() {
        let seating = Seating::new(Some(2));
        let first = seating.take(false).expect("first of two");
        let _second = seating.take(false).expect("second of two");
        assert_eq!(seating.take(false).err(), Some(Full));
        let _guest = seating.take(true).expect("exempt");
        assert_eq!((seating.taken(), seating.peak(), seating.total()), (3, 3, 3));
        drop(first);
        assert_eq!(
            seating.take(false).err(),
            Some(Full),
            "the guest sits on the second place"
        );
        seating.set_limit(None);
        assert!(seating.take(false).is_ok());
    }

    #[test]
    fn many_threads_at_once_fill_exactly_the_limit() {
        let seating = Seating::new(Some(100));
        let seats: Vec<_> = (0..8)
            .map(|_| {
                let seating = Arc::clone(&seating);
                std::thread::spawn(move || {
                    (0..50)
                        .filter_map(|_| seating.take(false).ok())
                        .collect::<Vec<_>>()
                })
            })
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect();
        assert_eq!((seats.len(), seating.taken()), (100, 100));
    }
}
