//! Named async tasks: who runs, since when, and what became of those that panicked.
//!
//! Contract: a task is listed from its start to its end, and a panic in it ends that task alone, with an event that
//! says what and where.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Once};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::record::place;

/// Panics that are remembered.
const PANICS: usize = 64;
/// A poll that takes longer held up its worker; the flight recorder remembers it.
const SLOW_POLL: Duration = Duration::from_millis(100);

crate::event! {
    struct TaskPanicked<'a> {
        task: &'static str,
        subject: Option<&'a str>,
        message: &'a str => "error",
        at: &'a str,
        stack: Option<&'a str>,
    }
    = Error "task_panicked": "Task {task} panicked: {message}"

    struct Panicked<'a> { thread: &'a str, message: &'a str => "error", at: &'a str, stack: Option<&'a str> }
    = Error "panicked": "Thread {thread} panicked: {message}"

    struct SlowPoll<'a> { task: &'static str, subject: Option<&'a str>, took: Duration }
    = [Recorder] Debug "slow_poll": "A task held its worker"
}

/// What a task works on, such as a mount; `None` when it serves the whole server.
#[derive(Clone, Debug, Default)]
pub struct Subject(Option<Arc<str>>);

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
    /// How long it has lived.
    pub age: Duration,
    /// How often it was polled.
    pub polls: u64,
    /// The time since its last poll began, or its age if there was none.
    pub since_poll: Duration,
    /// Whether a worker runs it right now.
    pub running: bool,
    /// The time workers spent in it.
    pub busy: Duration,
    /// Its longest finished poll.
    pub longest_poll: Duration,
}

/// A panic that ended a task or a thread.
#[derive(Clone, Debug)]
pub struct PanicInfo {
    /// The id of the task or thread.
    pub id: u64,
    /// Its name.
    pub name: &'static str,
    /// What it worked on.
    pub subject: Option<Arc<str>>,
    /// The panic's message.
    pub message: String,
    /// Where it panicked, as `crate/file.rs:line`.
    pub at: String,
    /// When.
    pub time: jiff::Timestamp,
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
#[allow(clippy::disallowed_methods, reason = "this is where tasks get their names")]
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
    watch_panics();
    let listed = Listed::new(name, subject.into(), Location::caller());
    let id = listed.0.id;
    let join = runtime.spawn(async move {
        let mut future = pin!(future);
        std::future::poll_fn(|context| listed.poll(future.as_mut(), context)).await
    });
    TaskHandle { id, join }
}

/// All tasks that have not ended, oldest first.
pub fn list() -> Vec<TaskInfo> {
    let mut tasks: Vec<_> = TASKS.lock().values().cloned().collect();
    tasks.sort_unstable_by_key(|task| task.id);
    let now = clock();
    tasks.iter().map(|task| task.info(now)).collect()
}

/// How many tasks have not ended.
pub fn count() -> usize {
    TASKS.lock().len()
}

/// The last 64 panics of tasks and threads, oldest first.
pub fn panics() -> Vec<PanicInfo> {
    PANICKED.lock().iter().cloned().collect()
}

/// The id of the task or thread that calls, 0 for one that is not registered.
pub fn current_id() -> u64 {
    CURRENT.try_with(Cell::get).unwrap_or(0)
}

/// The tasks by id. The lock is held to add, remove or copy references.
#[allow(
    clippy::disallowed_types,
    reason = "the named locks are built on this registry"
)]
static TASKS: LazyLock<parking_lot::Mutex<HashMap<u64, Arc<Task>>>> = LazyLock::new(Default::default);
#[allow(
    clippy::disallowed_types,
    reason = "the named locks are built on this registry"
)]
static PANICKED: parking_lot::Mutex<VecDeque<PanicInfo>> = parking_lot::Mutex::new(VecDeque::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    /// The task or registered thread that runs here.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
    /// Where the panic that is being caught happened.
    static PANIC_PLACE: RefCell<Option<(String, Option<String>)>> = const { RefCell::new(None) };
}

fn clock() -> Duration {
    START.elapsed()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug)]
