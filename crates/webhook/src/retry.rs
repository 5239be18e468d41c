//! When a delivery that failed is tried again.
//!
//! Contract: after the last of [`DELAYS`] it is given up; nobody is asked earlier than he asked for, up to ten
//! minutes.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};

/// The waits after the first and each further attempt.
const DELAYS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
];

/// The longest wait that a receiver can ask for.
const LONGEST: Duration = Duration::from_secs(600);

/// Whether a receiver that answered so may take it later.
pub(crate) fn is_worthwhile(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// The wait after `attempts` attempts, of which the last one's answer may have asked for one; nothing when it is
/// given up. `jitter`, from 0 to 1, lengthens it by up to a fifth, so that hooks that failed together do not come
/// back together.
pub(crate) fn delay(attempts: u32, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    let delay = DELAYS
        .get(index)?
        .max(&asked.unwrap_or_default().min(LONGEST))
        .to_owned();
    Some(delay + delay.mul_f64(0.2 * jitter.clamp(0.0, 1.0)))
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
pub(crate) fn after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let secs = |n| Some(Duration::from_secs(n));
        let told: Vec<_> = (0..8).map(|attempts| delay(attempts, None, 0.0)).collect();
        assert_eq!(
            told,
            [None, secs(1), secs(5), secs(30), secs(120), secs(600), None, None]
        );
        assert_eq!(delay(1, None, 1.0), Some(Duration::from_millis(1200)));
        assert_eq!(delay(1, secs(60), 0.0), secs(60));
        assert_eq!(delay(3, secs(3), 0.0), secs(30));
        assert_eq!(delay(1, secs(86_400), 0.0), secs(600));
        assert_eq!(delay(6, secs(1), 0.0), None);
    }

    #[test]
    fn receivers_can_ask_for_time() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(after(value, now).map(|wait| wait.as_secs()), expected, "{value}");
        }
    }

    #[test]
    fn answers_that_may_change() {
        let worthwhile: Vec<_> = (100..600).filter(|status| is_worthwhile(*status)).collect();
        assert_eq!(worthwhile[..4], [408, 425, 429, 500]);
        assert_eq!(worthwhile.len(), 103);
    }
}
