//! An execution trace: which task ran on which thread when, what spans there were and who waited, for some seconds.
//!
//! Contract: while nobody records, a poll pays one load; while somebody does, nobody waits and the oldest events are
//! kept when there are too many.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam_queue::ArrayQueue;

use crate::span::SpanId;
use crate::task::{self, Subject};
use crate::thread;
use crate::wait;

/// Events of one recording; about ten megabytes while it goes on.
const MOST: usize = 100_000;
/// How often a recording looks whether it is cancelled.
const LOOK: Duration = Duration::from_millis(20);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A task was polled.
    Poll,
    /// A span ended; it may have begun before the recording.
    Span,
    /// Somebody waited.
    Wait(wait::Kind),
    /// A named piece of work of a thread, see [`scope`].
    Work,
}

/// Something that took some time.
#[derive(Clone, Debug)]
pub struct TraceEvent {
    /// What happened.
    pub kind: Kind,
    /// The name of the task, span, lock or work.
    pub name: &'static str,
    /// What the task works on.
    pub subject: Option<Arc<str>>,
    /// The id of the task or thread that did it or waited; of a span its own.
    pub id: u64,
    /// The kernel's id of the thread that it ended on; 0 if unknown.
    pub thread: u32,
    /// When it began, from the start of the recording; zero for what began before.
    pub begin: Duration,
    /// When it ended.
    pub end: Duration,
}

/// What was recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// When it began.
    pub started: std::time::SystemTime,
    /// How long it went on.
    pub duration: Duration,
    /// The events by their beginnings.
    pub events: Vec<TraceEvent>,
    /// Events that did not fit.
    pub dropped: u64,
    /// The names of the threads by the kernel's ids.
    pub threads: Vec<(u32, Cow<'static, str>)>,
}

/// Another recording is going on; try again when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("another trace is being recorded")
    }
}

impl std::error::Error for Busy {}

struct Tape {
    started: Instant,
    /// The same moment on the clock of the tasks.
    task_clock: Duration,
    events: ArrayQueue<TraceEvent>,
    dropped: AtomicU64,
}

static ON: AtomicBool = AtomicBool::new(false);
static TAPE: ArcSwapOption<Tape> = ArcSwapOption::const_empty();
static GOING_ON: AtomicBool = AtomicBool::new(false);

/// Records for a while, blocking the calling thread; from async code call it in a blocking thread.
pub fn record(duration: Duration, cancelled: &dyn Fn() -> bool) -> Result<Recording, Busy> {
    if GOING_ON.swap(true, Ordering::Acquire) {
        return Err(Busy);
    }
    let _done = Done;
    let started = std::time::SystemTime::now();
    let tape = Arc::new(Tape {
        started: Instant::now(),
        task_clock: task::clock(),
        events: ArrayQueue::new(MOST),
        dropped: AtomicU64::new(0),
    });
    TAPE.store(Some(Arc::clone(&tape)));
    ON.store(true, Ordering::Release);
    while let Some(left) = duration.checked_sub(tape.started.elapsed())
        && !cancelled()
    {
        std::thread::sleep(left.min(LOOK));
    }
    ON.store(false, Ordering::Relaxed);
    TAPE.store(None);
    let duration = tape.started.elapsed();
    let mut events: Vec<_> = std::iter::from_fn(|| tape.events.pop()).collect();
    events.sort_by_key(|event| event.begin);
    Ok(Recording {
        started,
        duration,
        dropped: tape.dropped.load(Ordering::Relaxed),
        threads: thread_names(&events),
        events,
    })
}

struct Done;

impl Drop for Done {
    fn drop(&mut self) {
        ON.store(false, Ordering::Relaxed);
        TAPE.store(None);
        GOING_ON.store(false, Ordering::Release);
    }
}

fn thread_names(events: &[TraceEvent]) -> Vec<(u32, Cow<'static, str>)> {
    let mut threads: Vec<_> = events.iter().map(|event| event.thread).collect();
    threads.sort_unstable();
    threads.dedup();
    let known = thread::list();
    let name = |id: u32| {
        let ours = known.iter().find(|thread| thread.native_id == Some(id));
        ours.map(|thread| thread.name.into())
            .or_else(|| {
                let name = std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).ok()?;
                Some(name.trim_end().to_owned().into())
            })
            .unwrap_or_else(|| "thread".into())
    };
    threads.into_iter().map(|id| (id, name(id))).collect()
}

/// Records from here until the value is dropped, as work of this thread; a load if nobody records.
pub fn scope(name: &'static str) -> Scope {
    Scope {
        begun: ON.load(Ordering::Relaxed).then(|| (name, Instant::now())),
    }
}

/// See [`scope`].
#[derive(Debug)]
#[must_use = "the work ends when the value is dropped"]
pub struct Scope {
    begun: Option<(&'static str, Instant)>,
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Some((name, begun)) = self.begun {
            let id = task::current_id();
            put_since(Kind::Work, name, id, begun, begun.elapsed());
        }
    }
}

