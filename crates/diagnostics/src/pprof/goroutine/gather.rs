//! Collects tasks and threads with their stacks and what they wait for.
//!
//! Contract: whoever does not answer in time is in the list all the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use observe::task::{DumpFailed, TaskInfo, TaskStack};
use observe::thread::ThreadInfo;
use observe::wait::Waiting;
use profile::threads::ThreadStack;

use super::{reason, time};

/// How long tasks have to answer. They do within milliseconds, unless their worker is stuck.
const TASKS: Duration = Duration::from_millis(300);
/// How long threads have to answer.
const THREADS: Duration = Duration::from_secs(1);

/// A task or a thread.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As in other reports; 0 for a thread that is not registered.
    pub(super) id: u64,
    pub(super) is_task: bool,
    pub(super) state: &'static str,
    /// How long it has been in this state, if that is known.
    pub(super) since: Option<Duration>,
    pub(super) name: String,
    pub(super) subject: Option<Arc<str>>,
    /// The kernel's id of the thread that it is or that it occupies.
    pub(super) thread: Option<u32>,
    /// Where it is, innermost first; several if it awaits several things.
    pub(super) stacks: Vec<Vec<u64>>,
    /// Sentences about why it does not go on and whom it holds up.
    pub(super) notes: Vec<String>,
    /// Where it was spawned, as `crate/file.rs:line`.
    pub(super) spawned_at: Option<String>,
}

impl Entry {
    pub(super) fn spawned_file(&self) -> String {
        let at = self.spawned_at.as_deref().unwrap_or_default();
        at.rsplit_once(':').map_or(at, |(file, _)| file).to_owned()
    }

    pub(super) fn spawned_line(&self) -> u32 {
        let line = self.spawned_at.as_deref().and_then(|at| at.rsplit_once(':'));
        line.and_then(|(_, line)| line.parse().ok()).unwrap_or(0)
    }
}

/// All tasks, then all threads.
pub(super) fn gather() -> Vec<Entry> {
    let tasks = tasks();
    let threads = profile::threads::stacks(THREADS);
    let registered = observe::thread::list();
    let waiting = observe::wait::waiting();
    combine(tasks, &threads, &registered, &waiting)
}

fn tasks() -> Vec<TaskStack> {
    observe::task::dump(TASKS).unwrap_or_else(|DumpFailed::Busy| {
        let unanswered = |task| TaskStack {
            task,
            stacks: Vec::new(),
            answered: false,
        };
        observe::task::list().into_iter().map(unanswered).collect()
    })
}

fn combine(
    tasks: Vec<TaskStack>,
    threads: &[ThreadStack],
    registered: &[ThreadInfo],
    waiting: &[Waiting],
) -> Vec<Entry> {
    let by_number: HashMap<u32, &ThreadStack> = threads.iter().map(|thread| (thread.tid, thread)).collect();
    let names: HashMap<u32, &ThreadInfo> = registered
        .iter()
        .filter_map(|thread| Some((thread.native_id?, thread)))
        .collect();
    let runs: HashMap<u32, u64> = tasks
        .iter()
        .filter_map(|task| Some((task.task.thread?, task.task.id)))
        .collect();
    let mut entries: Vec<Entry> = tasks.into_iter().map(|task| of_task(task, &by_number)).collect();
    entries.extend(
        threads
            .iter()
            .map(|thread| of_thread(thread, names.get(&thread.tid).copied(), &runs, waiting)),
    );
    // Without a way to look into threads, those that are registered are at least listed.
    let missing = |thread: &&ThreadInfo| {
        thread
            .native_id
            .is_none_or(|number| !by_number.contains_key(&number))
    };
    entries.extend(
        registered
            .iter()
            .filter(missing)
            .map(|thread| unseen(thread, waiting)),
    );
    note_holders(&mut entries, waiting);
    entries
}

