//! Panics: each is an event, and those of tasks and threads are remembered.
//!
//! Contract: a panic inside [`catch`] goes no further.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

use super::listed::{current_id, next_id, with_id};
use super::{Subject, TaskEnd};
use crate::record::place;

/// Panics that are remembered.
const PANICS: usize = 64;

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

/// The last 64 panics of tasks and threads, oldest first.
pub fn panics() -> Vec<PanicInfo> {
    PANICKED.lock().iter().cloned().collect()
}

/// All panics since the start.
pub fn panic_count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

static COUNT: AtomicU64 = AtomicU64::new(0);
#[allow(
    clippy::disallowed_types,
    reason = "the named locks are built on this registry"
)]
static PANICKED: parking_lot::Mutex<VecDeque<PanicInfo>> = parking_lot::Mutex::new(VecDeque::new());

thread_local! {
    /// Where the panic that is being caught happened.
    static PANIC_PLACE: RefCell<Option<(String, Option<String>)>> = const { RefCell::new(None) };
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
    // The closure is gone after a panic and its captures are only dropped, so no broken state can be seen.
    let result = with_id(id, || catch_unwind(AssertUnwindSafe(run)));
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
        crate::record::write_soon("panic");
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
            COUNT.fetch_add(1, Ordering::Relaxed);
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
            crate::record::write_now("panic");
            before(panic);
        }));
    });
}

pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
