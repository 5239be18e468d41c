//! Tells a job that nobody waits for it any more.
//!
//! Contract: once set it stays set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the client has left. A job that takes long asks now and then, and ends early.
#[derive(Clone, Debug, Default)]
pub struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// Not set.
    #[must_use]
    pub fn new() -> Cancelled {
        Cancelled::default()
    }

    /// Whether the work is for nobody.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Tells the job.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Sets it when the returned value is dropped, however that happens.
    pub(crate) fn on_drop(&self) -> SetOnDrop {
        SetOnDrop(self.clone())
    }
}

/// Sets a [`Cancelled`] when it goes away.
#[derive(Debug)]
pub(crate) struct SetOnDrop(Cancelled);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}
