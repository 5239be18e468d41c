//! How a sleeping reader hears of new chunks.
//!
//! Contract: a bell that is armed after its reader last looked at the head rings once for anything pushed
//! since; a bell that is not armed costs the writer one atomic swap.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Something that can be told that a ring has news. Called by the writer, so it must not block.
pub trait Rung: Send + Sync {
    /// `token` is the one that the bell was made with.
    fn rung(&self, token: u64);
}

/// One reader's (or one delivery thread's) wish to be told.
pub struct Bell {
    armed: AtomicBool,
    token: u64,
    target: Arc<dyn Rung>,
}

impl Bell {
    /// A bell that is not armed yet.
    #[must_use]
    pub fn new(target: Arc<dyn Rung>, token: u64) -> Arc<Self> {
        Arc::new(Self {
            armed: AtomicBool::new(false),
            token,
            target,
        })
    }

    /// Asks for one ring. Look at the head after this, not before, or a chunk may go unnoticed.
    pub fn arm(&self) {
        // Sequentially consistent with the writer's publish-then-swap: one of the two sees the other.
        self.armed.swap(true, Ordering::SeqCst);
    }

    pub(crate) fn ring(&self) {
        if self.armed.load(Ordering::SeqCst) && self.armed.swap(false, Ordering::SeqCst) {
            self.target.rung(self.token);
        }
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bell")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
