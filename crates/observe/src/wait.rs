//! Waits that are no accident: who waits for what, since when, and where most time is lost.
//!
//! Contract: what is ready at once is not counted and costs next to nothing; who waits anyway pays for the note.
//!
//! ```
//! use observe::wait::{self, Kind};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
//! wait::timed(Kind::Channel, "doc.jobs", sender.send(7)).await.unwrap();
//! assert_eq!(wait::timed(Kind::Channel, "doc.results", receiver.recv()).await, Some(7));
//! # });
//! let answer = wait::blocked(Kind::Disk, "doc.config", || std::fs::metadata("/"));
//! assert!(answer.is_ok());
//! ```

pub(crate) mod book;

use std::collections::HashMap;
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use profile::stack::Stack;

use crate::lock::{At, Seen};
use crate::record::place;
use crate::task;
use book::{Key, Tally, Wait};

/// A thread that sleeps needs at least this long to be back: a shorter call of [`blocked`] did its work without
/// waiting for anybody, and counting it would bury the real waits.
const BLOCKED: Duration = Duration::from_micros(20);

crate::label! {
    /// What is waited for.
    pub enum Kind {
        Lock = "lock",
        Channel = "channel",
        Semaphore = "semaphore",
        Disk = "disk",
    }
}

/// The waits of one stack.
#[derive(Clone, Debug)]
pub struct Contention {
    /// What was waited for.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// Who waited, as `crate/file.rs:line`.
    pub at: String,
    /// The stack of the one who waited; empty in a build without frame pointers.
    pub stack: Stack,
    /// How often, those who still wait included.
    pub count: u64,
    /// The time spent waiting, so far.
    pub waited: Duration,
}

/// Someone who waits at this moment.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// What for.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// Who waits, as `crate/file.rs:line`.
    pub at: String,
    /// The stack when the wait began.
    pub stack: Stack,
    /// The id of the waiting task or thread; 0 if it is not registered.
    pub waiter: u64,
    /// The name of the task or thread.
    pub waiter_name: Option<&'static str>,
    /// What the task works on.
    pub waiter_subject: Option<Arc<str>>,
    /// The kernel's id of the thread on which the wait began: for a lock or a blocked thread the one that sleeps.
    pub thread: Option<u32>,
    /// How long so far.
    pub waiting: Duration,
    /// Who has what is waited for, if that is known.
    pub holder: Option<Holder>,
}

/// Who has what others wait for.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The id of the task or thread; 0 if it is not registered.
    pub id: u64,
    /// Its name.
    pub name: Option<&'static str>,
    /// What it works on.
    pub subject: Option<Arc<str>>,
    /// Where it took it, as `crate/file.rs:line`.
    pub at: String,
    /// How long it has it, to the 100 ms of the watchdog's clock; without a watchdog unknown.
    pub held: Option<Duration>,
    /// Whether it only reads.
    pub reads: bool,
    /// How many have it together: known readers, of which this one has read for longest.
    pub count: u32,
    /// The kernel's id of its thread while it runs.
    pub thread: Option<u32>,
}

/// The sums of the waits for one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// What was waited for.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// How often, without those who still wait.
    pub count: u64,
    /// How long together.
    pub waited: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// How many wait now.
    pub waiting_now: u64,
}

/// Awaits something that may have to wait for others. Nothing is noted if it is ready at once; else the wait is listed
/// until it ends and counted when it ends, also when it is given up.
#[track_caller]
pub fn timed<F: Future>(kind: Kind, name: &'static str, future: F) -> impl Future<Output = F::Output> {
    let at = Location::caller();
    async move {
        let mut future = pin!(future);
        let mut wait = None;
        std::future::poll_fn(|context| {
            let polled = future.as_mut().poll(context);
            match polled {
                Poll::Pending if crate::ENABLED && wait.is_none() => wait = Some(begin(kind, name, at)),
                Poll::Pending => {}
                Poll::Ready(_) => drop(wait.take()),
            }
            polled
        })
        .await
    }
}

