//! The monotonic clock as a number that another process on this machine can read.
//! Contract: stamps of two processes are comparable, which `std::time::Instant` does not offer.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// The clock now.
    pub(crate) fn now() -> Stamp {
        let time = clock_gettime(ClockId::Monotonic);
        // The monotonic clock starts near zero at boot, so neither part is ever negative.
        Stamp(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
    }

    /// The time from an earlier stamp to this one; zero when it is not earlier.
    pub(crate) fn since(self, earlier: Stamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This stamp, later by a span.
    pub(crate) fn after(self, span: Duration) -> Stamp {
        Stamp(self.0 + nanos(span))
    }
}

/// A span in whole nanoseconds.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Stamp;

    #[test]
    fn spans_never_go_below_zero() {
        let early = Stamp(5);
        let late = early.after(Duration::from_nanos(7));
        assert_eq!(late.since(early), Duration::from_nanos(7));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[test]
    fn the_clock_goes_forward() {
        let first = Stamp::now();
        assert!(Stamp::now() >= first && first.0 > 0);
    }
}
