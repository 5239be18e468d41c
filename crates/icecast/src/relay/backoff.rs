//! How long a relay waits before it tries again.

use std::time::{Duration, Instant};

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// Only a connection that delivered for this long proves that the upstream is well again.
const PROOF: Duration = Duration::from_secs(10);

/// Counts failures in a row.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
    flowing_since: Option<Instant>,
}

impl Backoff {
    /// Data arrived.
    pub fn data(&mut self, now: Instant) {
        let since = *self.flowing_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= PROOF {
            self.failures = 0;
        }
    }

    /// The attempt or connection failed: how long to wait. `random` gives a number from 0 to 1, so that many
    /// relays of one upstream do not come back at the same moment.
    pub fn next(&mut self, random: impl FnOnce() -> f64) -> Duration {
        self.flowing_since = None;
        let full = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * random().clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..9).map(|_| backoff.next(|| 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        for (random, wait) in [(0.0, 30.0), (0.5, 45.0), (1.0, 60.0), (-1.0, 30.0), (9.0, 60.0)] {
            assert_eq!(backoff.next(|| random).as_secs_f64(), wait, "{random}");
        }
        assert_eq!(
            Backoff {
                failures: u32::MAX,
                flowing_since: None
            }
            .next(|| 1.0),
            LONGEST
        );
    }

    #[test]
    fn only_ten_seconds_of_data_reset_the_wait() {
        let start = Instant::now();
        for (flowed, next_wait) in [
            (None, 8),
            (Some(0), 8),
            (Some(9), 8),
            (Some(10), 1),
            (Some(100), 1),
        ] {
            let mut backoff = Backoff {
                failures: 3,
                flowing_since: None,
            };
            if let Some(flowed) = flowed {
                backoff.data(start);
                backoff.data(start + Duration::from_secs(flowed));
            }
            assert_eq!(backoff.next(|| 1.0).as_secs(), next_wait, "{flowed:?}");
        }
    }

    #[test]
    fn flapping_does_not_add_up() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        for flap in 0..4 {
            backoff.data(start + Duration::from_secs(20 * flap));
            backoff.next(|| 1.0);
        }
        assert_eq!(backoff.next(|| 1.0).as_secs(), 16);
    }
}
