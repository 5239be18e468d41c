//! The heartbeat of the runtime: a task that does nothing but come round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::Histogram;
use crate::task::{self, clock};

const EVERY: Duration = Duration::from_millis(100);

pub(super) static LATENESS: Histogram = Histogram::seconds(&[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
]);

#[derive(Debug)]
pub(super) struct Heart {
    /// Nanoseconds of the clock of the tasks at the last beat, or at the start.
    beat: AtomicU64,
    /// The runtime has ended, as it should.
    ended: AtomicBool,
}

impl Heart {
    fn beat(&self) {
        let now = u64::try_from(clock().as_nanos()).unwrap_or(u64::MAX);
        self.beat.store(now, Ordering::Relaxed);
    }

    /// How long ago the last beat was; `None` when there will be none any more.
    pub(super) fn silent(&self) -> Option<Duration> {
        let last = Duration::from_nanos(self.beat.load(Ordering::Relaxed));
        (!self.ended.load(Ordering::Relaxed)).then(|| clock().saturating_sub(last))
    }
}

/// Ends with the task, however that ends.
struct Beating(Arc<Heart>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

pub(super) fn start(runtime: &tokio::runtime::Handle) -> Arc<Heart> {
    let heart = Arc::new(Heart {
        beat: AtomicU64::new(0),
        ended: AtomicBool::new(false),
    });
    heart.beat();
    let beating = Beating(Arc::clone(&heart));
    task::spawn_on(runtime, "heartbeat", (), async move {
        loop {
            let due = clock() + EVERY;
            tokio::time::sleep(EVERY).await;
            LATENESS.observe_duration(clock().saturating_sub(due));
            beating.0.beat();
        }
    })
    .detach();
    heart
}

/// The heart of a runtime that is gone.
#[cfg(test)]
pub(super) fn ended() -> Arc<Heart> {
    Arc::new(Heart {
        beat: AtomicU64::new(0),
        ended: AtomicBool::new(true),
    })
}
