//! A clock that costs one load and is as old as the watchdog's last turn.
//!
//! Contract: it never goes back; it stands still while nobody turns it, and whoever reads it says so.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds since [`ORIGIN`], 0 until somebody turns it.
static TICK: AtomicU64 = AtomicU64::new(0);
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Sets the clock to now.
pub(crate) fn turn() {
    let now = u64::try_from(ORIGIN.elapsed().as_millis()).unwrap_or(u64::MAX);
    TICK.fetch_max(now.saturating_add(1), Ordering::Relaxed);
}

/// When the clock was last turned.
pub(super) fn now() -> u64 {
    TICK.load(Ordering::Relaxed)
}

/// The time since a moment that [`now`] gave; `None` if the clock stood still then.
pub(super) fn since(tick: u64) -> Option<Duration> {
    let elapsed = || ORIGIN.elapsed().saturating_sub(Duration::from_millis(tick - 1));
    (tick > 0).then(elapsed)
}