/// Records a poll whose beginning is on the clock of the tasks.
#[inline]
pub(crate) fn poll(id: u64, name: &'static str, subject: &Subject, begun: Duration, took: Duration) {
    if ON.load(Ordering::Relaxed) {
        with_tape(|tape| {
            let end = (begun + took).saturating_sub(tape.task_clock);
            let subject = subject.name();
            tape.put(Kind::Poll, name, subject, id, end, took);
        });
    }
}

#[inline]
pub(crate) fn span(name: &'static str, id: SpanId, begun: Instant, took: Duration) {
    put_since(Kind::Span, name, u64::from_be_bytes(id.to_bytes()), begun, took);
}

#[inline]
pub(crate) fn wait(kind: wait::Kind, name: &'static str, begun: Instant, took: Duration) {
    if ON.load(Ordering::Relaxed) {
        put_since(Kind::Wait(kind), name, task::current_id(), begun, took);
    }
}

fn put_since(kind: Kind, name: &'static str, id: u64, begun: Instant, took: Duration) {
    if ON.load(Ordering::Relaxed) {
        with_tape(|tape| {
            let end = (begun + took).saturating_duration_since(tape.started);
            tape.put(kind, name, None, id, end, took);
        });
    }
}

#[cold]
fn with_tape(put: impl FnOnce(&Tape)) {
    if let Some(tape) = TAPE.load().as_ref() {
        put(tape);
    }
}

impl Tape {
    fn put(
        &self,
        kind: Kind,
        name: &'static str,
        subject: Option<Arc<str>>,
        id: u64,
        end: Duration,
        took: Duration,
    ) {
        let event = TraceEvent {
            kind,
            name,
            subject,
            id,
            thread: thread::native().unwrap_or(0),
            begin: end.saturating_sub(took),
            end,
        };
        if self.events.push(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;

    #[test]
    fn polls_spans_waits_and_work_are_recorded() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let rounds = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&rounds);
        let task = task::spawn_on(runtime.handle(), "test-traced", "/live", async move {
            while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
                drop(Span::start("test-traced-span", []));
                drop(scope("test-traced-work"));
                wait::timed(wait::Kind::Channel, "test-traced-wait", tokio::task::yield_now()).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let id = task.id();
        let first = std::cell::OnceCell::new();
        let enough = || {
            let now = rounds.load(Ordering::Relaxed);
            now > first.get_or_init(|| now) + 2
        };
        let recording = record(Duration::from_secs(60), &enough).unwrap();
        drop(stop);
        runtime.block_on(task).unwrap();
        let find = |kind, name| {
            let found = recording
                .events
                .iter()
                .find(|event| event.kind == kind && event.name == name);
            found.unwrap_or_else(|| panic!("{kind:?} {name}"))
        };
        let poll = find(Kind::Poll, "test-traced");
        assert_eq!((poll.id, poll.subject.as_deref()), (id, Some("/live")));
        find(Kind::Span, "test-traced-span");
        assert_eq!(find(Kind::Work, "test-traced-work").id, id);
        assert_eq!(find(Kind::Wait(wait::Kind::Channel), "test-traced-wait").id, id);
        let worker = recording.threads.iter().find(|thread| thread.0 == poll.thread);
        assert!(worker.is_some_and(|thread| cfg!(not(target_os = "linux")) || thread.1.starts_with("tokio")));
        for event in &recording.events {
            assert!(event.begin <= event.end && event.end <= recording.duration + Duration::from_secs(1));
        }
        assert!(!ON.load(Ordering::Relaxed) && TAPE.load().is_none());
        // What happens afterwards is nobody's business.
        drop(scope("test-traced-later"));
        // One at a time.
        let nested = std::cell::Cell::new(None);
        let within = || {
            nested.set(Some(record(Duration::ZERO, &|| true).err()));
            true
        };
        assert!(record(Duration::from_secs(60), &within).is_ok());
        assert_eq!(nested.get(), Some(Some(Busy)));
    }

    #[test]
    fn a_full_tape_counts_what_it_loses() {
        let tape = Tape {
            started: Instant::now(),
            task_clock: Duration::ZERO,
            events: ArrayQueue::new(2),
            dropped: AtomicU64::new(0),
        };
        for id in 0..5 {
            tape.put(
                Kind::Work,
                "full",
                None,
                id,
                Duration::from_secs(2),
                Duration::from_secs(3),
            );
        }
        assert_eq!((tape.events.len(), tape.dropped.load(Ordering::Relaxed)), (2, 3));
        let first = tape.events.pop().unwrap();
        assert_eq!(
            (first.id, first.begin, first.end),
            (0, Duration::ZERO, Duration::from_secs(2))
        );
    }
}