/// Runs something that may block this thread. It is listed meanwhile, and counted if it took 20 µs or more: a thread
/// that has slept takes longer than that to come back, so less was no wait. It costs about a microsecond: not for what is done per frame.
#[track_caller]
pub fn blocked<T>(kind: Kind, name: &'static str, run: impl FnOnce() -> T) -> T {
    if !crate::ENABLED {
        return run();
    }
    let wait = begin(kind, name, Location::caller());
    let result = run();
    wait.end(BLOCKED);
    result
}

fn begin(kind: Kind, name: &'static str, at: At) -> Wait {
    let key = Key {
        kind,
        name,
        at: Some(at),
        stack: profile::stack::capture(),
    };
    Wait::begin(key, None)
}

/// All waits by stack since the start, those that go on included; the longest total first. If a part of the book
/// could not be read in time, an entry named `(book busy)` with a count of 0 says so.
pub fn contentions() -> Vec<Contention> {
    let (entries, complete) = book::entries();
    describe(entries, complete)
}

fn describe(entries: HashMap<Key, Tally>, complete: bool) -> Vec<Contention> {
    let mut contentions: Vec<_> = entries
        .into_iter()
        .map(|(key, tally)| Contention {
            kind: key.kind,
            name: key.name,
            at: place_of(&key),
            stack: key.stack,
            count: tally.count,
            waited: tally.waited,
        })
        .collect();
    contentions.sort_by(|a, b| b.waited.cmp(&a.waited).then_with(|| a.at.cmp(&b.at)));
    if !complete {
        contentions.push(Contention {
            kind: Kind::Lock,
            name: "(book busy)",
            at: String::new(),
            stack: Stack::EMPTY,
            count: 0,
            waited: Duration::ZERO,
        });
    }
    contentions
}

/// Everyone who waits now, the longest wait first.
pub fn waiting() -> Vec<Waiting> {
    let (open, _) = book::waiting();
    let now = Instant::now();
    let mut waiting: Vec<_> = open
        .into_iter()
        .map(|open| {
            let waiter = task::who(open.waiter);
            Waiting {
                kind: open.key.kind,
                name: open.key.name,
                at: place_of(&open.key),
                stack: open.key.stack,
                waiter: open.waiter,
                waiter_name: waiter.as_ref().map(|who| who.name),
                waiter_subject: waiter.and_then(|who| who.subject),
                thread: open.thread,
                waiting: now.saturating_duration_since(open.since),
                holder: open.holder.map(|seen| holder(&seen)),
            }
        })
        .collect();
    waiting.sort_by_key(|waiting| std::cmp::Reverse(waiting.waiting));
    waiting
}

/// The sums by kind and name, in this order. Cheap enough for every scrape.
pub fn totals() -> Vec<Total> {
    let mut totals: Vec<_> = book::totals()
        .into_iter()
        .map(|((kind, name), (tally, waiting_now))| Total {
            kind,
            name,
            count: tally.count,
            waited: tally.waited,
            longest: tally.longest,
            waiting_now,
        })
        .collect();
    totals.sort_by_key(|total| (total.kind as u8, total.name));
    totals
}

/// What each task and thread waits for; the longest of its waits.
pub(crate) fn by_waiter() -> HashMap<u64, Waiting> {
    let mut by_waiter = HashMap::new();
    for waiting in waiting() {
        by_waiter.entry(waiting.waiter).or_insert(waiting);
    }
    by_waiter
}

pub(crate) fn holder(seen: &Seen) -> Holder {
    let who = task::who(seen.id);
    Holder {
        id: seen.id,
        name: who.as_ref().map(|who| who.name),
        subject: who.as_ref().and_then(|who| who.subject.clone()),
        at: place(seen.at),
        held: seen.held_for(),
        reads: seen.reads,
        count: seen.count,
        thread: who.and_then(|who| who.thread),
    }
}

