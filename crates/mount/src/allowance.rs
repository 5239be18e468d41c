//! How much a source may send at once before it is left unread for a moment.
//!
//! Contract: no source that sends in its own time is ever held up; one that sends as fast as it can (a file without a pace,
//! an encoder gone mad) takes a small part of a processor from the listeners of all mounts. TCP makes it wait.

use std::time::{Duration, Instant};

/// What is read of a source in a [`WINDOW`]: 160 Mbit/s.
const MOST: usize = 2 << 20;

/// How often a source gets its allowance.
const WINDOW: Duration = Duration::from_millis(100);

/// What a source has left of its allowance.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    /// When it got the present one; nothing before its first byte.
    began: Option<Instant>,
    taken: usize,
}

impl Allowance {
    /// Takes as much as was read.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) {
        let is_over = |began| now.saturating_duration_since(began) >= WINDOW;
        if self.began.is_none_or(is_over) {
            *self = Self {
                began: Some(now),
                taken: 0,
            };
        }
        self.taken = self.taken.saturating_add(bytes);
    }

    /// How long to leave the source unread; nothing as long as it has some left.
    pub(crate) fn rest(&self, now: Instant) -> Option<Duration> {
        let left = WINDOW.checked_sub(now.saturating_duration_since(self.began?))?;
        (self.taken >= MOST && !left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_in_its_own_time_never_rests() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        // Half a minute of 50 Mbit/s, after a good second of it at once.
        allowance.take(1 << 20, start);
        for tick in 0..3_000 {
            let now = start + Duration::from_millis(tick * 10);
            allowance.take(62_500, now);
            assert_eq!(allowance.rest(now), None, "{tick}");
        }
    }

    #[test]
    fn one_that_never_pauses_rests_until_its_next_allowance() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        let soon = start + Duration::from_millis(30);
        allowance.take(16_384, start);
        for _ in 1..MOST / 16_384 {
            assert_eq!(allowance.rest(soon), None);
            allowance.take(16_384, soon);
        }
        assert_eq!(allowance.rest(soon), Some(Duration::from_millis(70)));
        assert_eq!(allowance.rest(start + WINDOW), None);
        allowance.take(16_384, start + WINDOW);
        assert_eq!(allowance.rest(start + WINDOW), None);
    }
}
