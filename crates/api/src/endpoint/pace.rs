//! How often somebody may call.
//!
//! Contract: pure, time comes in; memory is bounded, and whoever is forgotten starts afresh.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Callers that are remembered.
const MOST: usize = 16_384;

/// A bucket per caller that fills steadily and is emptied by calls.
#[derive(Debug)]
pub(crate) struct Pace<K> {
    per_second: f64,
    buckets: HashMap<K, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl<K: Hash + Eq> Pace<K> {
    /// So many calls a second, and as many at once after a second of silence.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second),
            buckets: HashMap::new(),
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// How long to wait; the call does not count.
    pub(crate) fn take(&mut self, who: K, now: Instant) -> Result<(), Duration> {
        if self.buckets.len() >= MOST && !self.buckets.contains_key(&who) {
            let full = Duration::from_secs(1);
            self.buckets
                .retain(|_, bucket| now.saturating_duration_since(bucket.at) < full);
            if self.buckets.len() >= MOST {
                self.buckets.clear();
            }
        }
        let most = self.per_second;
        let bucket = self.buckets.entry(who).or_insert(Bucket { left: most, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * most).min(most);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / most));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_beyond_the_pace_wait() {
        let (mut pace, start) = (Pace::new(2), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for (who, when, expected) in [
            ("a", 0, Ok(())),
            ("a", 0, Ok(())),
            ("a", 0, Err(500)),
            ("b", 0, Ok(())),
            ("a", 250, Err(250)),
            ("a", 500, Ok(())),
            ("a", 10_000, Ok(())),
            ("a", 10_000, Ok(())),
            ("a", 10_000, Err(500)),
        ] {
            let taken = pace.take(who, at(when)).map_err(|wait| wait.as_millis());
            assert_eq!(taken, expected, "{who} at {when}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (mut pace, now) = (Pace::new(1), Instant::now());
        for who in 0..3 * MOST {
            assert!(pace.take(who, now).is_ok());
        }
        assert!(pace.buckets.len() <= MOST);
    }
}
