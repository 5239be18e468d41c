//! Playing time without drift.
//!
//! Contract: the durations of a stream add up to its samples divided by its rate, rounded down once, however
//! many frames it has.

use std::time::Duration;

const NANOS: u64 = 1_000_000_000;

/// Turns sample counts into durations and carries the fraction of a nanosecond that each one leaves.
#[derive(Debug, Default)]
pub(crate) struct PlayTime {
    rate: u32,
    carry: u64,
}

impl PlayTime {
    /// The playing time of the next `samples` at `rate` per second; zero when the rate is unknown.
    pub(crate) fn of(&mut self, samples: u32, rate: u32) -> Duration {
        if rate != self.rate {
            *self = Self { rate, carry: 0 };
        }
        if rate == 0 {
            return Duration::ZERO;
        }
        let scaled = u64::from(samples) * NANOS + self.carry;
        self.carry = scaled % u64::from(rate);
        Duration::from_nanos(scaled / u64::from(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::PlayTime;
    use std::time::Duration;

    #[test]
    fn a_day_of_frames_is_exact() {
        let mut time = PlayTime::default();
        // 44,100 frames of 1,152 samples at 44,100 Hz are 1,152 seconds.
        let sum: Duration = (0..44_100).map(|_| time.of(1152, 44_100)).sum();
        assert_eq!(sum, Duration::from_secs(1152));
    }

    #[test]
    fn an_unknown_rate_gives_no_time() {
        assert_eq!(PlayTime::default().of(1152, 0), Duration::ZERO);
    }
}
