//! Pulses: loops that must come round, each on a thread of its own.
//!
//! Contract: a beat is one load and one store of the thread that it belongs to.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::thread;

/// The pulse of a loop; it is watched until it is dropped, from the first beat on.
#[derive(Debug)]
pub struct Pulse {
    state: Arc<State>,
    begun: Cell<bool>,
}

#[derive(Debug)]
struct State {
    name: &'static str,
    subject: String,
    limit: Duration,
    /// Odd while it works, even while it rests; another number with each beat.
    beats: AtomicU64,
    /// The kernel's id of its thread.
    thread: AtomicU32,
}

/// All pulses, each with the number last seen and when it was first seen. Held by the watchdog for its look and by
/// those who make a pulse.
#[allow(clippy::disallowed_types, reason = "the named locks are watched from here")]
static PULSES: parking_lot::Mutex<Vec<Watched>> = parking_lot::Mutex::new(Vec::new());

struct Watched {
    state: Weak<State>,
    seen: u64,
    since: Option<Instant>,
}

/// A pulse for a loop that may take up to `limit` for one turn.
pub fn pulse(name: &'static str, subject: impl Into<String>, limit: Duration) -> Pulse {
    let state = Arc::new(State {
        name,
        subject: subject.into(),
        limit,
        beats: AtomicU64::new(0),
        thread: AtomicU32::new(0),
    });
    PULSES.lock().push(Watched {
        state: Arc::downgrade(&state),
        seen: 0,
        since: None,
    });
    Pulse {
        state,
        begun: Cell::new(false),
    }
}

impl Pulse {
    /// The loop comes round and has work to do.
    pub fn beat(&self) {
        if !self.begun.get() {
            self.begun.set(true);
            self.state
                .thread
                .store(thread::native().unwrap_or(0), Ordering::Relaxed);
        }
        // Nobody else stores, so nothing is lost between the two.
        let beats = self.state.beats.load(Ordering::Relaxed);
        self.state
            .beats
            .store(beats.wrapping_add(1) | 1, Ordering::Relaxed);
    }

    /// The loop is about to sleep until there is work.
    pub fn rest(&self) {
        let beats = self.state.beats.load(Ordering::Relaxed);
        self.state
            .beats
            .store(beats.wrapping_add(1) & !1, Ordering::Relaxed);
    }
}

/// The loops that have not come round within their limits: name, for how long, and the thread.
pub(super) fn overdue(now: Instant) -> Vec<(String, Duration, Option<u32>)> {
    let mut overdue = Vec::new();
    let Some(mut pulses) = PULSES.try_lock_for(Duration::from_millis(50)) else {
        return overdue;
    };
    pulses.retain_mut(|watched| {
        let Some(state) = watched.state.upgrade() else {
            return false;
        };
        let beats = state.beats.load(Ordering::Relaxed);
        let works = beats % 2 == 1;
        match watched.since {
            Some(since) if works && watched.seen == beats => {
                let silent = now.saturating_duration_since(since);
                if silent >= state.limit {
                    let thread = state.thread.load(Ordering::Relaxed);
                    let subject = format!("{} {}", state.name, state.subject);
                    overdue.push((subject, silent, (thread != 0).then_some(thread)));
                }
            }
            _ => (watched.seen, watched.since) = (beats, works.then_some(now)),
        }
        true
    });
    overdue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loop_that_works_and_does_not_come_round_is_overdue() {
        // (seconds, what the loop did before, whether it is overdue)
        #[derive(Clone, Copy)]
        enum Did {
            Nothing,
            Beat,
            Rest,
        }
        use Did::{Beat, Nothing, Rest};
        let steps = [
            (0, Nothing, false),
            (60, Nothing, false),
            (61, Beat, false),
            (65, Nothing, false),
            (66, Nothing, true),
            (67, Beat, false),
            (71, Nothing, false),
            (72, Rest, false),
            (99, Nothing, false),
            (100, Beat, false),
            (105, Nothing, true),
            (106, Rest, false),
        ];
        let start = Instant::now();
        let pulse = pulse("test-pulse", "worker 7", Duration::from_secs(5));
        for (second, did, expected) in steps {
            match did {
                Nothing => {}
                Beat => pulse.beat(),
                Rest => pulse.rest(),
            }
            let found = overdue(start + Duration::from_secs(second));
            let found = found.iter().find(|found| found.0 == "test-pulse worker 7");
            assert_eq!(found.is_some(), expected, "at {second} s");
            if let Some(found) = found {
                assert_eq!((found.1, found.2), (Duration::from_secs(5), thread::native()));
            }
        }
        pulse.beat();
        drop(pulse);
        overdue(start + Duration::from_secs(200));
        assert!(
            overdue(start + Duration::from_secs(300))
                .iter()
                .all(|found| found.0 != "test-pulse worker 7")
        );
    }
}
