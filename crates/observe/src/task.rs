//! Named async tasks: who runs, since when, where they wait, and what became of those that panicked.
//!
//! Contract: a task is listed from its start to its end, and a panic in it ends that task alone, with an event that
//! says what and where.

mod dump;
mod listed;
mod panics;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::span::Span;
use crate::wait::Waiting;
pub use dump::{DumpFailed, TaskStack, dump};
use listed::Listed;
pub(crate) use listed::{Overdue, Who, clock, next_id, overdue, who};
pub use listed::{count, current_id, list};
pub(crate) use panics::catch;
use panics::panic_text;
pub use panics::{PanicInfo, guard, panic_count, panics, watch_panics};

/// What a task works on, such as a mount; `None` when it serves the whole server.
#[derive(Clone, Debug, Default)]
pub struct Subject(Option<Arc<str>>);

impl Subject {
    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.0.clone()
    }
}

impl From<&str> for Subject {
    fn from(text: &str) -> Subject {
        Subject(Some(text.into()))
    }
}

impl From<&String> for Subject {
    fn from(text: &String) -> Subject {
        Subject(Some(text.as_str().into()))
    }
}

impl From<String> for Subject {
    fn from(text: String) -> Subject {
        Subject(Some(text.into()))
    }
}

impl From<Arc<str>> for Subject {
    fn from(text: Arc<str>) -> Subject {
        Subject(Some(text))
    }
}

impl<T: Into<Subject>> From<Option<T>> for Subject {
    fn from(text: Option<T>) -> Subject {
        text.map_or(Subject(None), Into::into)
    }
}

/// No subject.
impl From<()> for Subject {
    fn from((): ()) -> Subject {
        Subject(None)
    }
}

/// What a task does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A worker runs it.
    Running,
    /// It waits for something that has a name, see [`TaskInfo::waiting_for`]. With [`TaskInfo::running`] it blocks its
    /// worker meanwhile.
    Waiting,
    /// It is parked in an await.
    Idle,
}

impl State {
    /// As in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Waiting => "waiting",
            State::Idle => "idle",
        }
    }
}

/// A task as it is now.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Unique among tasks and threads of the process.
    pub id: u64,
    /// What kind of task it is.
    pub name: &'static str,
    /// What it works on.
    pub subject: Option<Arc<str>>,
    /// Where it was spawned, as `crate/file.rs:line`.
    pub spawned_at: String,
    /// What it does.
    pub state: State,
    /// How long it has lived.
    pub age: Duration,
    /// How often it was polled; polls on behalf of [`dump()`] are not counted.
    pub polls: u64,
    /// The time since its last poll began, or its age if there was none.
    pub since_poll: Duration,
    /// Whether a worker runs it right now.
    pub running: bool,
    /// The kernel's id of the thread that runs it right now.
    pub thread: Option<u32>,
    /// The time workers spent in it.
    pub busy: Duration,
    /// Its longest finished poll.
    pub longest_poll: Duration,
    /// The named lock, channel, semaphore or disk that it waits for.
    pub waiting_for: Option<Waiting>,
    /// The id of the connection or request that it belongs to, as in the log's field `span`.
    pub span: Option<String>,
}

/// Why a task or thread has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEnd {
    /// It panicked, with this message; an event has told where.
    Panicked(String),
    /// It was aborted, or its runtime went away.
    Aborted,
}

impl fmt::Display for TaskEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskEnd::Panicked(message) => write!(out, "the task panicked: {message}"),
            TaskEnd::Aborted => out.write_str("the task was aborted"),
        }
    }
}

impl std::error::Error for TaskEnd {}

/// Owns a running task. Awaiting it yields the task's result; dropping it lets the task run on.
#[derive(Debug)]
#[must_use = "keep the handle to end the task, or detach it on purpose"]
pub struct TaskHandle<T> {
    id: u64,
    join: tokio::task::JoinHandle<Result<T, TaskEnd>>,
}

impl<T> TaskHandle<T> {
    /// The id in [`list`].
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Ends the task at its next await.
    pub fn abort(&self) {
        self.join.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }

    /// Lets the task run with nobody waiting for it.
    pub fn detach(self) {}
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskEnd>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.join).poll(context).map(|joined| match joined {
            Ok(result) => result,
            // A panic while the task's future was dropped is the only one that is not caught inside.
            Err(error) if error.is_panic() => Err(TaskEnd::Panicked(panic_text(&*error.into_panic()))),
            Err(_) => Err(TaskEnd::Aborted),
        })
    }
}

/// Runs a future as a named task on the current tokio runtime.
///
/// # Panics
///
/// Outside a runtime, as `tokio::spawn` does.
#[track_caller]
pub fn spawn<F>(name: &'static str, subject: impl Into<Subject>, future: F) -> TaskHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_on(&tokio::runtime::Handle::current(), name, subject, future)
}

/// Runs a future as a named task on the given runtime.
#[track_caller]
pub fn spawn_on<F>(
    runtime: &tokio::runtime::Handle,
    name: &'static str,
    subject: impl Into<Subject>,
    future: F,
) -> TaskHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let listed = Listed::new(name, subject.into(), None, Location::caller());
    start(runtime, listed, future)
}

/// Runs a future as a named task on the current tokio runtime, as a part of what the span stands for: all that the
/// task says carries the span, and the span ends no earlier than the task unless somebody ends it.
///
/// # Panics
///
/// Outside a runtime, as `tokio::spawn` does.
#[track_caller]
pub fn spawn_in<F>(
    span: &Span,
    name: &'static str,
    subject: impl Into<Subject>,
    future: F,
) -> TaskHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let listed = Listed::new(name, subject.into(), Some(span.clone()), Location::caller());
    start(&tokio::runtime::Handle::current(), listed, future)
}

#[allow(clippy::disallowed_methods, reason = "this is where tasks get their names")]
fn start<F>(runtime: &tokio::runtime::Handle, listed: Listed, future: F) -> TaskHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    watch_panics();
    let id = listed.id();
    let join = runtime.spawn(async move {
        let mut future = pin!(future);
        std::future::poll_fn(|context| listed.poll(future.as_mut(), context)).await
    });
    TaskHandle { id, join }
}

#[cfg(test)]
mod tests;
