//! The list of tasks, and the wrapper that keeps a task's line in it.
//!
//! Contract: a poll costs two looks at the clock and a few plain stores; it takes no lock after the first.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{State, Subject, TaskEnd, TaskInfo, catch, dump};
use crate::record::place;
use crate::span::Span;
use crate::wait::{self, Waiting};
use crate::{thread, trace};

/// A poll that takes longer held up its worker; the flight recorder remembers it.
const SLOW_POLL: Duration = Duration::from_millis(100);
/// The list is kept in parts, so that a reader of it holds up few of those who start tasks.
const PARTS: u64 = 16;
/// Readers give up on the parts that stay locked after this time, so that no debug page hangs with them.
const PATIENCE: Duration = Duration::from_millis(500);

crate::event! {
    struct SlowPoll<'a> { task: &'static str, subject: Option<&'a str>, took: Duration }
    = [Recorder] Debug "slow_poll": "A task held its worker"
}

/// All tasks that have not ended, oldest first.
pub fn list() -> Vec<TaskInfo> {
    let waits = wait::by_waiter();
    let now = clock();
    all().iter().map(|task| task.info(now, &waits)).collect()
}

/// How many tasks have not ended.
pub fn count() -> usize {
    COUNT.load(Ordering::Relaxed) as usize
}

/// The id of the task or thread that calls, 0 for one that is not registered.
pub fn current_id() -> u64 {
    CURRENT.try_with(Cell::get).unwrap_or(0)
}

#[allow(
    clippy::disallowed_types,
    reason = "the named locks are built on this registry"
)]
type Part = parking_lot::Mutex<HashMap<u64, Arc<Task>>>;

/// The tasks by id. A lock is held to add, remove or copy references.
static TASKS: LazyLock<[Part; PARTS as usize]> = LazyLock::new(Default::default);
static COUNT: AtomicU64 = AtomicU64::new(0);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    /// The task or registered thread that runs here.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

fn part(id: u64) -> &'static Part {
    &TASKS[(id % PARTS) as usize]
}

/// The time since the first question.
pub(crate) fn clock() -> Duration {
    START.elapsed()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// Runs something as the task or thread of this id.
pub(super) fn with_id<T>(id: u64, run: impl FnOnce() -> T) -> T {
    let outer = CURRENT.replace(id);
    let result = run();
    CURRENT.set(outer);
    result
}

/// The parts one after the other; one that stays locked is left out.
fn parts() -> impl Iterator<Item = parking_lot::MutexGuard<'static, HashMap<u64, Arc<Task>>>> {
    let deadline = Instant::now() + PATIENCE;
    TASKS.iter().filter_map(move |part| part.try_lock_until(deadline))
}

/// The tasks, oldest first.
pub(super) fn all() -> Vec<Arc<Task>> {
    let mut tasks = Vec::with_capacity(count());
    parts().for_each(|part| tasks.extend(part.values().cloned()));
    tasks.sort_unstable_by_key(|task| task.id);
    tasks
}

/// Who has an id.
pub(crate) struct Who {
    pub(crate) name: &'static str,
    pub(crate) subject: Option<Arc<str>>,
    /// The kernel's id of its thread, for a task only while it runs.
    pub(crate) thread: Option<u32>,
}

/// The task or thread of an id, if it still lives.
pub(crate) fn who(id: u64) -> Option<Who> {
    if id == 0 {
        return None;
    }
    let task = part(id).try_lock_for(PATIENCE)?.get(&id).cloned();
    task.map(|task| Who {
        name: task.name,
        subject: task.subject.0.clone(),
        thread: task.thread(),
    })
    .or_else(|| thread::who(id))
}

/// A task whose poll has lasted for long.
pub(crate) struct Overdue {
    pub(crate) id: u64,
    pub(crate) name: &'static str,
    pub(crate) subject: Option<Arc<str>>,
    pub(crate) thread: Option<u32>,
    pub(crate) running: Duration,
}

/// The tasks whose polls have lasted for at least this long.
pub(crate) fn overdue(least: Duration) -> Vec<Overdue> {
    let now = clock();
    let mut overdue = Vec::new();
    for part in parts() {
        for task in part.values() {
            let Some(running) = task.running(now).filter(|running| *running >= least) else {
                continue;
            };
            overdue.push(Overdue {
                id: task.id,
                name: task.name,
                subject: task.subject.0.clone(),
                thread: task.thread(),
                running,
            });
        }
    }
    overdue
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: u64,
    name: &'static str,
    subject: Subject,
    span: Option<Span>,
    spawned_at: &'static Location<'static>,
    started: Duration,
    polls: AtomicU64,
    /// Nanoseconds of [`clock`] when the last counted poll began.
    polled: AtomicU64,
    /// Nanoseconds of [`clock`] when the poll began that is going on, 0 if none is.
    running: AtomicU64,
    /// The thread of the last poll.
    thread: AtomicU32,
    busy: AtomicU64,
    longest: AtomicU64,
    /// Somebody wants to know where the task waits.
    asked: AtomicBool,
    #[allow(clippy::disallowed_types, reason = "set once, read by dumps")]
    waker: parking_lot::Mutex<Option<Waker>>,
}

