//! The stacks of threads in words.

use std::collections::HashMap;
use std::time::Duration;

use crate::wait;

/// How long the threads have to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// What lies between a thread that sleeps and the code that let it.
const PLUMBING: [&str; 8] = [
    "syscall",
    "parking_lot",
    "lock_api",
    "observe::lock",
    "observe::wait",
    "std::",
    "core::",
    "futex",
];
/// Frames that are told.
const FRAMES: usize = 24;

/// The stacks of these threads, by the kernel's id: functions with their places, innermost first.
pub(super) fn of(threads: &[u32]) -> HashMap<u32, String> {
    let mut stacks = HashMap::new();
    if threads.is_empty() {
        return stacks;
    }
    for thread in profile::threads::stacks(PATIENCE) {
        if threads.contains(&thread.tid) && !thread.frames.is_empty() {
            stacks.insert(thread.tid, text(&thread.frames));
        }
    }
    // A thread that waits for a lock left its stack in the book.
    for waiting in wait::waiting() {
        if let Some(thread) = waiting.thread.filter(|thread| threads.contains(thread)) {
            let frames: Vec<_> = waiting.stack.frames().iter().map(|frame| *frame as u64).collect();
            if !frames.is_empty() {
                stacks.entry(thread).or_insert_with(|| text(&frames));
            }
        }
    }
    stacks
}

fn text(frames: &[u64]) -> String {
    // How a thread comes to sleep is the same everywhere and says nothing.
    let plumbing = |named: &profile::symbols::Named| {
        PLUMBING
            .iter()
            .any(|prefix| named.function.trim_start_matches('<').starts_with(prefix))
    };
    let named = frames.iter().flat_map(|frame| profile::symbols::name(*frame));
    let shown: Vec<_> = named
        .skip_while(plumbing)
        .take(FRAMES)
        .map(|named| match named.line {
            0 => named.function.to_string(),
            line => format!("{} ({}:{line})", named.function, named.short_file()),
        })
        .collect();
    shown.join(" < ")
}
