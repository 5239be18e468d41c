//! Named threads, listed like tasks.
//!
//! Contract: a thread is listed from before its first line to after its last, and a panic in it is an event.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::task::{self, Subject, TaskEnd, Who};

/// A thread as it is now.
#[derive(Clone, Debug)]
pub struct ThreadInfo {
    /// Unique among tasks and threads of the process.
    pub id: u64,
    /// What it does.
    pub name: &'static str,
    /// The kernel's id, where there is one and the thread has begun.
    pub native_id: Option<u32>,
    /// How long it has lived.
    pub age: Duration,
}

/// Owns a running thread; dropping it lets the thread run on.
#[derive(Debug)]
pub struct ThreadHandle<T> {
    id: u64,
    join: std::thread::JoinHandle<Result<T, TaskEnd>>,
}

impl<T> ThreadHandle<T> {
    /// The id in [`list`].
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What wakes it when it is parked.
    pub fn thread(&self) -> &std::thread::Thread {
        self.join.thread()
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.join.is_finished()
    }

    /// Waits for its end.
    pub fn join(self) -> Result<T, TaskEnd> {
        self.join.join().unwrap_or(Err(TaskEnd::Aborted))
    }
}

/// Starts a named thread. The kernel shows the first 15 bytes of the name.
#[allow(clippy::disallowed_methods, reason = "this is where threads get their names")]
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<ThreadHandle<T>> {
    task::watch_panics();
    let id = task::next_id();
    let listed = Listed(id);
    THREADS.lock().insert(
        id,
        Thread {
            name,
            native_id: None,
            started: Instant::now(),
        },
    );
    let join = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let listed = listed;
        if let Some(thread) = THREADS.lock().get_mut(&listed.0) {
            thread.native_id = native();
        }
        task::catch(listed.0, name, &Subject::default(), run)
    })?;
    Ok(ThreadHandle { id, join })
}

/// All threads that were started here and have not ended, oldest first.
pub fn list() -> Vec<ThreadInfo> {
    let now = Instant::now();
    let describe = |(&id, thread): (&u64, &Thread)| ThreadInfo {
        id,
        name: thread.name,
        native_id: thread.native_id,
        age: now.saturating_duration_since(thread.started),
    };
    // The debug pages read this too and must not hang with whoever has the lock.
    let threads = THREADS.try_lock_for(Duration::from_millis(500));
    let mut threads: Vec<_> = threads
        .iter()
        .flat_map(|threads| threads.iter())
        .map(describe)
        .collect();
    threads.sort_unstable_by_key(|thread| thread.id);
    threads
}

#[derive(Debug)]
struct Thread {
    name: &'static str,
    native_id: Option<u32>,
    started: Instant,
}

/// The threads by id. The lock is held to add, remove or copy an entry.
#[allow(
    clippy::disallowed_types,
    reason = "the named locks are built on this registry"
)]
static THREADS: LazyLock<parking_lot::Mutex<HashMap<u64, Thread>>> = LazyLock::new(Default::default);

struct Listed(u64);

impl Drop for Listed {
    fn drop(&mut self) {
        THREADS.lock().remove(&self.0);
    }
}

/// The thread of an id, if it still lives; `None` also while the list stays locked.
pub(crate) fn who(id: u64) -> Option<Who> {
    let threads = THREADS.try_lock_for(Duration::from_millis(50))?;
    threads.get(&id).map(|thread| Who {
        name: thread.name,
        subject: None,
        thread: thread.native_id,
    })
}

/// The kernel's id of the calling thread, where there is one. Asked once per thread.
pub(crate) fn native() -> Option<u32> {
    thread_local! {
        static NATIVE: Cell<u32> = const { Cell::new(0) };
    }
    let native = NATIVE.get();
    if native != 0 {
        return Some(native);
    }
    let asked = ask_native()?;
    NATIVE.set(asked);
    Some(asked)
}

#[cfg(target_os = "linux")]
fn ask_native() -> Option<u32> {
    u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).ok()
}

#[cfg(not(target_os = "linux"))]
fn ask_native() -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_is_listed_while_it_lives() {
        let (started, begun) = mpsc::channel();
        let (stop, wait) = mpsc::channel::<()>();
        let thread = spawn("test-thread", move || {
            started.send(task::current_id()).unwrap();
            let _ = wait.recv();
            5
        })
        .unwrap();
        assert_eq!(begun.recv().unwrap(), thread.id());
        let info = list().into_iter().find(|info| info.id == thread.id()).unwrap();
        assert_eq!(
            (info.name, info.native_id.is_some()),
            ("test-thread", cfg!(target_os = "linux"))
        );
        drop(stop);
        let id = thread.id();
        assert_eq!(thread.join(), Ok(5));
        assert!(list().iter().all(|info| info.id != id));
    }

    #[test]
    fn a_panicking_thread_is_reported() {
        let thread = spawn("test-thread-panic", || panic!("no more")).unwrap();
        let id = thread.id();
        let end: Result<(), _> = thread.join();
        assert_eq!(end, Err(TaskEnd::Panicked("no more".into())));
        assert!(
            task::panics()
                .iter()
                .any(|panic| panic.id == id && panic.name == "test-thread-panic")
        );
    }
}