fn place_of(key: &Key) -> String {
    key.at.map_or_else(|| "(other places)".to_owned(), place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn of(name: &str) -> Vec<Contention> {
        contentions()
            .into_iter()
            .filter(|found| found.name == name)
            .collect()
    }

    fn total(name: &str) -> Option<Total> {
        totals().into_iter().find(|total| total.name == name)
    }

    #[tokio::test]
    async fn what_is_ready_is_not_counted() {
        assert_eq!(timed(Kind::Channel, "test-ready", async { 3 }).await, 3);
        assert!(of("test-ready").is_empty());
    }

    #[tokio::test]
    async fn a_wait_is_listed_while_it_lasts_and_counted_after_it() {
        let (sender, receiver) = tokio::sync::oneshot::channel::<u8>();
        let task = task::spawn("test-timed", "/live", async {
            timed(Kind::Channel, "test-timed", receiver).await
        });
        let line = line!() - 2;
        tokio::task::yield_now().await;
        let seen = waiting()
            .into_iter()
            .find(|found| found.name == "test-timed")
            .unwrap();
        assert_eq!(
            (seen.kind, seen.waiter, seen.waiter_name),
            (Kind::Channel, task.id(), Some("test-timed"))
        );
        assert_eq!(seen.waiter_subject.as_deref(), Some("/live"));
        assert_eq!(seen.at, format!("observe/wait.rs:{line}"));
        assert_eq!(
            (
                of("test-timed")[0].count,
                total("test-timed").unwrap().waiting_now
            ),
            (1, 1)
        );
        let info = task::list()
            .into_iter()
            .find(|info| info.id == task.id())
            .unwrap();
        assert_eq!(info.state, task::State::Waiting);
        assert_eq!(info.waiting_for.unwrap().name, "test-timed");
        sender.send(7).unwrap();
        assert_eq!(task.await, Ok(Ok(7)));
        let counted = of("test-timed");
        assert_eq!((counted.len(), counted[0].count), (1, 1));
        assert!(counted[0].waited > Duration::ZERO);
        let total = total("test-timed").unwrap();
        assert_eq!(
            (total.count, total.waiting_now, total.waited),
            (1, 0, counted[0].waited)
        );
        assert!(waiting().iter().all(|found| found.name != "test-timed"));
    }

    #[test]
    fn a_wait_that_is_given_up_is_counted() {
        let mut wait = Box::pin(timed(
            Kind::Semaphore,
            "test-given-up",
            std::future::pending::<()>(),
        ));
        let mut context = std::task::Context::from_waker(Waker::noop());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        drop(wait);
        let counted = of("test-given-up");
        assert_eq!((counted[0].kind, counted[0].count), (Kind::Semaphore, 1));
    }

    #[test]
    fn a_blocked_thread_is_listed_and_a_short_call_is_not_counted() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let thread = crate::thread::spawn("test-blocked", move || {
            blocked(Kind::Disk, "test-disk", || assert!(wait.recv().is_err()));
        })
        .unwrap();
        let seen = loop {
            match waiting().into_iter().find(|found| found.name == "test-disk") {
                Some(seen) => break seen,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(
            (seen.waiter, seen.waiter_name),
            (thread.id(), Some("test-blocked"))
        );
        assert_eq!(seen.thread.is_some(), cfg!(target_os = "linux"));
        let begun = Instant::now();
        while begun.elapsed() <= BLOCKED {
            std::hint::spin_loop();
        }
        drop(release);
        thread.join().unwrap();
        assert_eq!(of("test-disk")[0].count, 1);
    }

    #[test]
    fn a_busy_book_is_said() {
        let busy = describe(HashMap::new(), false);
        assert_eq!((busy.len(), busy[0].name, busy[0].count), (1, "(book busy)", 0));
        assert!(describe(HashMap::new(), true).is_empty());
    }
}