struct Task {
    id: u64,
    name: &'static str,
    subject: Subject,
    spawned_at: &'static Location<'static>,
    started: Duration,
    polls: AtomicU64,
    /// Nanoseconds of [`clock`] when the last poll began.
    polled: AtomicU64,
    running: AtomicBool,
    busy: AtomicU64,
    longest: AtomicU64,
}

impl Task {
    fn info(&self, now: Duration) -> TaskInfo {
        let polls = self.polls.load(Ordering::Relaxed);
        let polled = Duration::from_nanos(self.polled.load(Ordering::Relaxed));
        TaskInfo {
            id: self.id,
            name: self.name,
            subject: self.subject.0.clone(),
            spawned_at: place(self.spawned_at),
            age: now.saturating_sub(self.started),
            polls,
            since_poll: now.saturating_sub(if polls == 0 { self.started } else { polled }),
            running: self.running.load(Ordering::Relaxed),
            busy: Duration::from_nanos(self.busy.load(Ordering::Relaxed)),
            longest_poll: Duration::from_nanos(self.longest.load(Ordering::Relaxed)),
        }
    }
}

/// A task's place in the list; dropping it takes the task off.
struct Listed(Arc<Task>);

impl Listed {
    fn new(name: &'static str, subject: Subject, spawned_at: &'static Location<'static>) -> Listed {
        let task = Arc::new(Task {
            id: next_id(),
            name,
            subject,
            spawned_at,
            started: clock(),
            polls: AtomicU64::new(0),
            polled: AtomicU64::new(0),
            running: AtomicBool::new(false),
            busy: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        });
        TASKS.lock().insert(task.id, Arc::clone(&task));
        Listed(task)
    }

