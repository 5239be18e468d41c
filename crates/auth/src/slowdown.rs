//! Guessing at one account from many addresses: it gets slow, and nobody is locked out by it.
//!
//! Contract: pure; time comes in. After 20 failures within 15 minutes each further try for that name waits 1 to 4
//! seconds, the longer the quicker the failures came. Names that no account has are treated the same, and memory is
//! bounded: the name that was longest not tried is forgotten first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

const FAILURES: usize = 20;
const WINDOW: Duration = Duration::from_secs(15 * 60);
const NAMES: usize = 4_096;
/// How quickly the failures came, and the wait for that.
const WAITS: [(Duration, Duration); 4] = [
    (Duration::from_secs(15), Duration::from_secs(4)),
    (Duration::from_secs(60), Duration::from_secs(3)),
    (Duration::from_secs(5 * 60), Duration::from_secs(2)),
    (WINDOW, Duration::from_secs(1)),
];

/// Failures by name.
#[derive(Debug, Default)]
pub(crate) struct Slowdown {
    names: HashMap<u64, Name>,
    /// The names by the number of their last failure.
    order: BTreeMap<u64, u64>,
    next: u64,
    /// Keyed afresh in each process, so that nobody can prepare names that look alike.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Name {
    touched: u64,
    /// The last [`FAILURES`], oldest first.
    failures: VecDeque<Instant>,
}

impl Slowdown {
    pub(crate) fn fail(&mut self, name: &str, now: Instant) {
        let key = self.hasher.hash_one(name);
        self.next += 1;
        if let Some(known) = self.names.get(&key) {
            self.order.remove(&known.touched);
        } else if self.names.len() >= NAMES
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.names.remove(&oldest);
        }
        self.order.insert(self.next, key);
        let known = self.names.entry(key).or_default();
        known.touched = self.next;
        if known.failures.len() >= FAILURES {
            known.failures.pop_front();
        }
        known.failures.push_back(now);
    }

    /// How long a try for this name has to wait.
    pub(crate) fn wait(&self, name: &str, now: Instant) -> Option<Duration> {
        let known = self.names.get(&self.hasher.hash_one(name))?;
        let oldest = known
            .failures
            .front()
            .filter(|_| known.failures.len() >= FAILURES)?;
        let newest = known.failures.back()?;
        if now.saturating_duration_since(*oldest) >= WINDOW {
            return None;
        }
        let within = newest.saturating_duration_since(*oldest);
        WAITS
            .iter()
            .find(|(most, _)| within <= *most)
            .map(|(_, wait)| *wait)
    }

    /// Forgets what is too old to count.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.names.retain(|_, name| {
            let fresh = name
                .failures
                .back()
                .is_some_and(|last| now.saturating_duration_since(*last) < WINDOW);
            if !fresh {
                self.order.remove(&name.touched);
            }
            fresh
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty failures, so many seconds apart; then the wait at so many seconds after the last.
    fn check(failures: u32, apart: u64, after: u64, expected: Option<u64>) {
        let start = Instant::now();
        let mut slowdown = Slowdown::default();
        let mut now = start;
        for number in 0..failures {
            now = start + Duration::from_secs(apart) * number;
            slowdown.fail("ann", now);
        }
        let wait = slowdown.wait("ann", now + Duration::from_secs(after));
        assert_eq!(
            wait.map(|wait| wait.as_secs()),
            expected,
            "{failures} failures, {apart} s apart, {after} s ago"
        );
        assert_eq!(slowdown.wait("bob", now), None);
    }

    #[test]
    fn the_twentieth_failure_slows_down() {
        check(19, 0, 0, None);
        check(20, 0, 0, Some(4));
        check(200, 0, 0, Some(4));
        check(20, 1, 0, Some(3));
        check(20, 10, 0, Some(2));
        check(20, 40, 0, Some(1));
        check(20, 48, 0, None);
        check(20, 0, 899, Some(4));
        check(20, 0, 900, None);
    }

    #[test]
    fn memory_is_bounded_and_swept() {
        let start = Instant::now();
        let mut slowdown = Slowdown::default();
        for number in 0..NAMES + 100 {
            slowdown.fail(&number.to_string(), start);
        }
        assert_eq!((slowdown.names.len(), slowdown.order.len()), (NAMES, NAMES));
        slowdown.fail("late", start + WINDOW);
        slowdown.sweep(start + WINDOW);
        assert_eq!((slowdown.names.len(), slowdown.order.len()), (1, 1));
    }
}
