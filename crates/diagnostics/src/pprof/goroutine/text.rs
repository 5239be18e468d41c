//! The text forms, as Go has them.
//!
//! Contract: headers and frames are as Go's tools expect them; what Go does not have is in lines of its own that begin
//! with a word and not with a tab.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use profile::Frame;
use profile::symbols::Named;

use super::super::stacks::{Trimmed, is_waiting, write_addresses, write_calls, write_comments};
use super::gather::Entry;
use super::{is_outside, own_part, plain};

/// `debug=1`: equal stacks together, the most frequent first.
pub(super) fn groups(entries: &[Entry]) -> String {
    let mut groups: HashMap<(Vec<Frame>, &str, &str, bool), usize> = HashMap::new();
    for entry in entries {
        let key = (
            first_stack(entry),
            entry.name.as_str(),
            entry.state,
            entry.is_task,
        );
        *groups.entry(key).or_insert(0) += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
    let mut out = format!("goroutine profile: total {}\n", entries.len());
    for ((stack, name, state, is_task), count) in groups {
        let stack = Trimmed::of(&stack, is_waiting);
        let _ = write!(out, "{count}");
        write_addresses(&mut out, stack);
        let kind = if is_task { "task" } else { "thread" };
        let _ = writeln!(out, "# labels: {{{kind:?}:{name:?}, \"state\":{state:?}}}");
        write_comments(&mut out, stack);
        out.push('\n');
    }
    out
}

/// The stack, or the address of a function whose name says that there is none: a reader expects at least one.
fn first_stack(entry: &Entry) -> Vec<Frame> {
    match entry.stacks.first() {
        Some(stack) if entry.is_task => own_part(stack)
            .iter()
            .map(|address| Frame::Address(*address))
            .collect(),
        Some(stack) => stack.iter().map(|address| Frame::Address(*address)).collect(),
        None => vec![Frame::Address(no_stack as fn() as usize as u64)],
    }
}

/// Stands for a stack that is not known.
#[inline(never)]
fn no_stack() {
    std::hint::black_box(());
}

/// `debug=2`: one block for each, tasks first.
pub(super) fn blocks(entries: &[Entry]) -> String {
    let mut out = String::with_capacity(entries.len() * 1024);
    for entry in entries {
        write_block(&mut out, entry);
    }
    out
}

fn write_block(out: &mut String, entry: &Entry) {
    let _ = write!(out, "goroutine {} [{}", entry.id, entry.state);
    if let Some(since) = entry.since.and_then(whole) {
        let _ = write!(out, ", {since}");
    }
    let _ = write!(out, ", {}", plain(&entry.name));
    if let Some(subject) = &entry.subject {
        let _ = write!(out, " {}", plain(subject));
    }
    if let Some(thread) = entry.thread {
        let _ = write!(out, ", thread {thread}");
    }
    out.push_str("]:\n");
    for note in &entry.notes {
        let _ = writeln!(out, "{note}");
    }
    for (at, stack) in entry.stacks.iter().enumerate() {
        if at > 0 {
            out.push_str("and also in:\n");
        }
        let stack: Vec<_> = stack.iter().map(|address| Frame::Address(*address)).collect();
        // What a thread sleeps in is what one wants to know of it.
        let stack = if entry.is_task && entry.thread.is_none() {
            Trimmed::of(&stack, is_waiting)
        } else {
            Trimmed::of(&stack, |_| false)
        };
        let calls = stack.named().filter(|(_, named)| !is_wrapping(named));
        if entry.is_task {
            write_calls(out, calls.take_while(|(_, named)| !is_outside(named)));
        } else {
            write_calls(out, calls);
        }
    }
    if let Some(place) = &entry.spawned_at {
        let _ = writeln!(out, "created by observe::task::spawn at {place}");
    }
    out.push('\n');
}

/// Whether a function only calls another one that it was given.
fn is_wrapping(named: &Named) -> bool {
    const WRAPPERS: [&str; 7] = [
        "std::panicking::",
        "std::panic::",
        "core::panic::",
        "core::ops::function::",
        "<core::panic::",
        "std::thread::local::",
        "tokio::loom::",
    ];
    WRAPPERS.iter().any(|wrapper| named.function.starts_with(wrapper))
}

/// Whole minutes as Go has them, or seconds; nothing below one.
fn whole(time: Duration) -> Option<String> {
    match time.as_secs() {
        0 => None,
        seconds @ 1..60 => Some(format!("{seconds} seconds")),
        seconds => Some(format!("{} minutes", seconds / 60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            id: 18,
            is_task: true,
            state: "waiting",
            since: Some(Duration::from_secs(200)),
            name: "source".to_owned(),
            subject: Some("/li]ve\n".into()),
            thread: None,
            stacks: Vec::new(),
            notes: vec!["waiting for lock \"mount.state\"".to_owned()],
            spawned_at: Some("app/ingest.rs:33".to_owned()),
        }
    }

    #[test]
    fn a_block_has_header_reasons_frames_and_origin() {
        let here = blocks as *const () as u64;
        let entry = Entry {
            stacks: vec![vec![here, here]],
            ..entry()
        };
        let text = blocks(&[entry]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "goroutine 18 [waiting, 3 minutes, source /li?ve?]:");
        assert_eq!(lines[1], "waiting for lock \"mount.state\"");
        assert_eq!(lines[2], "diagnostics::pprof::goroutine::text::blocks(...)");
        assert!(
            lines[3].starts_with('\t') && lines[3].contains("goroutine/text.rs:"),
            "{}",
            lines[3]
        );
        assert_eq!(
            lines[6..],
            ["created by observe::task::spawn at app/ingest.rs:33", ""]
        );
    }

    #[test]
    fn equal_stacks_are_counted_together() {
        let thread = Entry {
            is_task: false,
            state: "sleeping",
            ..entry()
        };
        let text = groups(&[entry(), thread, entry()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "goroutine profile: total 3");
        assert!(lines[1].starts_with("2 @ 0x"), "{}", lines[1]);
        assert_eq!(lines[2], "# labels: {\"task\":\"source\", \"state\":\"waiting\"}");
        assert!(
            lines[3].contains("\tdiagnostics::pprof::goroutine::text::no_stack+0x"),
            "{}",
            lines[3]
        );
        assert!(lines[5].starts_with("1 @ 0x"), "{}", lines[5]);
    }

    #[test]
    fn times_are_whole() {
        let cases = [
            (0, None),
            (999, None),
            (1_000, Some("1 seconds")),
            (59_999, Some("59 seconds")),
            (60_000, Some("1 minutes")),
        ];
        for (millis, expected) in cases {
            assert_eq!(whole(Duration::from_millis(millis)).as_deref(), expected);
        }
    }
}
