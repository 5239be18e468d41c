//! How a mount is doing, judged by its silence.

use std::time::Duration;

/// Checked this often.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);
const DEGRADED: Duration = Duration::from_secs(5);
const DEAD: Duration = Duration::from_secs(30);
/// A mount that is silent for this long is removed.
pub(crate) const REMOVED: Duration = Duration::from_secs(120);
/// A mount that never had data is unhealthy from this age on.
const NEVER_FED: Duration = Duration::from_secs(10);

/// A mount's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Data within the last 5 s.
    Healthy,
    /// Silent for more than 5 s.
    Degraded,
    /// Silent for more than 30 s.
    Dead,
}

impl Health {
    /// The state after this much silence.
    #[must_use]
    pub fn after(silence: Duration) -> Self {
        match silence {
            silence if silence > DEAD => Self::Dead,
            silence if silence > DEGRADED => Self::Degraded,
            _ => Self::Healthy,
        }
    }

    /// Label for logs, the API and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Dead => "dead",
        }
    }
}

/// Health as a ratio from 0 to 1: what reached listeners of what was there for them, less 0.02 for each full
/// second of silence beyond five.
#[must_use]
pub(crate) fn ratio(bytes_in: u64, dropped: u64, silence: Duration, age: Duration) -> f64 {
    if bytes_in == 0 && age > NEVER_FED {
        return 0.0;
    }
    let whole = bytes_in + dropped;
    #[allow(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
    let delivered = if whole == 0 {
        1.0
    } else {
        bytes_in as f64 / whole as f64
    };
    let penalty =
        0.02 * f64::from(u32::try_from(silence.saturating_sub(DEGRADED).as_secs()).unwrap_or(u32::MAX));
    (delivered - penalty).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_decides_the_state() {
        for (seconds, state) in [
            (0, Health::Healthy),
            (5, Health::Healthy),
            (6, Health::Degraded),
            (31, Health::Dead),
        ] {
            assert_eq!(Health::after(Duration::from_secs(seconds)), state, "{seconds}");
        }
    }

    #[test]
    fn the_ratio_falls_with_drops_and_silence() {
        let s = Duration::from_secs;
        for (bytes_in, dropped, silence, age, expected) in [
            (0, 0, 0, 5, 1.0),
            (0, 0, 11, 11, 0.0),
            (100, 0, 4, 60, 1.0),
            (100, 0, 10, 60, 0.9),
            (300, 100, 0, 60, 0.75),
            (100, 0, 600, 900, 0.0),
        ] {
            assert!((ratio(bytes_in, dropped, s(silence), s(age)) - expected).abs() < 1e-9);
        }
    }
}