    fn poll<F: Future>(
        &self,
        future: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Poll<Result<F::Output, TaskEnd>> {
        let task = &*self.0;
        let begun = clock();
        task.polled.store(nanos(begun), Ordering::Relaxed);
        task.polls.fetch_add(1, Ordering::Relaxed);
        task.running.store(true, Ordering::Relaxed);
        let result = catch(task.id, task.name, &task.subject, || future.poll(context));
        task.running.store(false, Ordering::Relaxed);
        let took = clock().saturating_sub(begun);
        task.busy.fetch_add(nanos(took), Ordering::Relaxed);
        task.longest.fetch_max(nanos(took), Ordering::Relaxed);
        if took >= SLOW_POLL {
            crate::emit(SlowPoll {
                task: task.name,
                subject: task.subject.0.as_deref(),
                took,
            });
        }
        match result {
            Ok(poll) => poll.map(Ok),
            Err(end) => Poll::Ready(Err(end)),
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        TASKS.lock().remove(&self.0.id);
    }
}

pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// Runs something that may panic inside a task or thread that goes on afterwards: a panic in it becomes an event
/// and an error.
pub fn guard<T>(
    name: &'static str,
    subject: impl Into<Subject>,
    run: impl FnOnce() -> T,
) -> Result<T, TaskEnd> {
    watch_panics();
    let id = match current_id() {
        0 => next_id(),
        id => id,
    };
    catch(id, name, &subject.into(), run)
}

/// Runs something under an id; a panic in it becomes an event and an error.
pub(crate) fn catch<T>(
    id: u64,
    name: &'static str,
    subject: &Subject,
    run: impl FnOnce() -> T,
) -> Result<T, TaskEnd> {
    let outer = CURRENT.replace(id);
    // The closure is gone after a panic and its captures are only dropped, so no broken state can be seen.
    let result = catch_unwind(AssertUnwindSafe(run));
    CURRENT.set(outer);
    result.map_err(|payload| {
        let message = panic_text(&*payload);
        let (at, stack) = PANIC_PLACE.take().unwrap_or_default();
        crate::emit(TaskPanicked {
            task: name,
            subject: subject.0.as_deref(),
            message: &message,
            at: &at,
            stack: stack.as_deref(),
        });
        let mut panicked = PANICKED.lock();
        if panicked.len() == PANICS {
            panicked.pop_front();
        }
        let (subject, time) = (subject.0.clone(), jiff::Timestamp::now());
        panicked.push_back(PanicInfo {
            id,
            name,
            subject,
            message: message.clone(),
            at,
            time,
        });
        TaskEnd::Panicked(message)
    })
}

/// Makes every panic of the process an event. Registered tasks and threads do this by themselves; call it first in
/// `main` to cover the rest. Panics outside registered tasks also reach the hook that was set before.
pub fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let at = panic.location().map(place).unwrap_or_default();
            // Costs a walk of the stack, so only when RUST_BACKTRACE asks for it.
            let stack = std::backtrace::Backtrace::capture();
            let captured = stack.status() == std::backtrace::BacktraceStatus::Captured;
            let stack = captured.then(|| stack.to_string());
            if current_id() != 0 {
                let _ = PANIC_PLACE.try_with(|place| *place.borrow_mut() = Some((at, stack)));
                return;
            }
            let thread = std::thread::current();
            crate::emit(Panicked {
                thread: thread.name().unwrap_or("unnamed"),
                message: &panic_text(panic.payload()),
                at: &at,
                stack: stack.as_deref(),
            });
            before(panic);
        }));
    });
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Capture;
    use crate::value::Value;
    use tokio::sync::oneshot;

    fn find(id: u64) -> Option<TaskInfo> {
        list().into_iter().find(|task| task.id == id)
    }

    #[tokio::test]
    async fn a_task_is_listed_while_it_lives() {
        let (ready, wait) = oneshot::channel();
        let task = spawn("test-task", "/live", async {
            (wait.await.unwrap(), current_id())
        });
        let info = find(task.id()).unwrap();
        assert_eq!(
            (info.name, info.subject.as_deref(), info.polls),
            ("test-task", Some("/live"), 0)
        );
        assert!(
            info.spawned_at.starts_with("observe/task.rs:"),
            "{}",
            info.spawned_at
        );
        tokio::task::yield_now().await;
        let info = find(task.id()).unwrap();
        assert_eq!((info.polls, info.running), (1, false));
        ready.send(7).unwrap();
        let id = task.id();
        assert_eq!(task.await, Ok((7, id)));
        assert!(find(id).is_none());
        assert_eq!(current_id(), 0);
    }

    #[tokio::test]
    async fn an_aborted_task_leaves_the_list() {
        let task = spawn("test-aborted", None::<&str>, std::future::pending::<()>());
        let id = task.id();
        tokio::task::yield_now().await;
        task.abort();
        assert_eq!(task.await, Err(TaskEnd::Aborted));
        assert!(find(id).is_none());
    }

    #[test]
    fn a_guarded_panic_stays_inside() {
        let end: Result<(), _> = guard("test-guard", "/x", || panic!("inside"));
        assert_eq!(end, Err(TaskEnd::Panicked("inside".into())));
        assert!(
            panics()
                .iter()
                .any(|panic| panic.name == "test-guard" && panic.at.starts_with("observe/task.rs:"))
        );
        assert_eq!((guard("test-guard", (), || 4), current_id()), (Ok(4), 0));
    }

    #[tokio::test]
    async fn a_panic_is_an_event_and_an_entry() {
        let capture = Capture::start();
        let task = spawn("test-panic", "/broken", async { panic!("frame {} is gone", 3) });
        let id = task.id();
        let end: Result<(), _> = task.await;
        assert_eq!(end, Err(TaskEnd::Panicked("frame 3 is gone".into())));
        let records = capture.records();
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!(
            (record.level, record.name),
            (crate::Level::Error, "task_panicked")
        );
        assert_eq!(record.message, "Task test-panic panicked: frame 3 is gone");
        assert_eq!(record.field("subject"), Some(&Value::text("/broken")));
        assert!(
            record
                .field("at")
                .unwrap()
                .as_str()
                .unwrap()
                .starts_with("observe/task.rs:")
        );
        let panic = panics().into_iter().find(|panic| panic.id == id).unwrap();
        assert_eq!(
            (panic.name, panic.message.as_str()),
            ("test-panic", "frame 3 is gone")
        );
        assert!(find(id).is_none());
    }
}
