//! Lockouts that run, counted without a look at them.
//!
//! Contract: whatever becomes of a lockout (lifted, run out and swept, pushed out by others) it is counted no more,
//! and the count is read without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How many lockouts there are. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct LockedOut(Arc<AtomicU64>);

impl LockedOut {
    /// One more, for as long as the value lives.
    pub(crate) fn until(&self, until: Instant) -> Running {
        self.0.fetch_add(1, Ordering::Relaxed);
        Running {
            until,
            all: self.clone(),
        }
    }

    /// Those that are on record; what has run out is counted until it is swept away.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One client's lockout.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) until: Instant,
    all: LockedOut,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.0.fetch_sub(1, Ordering::Relaxed);
    }
}
