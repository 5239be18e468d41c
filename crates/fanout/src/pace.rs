//! How often a delivery thread flushes.
//!
//! A `send` costs about 7 µs whatever its size, so the cost of delivery is the number of sends. With few
//! listeners every frame goes out at once; as they grow, flushes come further apart, so that a thread spends
//! about a thirtieth of its core on them, up to three tenths of a second between two. A flush of thousands takes
//! a while itself, and what comes meanwhile waits for the next: with the flush, half a second is not passed.

use std::time::Duration;

/// Below this many listeners a thread does not wait at all.
const AT_ONCE: usize = 16;

/// Flush interval per listener of the thread: thirty times what one send costs.
const PER_LISTENER: Duration = Duration::from_micros(200);

/// The longest that a frame waits for company.
pub(crate) const LONGEST: Duration = Duration::from_millis(300);

/// The pause between two flushes of a thread with this many listeners.
pub(crate) fn interval(listeners: usize) -> Duration {
    if listeners < AT_ONCE {
        return Duration::ZERO;
    }
    PER_LISTENER
        .saturating_mul(u32::try_from(listeners).unwrap_or(u32::MAX))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_with_the_listeners_up_to_a_cap() {
        for (listeners, millis) in [
            (0, 0),
            (15, 0),
            (50, 10),
            (1_000, 200),
            (1_500, 300),
            (usize::MAX, 300),
        ] {
            assert_eq!(interval(listeners).as_millis(), millis, "{listeners}");
        }
    }
}