fn of_task(
    TaskStack {
        task,
        mut stacks,
        answered,
    }: TaskStack,
    threads: &HashMap<u32, &ThreadStack>,
) -> Entry {
    let mut notes: Vec<String> = task.waiting_for.iter().map(reason).collect();
    let native = task.thread.and_then(|number| threads.get(&number));
    if let Some(thread) = native.filter(|thread| !thread.frames.is_empty()) {
        // What it runs says more than where it last was parked.
        stacks = vec![thread.frames.clone()];
    } else if stacks.is_empty() {
        notes.push(match (task.thread, answered) {
            (Some(_), _) => "(no stack: its thread did not answer)".to_owned(),
            (None, true) => "(no stack: it is about to run)".to_owned(),
            (None, false) => "(no stack: it did not answer in time, its worker is busy or stuck)".to_owned(),
        });
    }
    let TaskInfo {
        id,
        name,
        subject,
        spawned_at,
        state,
        since_poll,
        thread,
        waiting_for,
        ..
    } = task;
    Entry {
        id,
        is_task: true,
        state: state.as_str(),
        since: Some(waiting_for.map_or(since_poll, |waiting| waiting.waiting)),
        name: name.to_owned(),
        subject,
        thread,
        stacks,
        notes,
        spawned_at: Some(spawned_at),
    }
}

fn of_thread(
    thread: &ThreadStack,
    registered: Option<&ThreadInfo>,
    runs: &HashMap<u32, u64>,
    waiting: &[Waiting],
) -> Entry {
    let mut notes = Vec::new();
    let own = waiting_as(registered, waiting);
    notes.extend(own.map(reason));
    // Threads that are not registered can wait for locks too.
    let nameless = waiting
        .iter()
        .filter(|waiting| waiting.waiter == 0 && waiting.thread == Some(thread.tid));
    notes.extend(nameless.map(reason));
    notes.extend(
        runs.get(&thread.tid)
            .map(|task| format!("running goroutine {task}")),
    );
    if thread.frames.is_empty() {
        notes.push("(no stack: it did not answer)".to_owned());
    }
    if let Some(place) = &thread.waits_in {
        notes.push(format!("in the kernel: {place}"));
    }
    Entry {
        id: registered.map_or(0, |registered| registered.id),
        is_task: false,
        state: match (own.is_some(), thread.state) {
            (true, _) => "waiting",
            (false, 'R') => "running",
            (false, 'D') => "disk wait",
            (false, 'S') => "sleeping",
            (false, 'T' | 't') => "stopped",
            (false, _) => "unknown",
        },
        since: own.map(|waiting| waiting.waiting),
        name: registered.map_or_else(|| thread.name.clone(), |registered| registered.name.to_owned()),
        subject: None,
        thread: Some(thread.tid),
        stacks: Some(thread.frames.clone())
            .into_iter()
            .filter(|frames| !frames.is_empty())
            .collect(),
        notes,
        spawned_at: None,
    }
}

/// A registered thread that could not be looked into.
fn unseen(thread: &ThreadInfo, waiting: &[Waiting]) -> Entry {
    let own = waiting_as(Some(thread), waiting);
    let mut notes: Vec<String> = own.map(reason).into_iter().collect();
    notes.push("(no stack: it has just begun or ended, or this platform has none)".to_owned());
    Entry {
        id: thread.id,
        is_task: false,
        state: if own.is_some() { "waiting" } else { "unknown" },
        since: own.map(|waiting| waiting.waiting),
        name: thread.name.to_owned(),
        subject: None,
        thread: thread.native_id,
        stacks: Vec::new(),
        notes,
        spawned_at: None,
    }
}

/// The longest wait of a registered thread.
fn waiting_as<'a>(thread: Option<&ThreadInfo>, waiting: &'a [Waiting]) -> Option<&'a Waiting> {
    let id = thread?.id;
    waiting.iter().find(|waiting| waiting.waiter == id)
}

/// Says to those who hold something what it is and how many wait for it.
fn note_holders(entries: &mut [Entry], waiting: &[Waiting]) {
    let mut held: HashMap<(u64, &str, &str), (usize, Option<Duration>)> = HashMap::new();
    for waiting in waiting {
        if let Some(holder) = waiting.holder.as_ref().filter(|holder| holder.id != 0) {
            let entry = held.entry((holder.id, waiting.name, &holder.at)).or_default();
            entry.0 += 1;
            entry.1 = entry.1.max(holder.held);
        }
    }
    let mut held: Vec<_> = held.into_iter().collect();
    held.sort_unstable();
    for ((id, name, at), (waiters, since)) in held {
        let since = since
            .map(|since| format!(" for {}", time(since)))
            .unwrap_or_default();
        let note = format!("holding lock {name:?}{since}, taken at {at} ({waiters} waiting)");
        for entry in entries.iter_mut().filter(|entry| entry.id == id) {
            entry.notes.push(note.clone());
        }
    }
}
