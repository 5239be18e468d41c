//! The stacks of all threads of this process, whatever they are doing.
//!
//! Contract: answers within the given time even if no thread does, and takes no lock that a thread it asks can hold: all
//! of them may be stuck. A thread is interrupted once, for the time of a copy, and goes on with what it did.
//!
//! With 50 sleeping threads it takes 4 ms, with 500 it takes 60 ms, most of it for what `/proc` says about them (2 cores:
//! `cargo test --release -p profile --test costs -- --ignored --nocapture`).
//!
//! ```
//! for thread in profile::threads::stacks(std::time::Duration::from_secs(1)) {
//!     let named: Vec<_> = thread.frames.iter().flat_map(|address| profile::symbols::name(*address)).collect();
//!     println!("{} {} {named:?}", thread.name, thread.state);
//! }
//! ```

use std::time::Duration;

/// One thread and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadStack {
    /// Its number, as in `/proc/self/task`.
    pub tid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// As in `/proc`: `R` running, `S` sleeping, `D` waiting for a device; `?` if unknown. It is the state from before
    /// the thread was asked.
    pub state: char,
    /// What it sleeps on inside the kernel, if the kernel tells.
    pub waits_in: Option<String>,
    /// Program counters, innermost first; callers as addresses of their calls. Empty without an answer.
    pub frames: Vec<u64>,
    /// Whether it answered in time. A thread that has blocked the signal never does, nor does one that waits for a
    /// device (state `D`) until that has answered.
    pub answered: bool,
}

/// The stacks of all threads of this process, the calling one first, then by number. Empty where the platform is not
/// supported.
#[must_use]
pub fn stacks(timeout: Duration) -> Vec<ThreadStack> {
    native::stacks(timeout)
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod native {
    pub(super) fn stacks(_: std::time::Duration) -> Vec<super::ThreadStack> {
        Vec::new()
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod native {
    use super::ThreadStack;
    use crate::linux::signal::{ANSWERS, REQUEST_BIT, REQUESTS, request, tid};
    use crate::linux::task;
    use crate::linux::unwind::Unwinder;
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    /// A thread that runs answers in tens of microseconds; one that has not within this time is looked at more closely
    /// and no longer holds up the others.
    const PROMPT: Duration = Duration::from_millis(20);

    /// How often threads that have not answered are asked again: their answer may have found no slot.
    const AGAIN: Duration = Duration::from_millis(50);

    const POLL: Duration = Duration::from_micros(200);

    /// One at a time, because there is one set of slots.
    static BUSY: AtomicBool = AtomicBool::new(false);

    struct Ticket;

    impl Ticket {
        fn take(deadline: Instant) -> Option<Self> {
            while BUSY.swap(true, Ordering::Acquire) {
                if Instant::now() >= deadline {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Some(Self)
        }
    }

    impl Drop for Ticket {
        fn drop(&mut self) {
            REQUESTS.close();
            BUSY.store(false, Ordering::Release);
        }
    }

    pub(super) fn stacks(timeout: Duration) -> Vec<ThreadStack> {
        let begun = Instant::now();
        let deadline = begun.checked_add(timeout).unwrap_or(begun);
        let own = tid();
        let mut threads: Vec<ThreadStack> = task::list()
            .into_iter()
            .filter_map(|tid| {
                let status = task::status(tid)?;
                Some(ThreadStack {
                    tid,
                    waits_in: (status.state != 'R').then(|| task::waits_in(tid)).flatten(),
                    name: status.name,
                    state: status.state,
                    frames: Vec::new(),
                    answered: false,
                })
            })
            .collect();
        threads.sort_by_key(|thread| (thread.tid != own, thread.tid));
        if let Some(first) = threads.first_mut().filter(|first| first.tid == own) {
            first.frames = crate::stack::capture()
                .frames()
                .iter()
                .map(|frame| *frame as u64)
                .collect();
            first.answered = true;
        }
        if let Some(_ticket) = Ticket::take(deadline)
            && REQUESTS.open(1).is_ok()
        {
            ask(&mut threads, deadline);
        }
        threads
    }

    /// How far the asking of a thread is.
    enum Asked {
        Not,
        /// Since when, and whether it still counts among those that are waited for before others are asked.
        At(Instant, bool),
        /// It never will.
        Silent,
        Answered,
    }

    fn ask(threads: &mut [ThreadStack], deadline: Instant) {
        let mut unwinder = Unwinder::new();
        let places: HashMap<u32, usize> = threads
            .iter()
            .enumerate()
            .map(|(at, thread)| (thread.tid, at))
            .collect();
        let mut asked: Vec<Asked> = threads
            .iter()
            .map(|thread| {
                if thread.answered {
                    Asked::Answered
                } else {
                    Asked::Not
                }
            })
            .collect();
        loop {
            let now = Instant::now();
            let mut expected = asked
                .iter()
                .filter(|asked| matches!(asked, Asked::At(_, true)))
                .count();
            for (thread, asked) in threads.iter().zip(&mut asked) {
                let send = match asked {
                    Asked::Not => expected < ANSWERS,
                    Asked::At(at, prompt) if *prompt && now - *at > PROMPT => {
                        *prompt = false;
                        expected = expected.saturating_sub(1);
                        if task::blocks(thread.tid, REQUEST_BIT) {
                            *asked = Asked::Silent;
                        }
                        false
                    }
                    Asked::At(at, false) => now - *at > AGAIN,
                    Asked::At(_, true) | Asked::Silent | Asked::Answered => false,
                };
                if send {
                    let first = matches!(asked, Asked::Not);
                    expected += usize::from(first);
                    *asked = if request(thread.tid) {
                        Asked::At(now, first)
                    } else {
                        Asked::Silent
                    };
                }
            }
            let arrived = REQUESTS.take_all(|copy| {
                let Some(at) = places.get(&copy.tid) else { return };
                if !threads[*at].answered {
                    threads[*at].frames = unwinder.frames(&copy.registers, copy.stack);
                    threads[*at].answered = true;
                    asked[*at] = Asked::Answered;
                }
            });
            let done = asked
                .iter()
                .all(|asked| matches!(asked, Asked::Answered | Asked::Silent));
            if done || Instant::now() >= deadline {
                return;
            }
            if arrived == 0 {
                std::thread::sleep(POLL);
            }
        }
    }
}