impl Task {
    pub(super) fn info(&self, now: Duration, waits: &HashMap<u64, Waiting>) -> TaskInfo {
        let polls = self.polls.load(Ordering::Relaxed);
        let polled = Duration::from_nanos(self.polled.load(Ordering::Relaxed));
        let running = self.running(now).is_some();
        let waiting_for = waits.get(&self.id).cloned();
        let state = match (&waiting_for, running) {
            (Some(_), _) => State::Waiting,
            (None, true) => State::Running,
            (None, false) => State::Idle,
        };
        TaskInfo {
            id: self.id,
            name: self.name,
            subject: self.subject.0.clone(),
            spawned_at: place(self.spawned_at),
            state,
            age: now.saturating_sub(self.started),
            polls,
            since_poll: now.saturating_sub(if polls == 0 { self.started } else { polled }),
            running,
            thread: self.thread(),
            busy: Duration::from_nanos(self.busy.load(Ordering::Relaxed)),
            longest_poll: Duration::from_nanos(self.longest.load(Ordering::Relaxed)),
            waiting_for,
            span: self
                .span
                .as_ref()
                .map(|span| span.context().connection().to_string()),
        }
    }

    /// How long the poll has lasted that is going on.
    pub(super) fn running(&self, now: Duration) -> Option<Duration> {
        match self.running.load(Ordering::Relaxed) {
            0 => None,
            since => Some(now.saturating_sub(Duration::from_nanos(since))),
        }
    }

    fn thread(&self) -> Option<u32> {
        let thread = self.thread.load(Ordering::Relaxed);
        (thread != 0 && self.running.load(Ordering::Relaxed) != 0).then_some(thread)
    }

    /// Makes the task poll itself and tell where it waits; `false` if it has not been polled yet or has ended.
    pub(super) fn ask(&self) -> bool {
        let Some(waker) = self.waker.lock().clone() else {
            return false;
        };
        self.asked.store(true, Ordering::Release);
        waker.wake();
        true
    }

    pub(super) fn stop_asking(&self) {
        self.asked.store(false, Ordering::Relaxed);
    }
}

/// A task's place in the list; dropping it takes the task off.
pub(super) struct Listed(Arc<Task>);

impl Listed {
    pub(super) fn new(
        name: &'static str,
        subject: Subject,
        span: Option<Span>,
        spawned_at: &'static Location<'static>,
    ) -> Listed {
        let task = Arc::new(Task {
            id: next_id(),
            name,
            subject,
            span,
            spawned_at,
            started: clock(),
            polls: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            running: AtomicU64::new(0),
            thread: AtomicU32::new(0),
            busy: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            waker: None.into(),
        });
        part(task.id).lock().insert(task.id, Arc::clone(&task));
        COUNT.fetch_add(1, Ordering::Relaxed);
        Listed(task)
    }

    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    pub(super) fn poll<F: Future>(
        &self,
        mut future: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<Result<F::Output, TaskEnd>> {
        let task = &*self.0;
        let _entered = task.span.as_ref().map(Span::enter);
        let begun = clock();
        // A wake on behalf of a dump must not look like work that the task had.
        let asked = task.asked.load(Ordering::Relaxed) && task.asked.swap(false, Ordering::AcqRel);
        if !asked && crate::ENABLED {
            task.polled.store(nanos(begun), Ordering::Relaxed);
            if task.polls.fetch_add(1, Ordering::Relaxed) == 0 {
                // A task is always polled with the same waker.
                *task.waker.lock() = Some(context.waker().clone());
            }
        }
        task.thread
            .store(thread::native().unwrap_or(0), Ordering::Relaxed);
        task.running.store(nanos(begun).max(1), Ordering::Relaxed);
        let (mut took, mut stacks) = (Duration::ZERO, Vec::new());
        let result = catch(task.id, task.name, &task.subject, || {
            let mut polled = future.as_mut().poll(context);
            took = clock().saturating_sub(begun);
            if asked && polled.is_pending() {
                (polled, stacks) = profile::awaits::poll(future, context.waker());
            }
            polled
        });
        task.running.store(0, Ordering::Relaxed);
        if asked {
            dump::answer(task.id, stacks);
        }
        if result.is_err() {
            took = clock().saturating_sub(begun);
        }
        if crate::ENABLED {
            task.busy.fetch_add(nanos(took), Ordering::Relaxed);
            task.longest.fetch_max(nanos(took), Ordering::Relaxed);
            trace::poll(task.id, task.name, &task.subject, begun, took);
            if took >= SLOW_POLL {
                crate::emit(SlowPoll {
                    task: task.name,
                    subject: task.subject.0.as_deref(),
                    took,
                });
            }
        }
        match result {
            Ok(poll) => poll.map(Ok),
            Err(end) => Poll::Ready(Err(end)),
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        part(self.0.id).lock().remove(&self.0.id);
        COUNT.fetch_sub(1, Ordering::Relaxed);
        if self.0.asked.load(Ordering::Relaxed) {
            // Nobody need wait for one that has gone.
            dump::answer(self.0.id, Vec::new());
        }
        // The waker keeps the task's memory, which keeps this.
        let waker = self.0.waker.lock().take();
        drop(waker);
    }
}
