//! Where each task waits: its awaits, from the innermost to the task's own future.
//!
//! Contract: no task waits for a dump, and no dump for a task that does not answer: each is woken, polls itself once
//! more, and tells. So a worker that is stuck takes nothing from the others, and what a dump costs is spread over the
//! workers like any other work.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::TaskInfo;
use super::listed::{Task, all, clock};
use crate::wait;

/// Tasks that are woken at once; the next ones when these have answered, so that the work that came meanwhile is not
/// behind a long queue.
const BATCH: usize = 128;
/// How long one batch may hold up the next.
const BATCH_TIME: Duration = Duration::from_millis(5);
/// A poll that lasts this long means that its worker is stuck: those who have not answered then are not waited for.
const STUCK: Duration = Duration::from_millis(250);
/// How long a dump goes on without an answer when a worker is stuck.
const QUIET: Duration = Duration::from_millis(100);

/// A task and where it waits.
#[derive(Clone, Debug)]
pub struct TaskStack {
    /// The task. While it runs, the stack of its thread says where it is.
    pub task: TaskInfo,
    /// One stack per await that it is parked in (several with `select!` or `join!`): program counters, innermost
    /// first, callers as addresses of their calls, to be named by `profile::symbols`.
    pub stacks: Vec<Vec<u64>>,
    /// Whether it answered in time; a task that runs or whose worker is stuck does not.
    pub answered: bool,
}

/// There is no dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpFailed {
    /// Another one is going on; try again when it is done.
    Busy,
}

impl fmt::Display for DumpFailed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("another dump of the tasks is going on")
    }
}

impl std::error::Error for DumpFailed {}

type Answer = (u64, Vec<Vec<u64>>);

/// Where answers go while a dump goes on.
static ANSWERS: ArcSwapOption<Sender<Answer>> = ArcSwapOption::const_empty();
#[allow(clippy::disallowed_types, reason = "only ever tried")]
static GOING_ON: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// All tasks of all runtimes with their awaits, oldest first. Blocks the calling thread for at most the timeout, and
/// mostly for a few milliseconds: from async code call it in a blocking thread.
pub fn dump(timeout: Duration) -> Result<Vec<TaskStack>, DumpFailed> {
    let _one = GOING_ON.try_lock().ok_or(DumpFailed::Busy)?;
    let deadline = Instant::now() + timeout;
    let (sender, answers) = unbounded();
    ANSWERS.store(Some(Arc::new(sender)));
    let own = super::current_id();
    // One that runs cannot be in an await, and the one that asks would wait for itself.
    let parked = |task: &&Arc<Task>| task.id != own && task.running(clock()).is_none();
    let tasks = all();
    let mut collected = Collected {
        answers,
        stacks: HashMap::new(),
        awaited: 0,
    };
    let asked: Vec<_> = tasks.iter().filter(parked).collect();
    for batch in asked.chunks(BATCH) {
        collected.awaited += batch.iter().filter(|task| task.ask()).count();
        collected.collect(deadline.min(Instant::now() + BATCH_TIME));
        if Instant::now() >= deadline {
            break;
        }
    }
    loop {
        let quiet = deadline.min(Instant::now() + QUIET);
        let before = collected.stacks.len();
        collected.collect(quiet);
        let silent = collected.stacks.len() == before;
        if collected.done() || Instant::now() >= deadline || (silent && stuck(&tasks)) {
            break;
        }
    }
    ANSWERS.store(None);
    asked.iter().for_each(|task| task.stop_asking());
    let waits = wait::by_waiter();
    let now = clock();
    let mut stacks = collected.stacks;
    let describe = |task: &Arc<Task>| {
        let stacks = stacks.remove(&task.id);
        TaskStack {
            task: task.info(now, &waits),
            answered: stacks.is_some(),
            stacks: stacks.unwrap_or_default(),
        }
    };
    Ok(tasks.iter().map(describe).collect())
}

/// Takes the answer of a task.
pub(super) fn answer(id: u64, stacks: Vec<Vec<u64>>) {
    if let Some(answers) = ANSWERS.load().as_ref() {
        // An error only says that the dump has just ended.
        let _ = answers.send((id, stacks));
    }
}

fn stuck(tasks: &[Arc<Task>]) -> bool {
    let now = clock();
    tasks
        .iter()
        .any(|task| task.running(now).is_some_and(|running| running >= STUCK))
}

struct Collected {
    answers: Receiver<Answer>,
    stacks: HashMap<u64, Vec<Vec<u64>>>,
    /// How many were woken.
    awaited: usize,
}

impl Collected {
    fn done(&self) -> bool {
        self.stacks.len() >= self.awaited
    }

    fn collect(&mut self, deadline: Instant) {
        while !self.done() {
            match self.answers.recv_deadline(deadline) {
                Ok((id, stacks)) => drop(self.stacks.insert(id, stacks)),
                Err(_) => return,
            }
        }
    }
}
