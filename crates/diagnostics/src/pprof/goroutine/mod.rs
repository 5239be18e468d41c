//! `goroutine`: what every task and every thread does, where, since when and why it does not go on.
//!
//! Contract: answers within two seconds plus the time to find names, also when no task and no thread answers it; those
//! are listed with what is known without them.

mod gather;
mod text;

use std::time::{Duration, SystemTime};

use http::StatusCode;
use observe::wait::{Kind, Waiting};
use profile::symbols::{self, Named};
use profile::{Frame, Profile, Sample, ValueType};

use super::stacks::{is_waiting, trim};
use super::{Form, IsCancelled, Outcome, binary, take_or_compare};
use crate::{Answer, Query};
use gather::{Entry, gather};

pub(super) fn answer(query: &Query, cancelled: IsCancelled<'_>) -> Outcome {
    let form = Form::of(query)?;
    let difference = query
        .get("seconds")
        .is_some_and(|seconds| !matches!(seconds, "" | "0"));
    if let (Form::Text(_), true) = (form, difference) {
        return Err(Answer::refused(
            StatusCode::BAD_REQUEST,
            "a difference of tasks has no text form: leave out seconds or debug",
        ));
    }
    Ok(match form {
        Form::Binary => {
            let profile = take_or_compare(query, cancelled, &|| Ok(profile(&gather())))?;
            binary("goroutine", &trim(&profile, is_waiting))
        }
        Form::Text(1) => Answer::text(text::groups(&gather())),
        Form::Text(_) => Answer::text(text::blocks(&gather())),
    })
}

/// How many tasks and threads there are.
pub(super) fn count() -> usize {
    observe::task::count() + super::threads::count()
}

/// One sample for each; equal ones are added up where profiles are compared or written.
fn profile(entries: &[Entry]) -> Profile {
    let tasks = ValueType {
        kind: "goroutine",
        unit: "count",
    };
    Profile {
        value_types: vec![tasks],
        default_type: 0,
        period: Some((tasks, 1)),
        time: SystemTime::now(),
        duration: Duration::ZERO,
        samples: entries.iter().map(sample).collect(),
        comments: Vec::new(),
    }
}

fn sample(entry: &Entry) -> Sample {
    let stack = entry.stacks.first().map_or(&[][..], |stack| match entry.is_task {
        true => own_part(stack),
        false => stack,
    });
    let mut stack: Vec<_> = stack.iter().map(|address| Frame::Address(*address)).collect();
    if entry.is_task {
        // All tasks of a kind have one root in a graph, also those that have no stack.
        stack.push(Frame::Named {
            function: format!("task {}", entry.name).into(),
            file: entry.spawned_file().into(),
            line: entry.spawned_line(),
        });
    } else if stack.is_empty() {
        stack.push(Frame::Named {
            function: format!("thread {}", entry.name).into(),
            file: "".into(),
            line: 0,
        });
    }
    let mut labels = vec![("name", entry.name.clone()), ("state", entry.state.to_owned())];
    labels.extend(
        entry
            .subject
            .iter()
            .map(|subject| ("subject", subject.to_string())),
    );
    Sample {
        stack,
        values: vec![1],
        labels,
    }
}

/// Whether a function is around a task: it is the same for all of them and says nothing of this one.
fn is_outside(named: &Named) -> bool {
    ["observe::task::", "profile::awaits::"]
        .iter()
        .any(|outside| named.function.starts_with(outside))
}

/// The stack of a task without what its worker has around it. The last frame can be both, because of inlining.
fn own_part(stack: &[u64]) -> &[u64] {
    let outside = |address: &u64| symbols::name(*address).iter().any(is_outside);
    match stack.iter().position(outside) {
        Some(at) => &stack[..=at],
        None => stack,
    }
}

/// A task or thread in a sentence: `goroutine 7 "mounts" /live`.
pub(super) fn who(id: u64, name: Option<&str>, subject: Option<&str>, thread: Option<u32>) -> String {
    let mut who = match (id, thread) {
        (0, Some(thread)) => format!("thread {thread}"),
        (0, None) => "a thread that is not registered".to_owned(),
        (id, _) => format!("goroutine {id}"),
    };
    if let Some(name) = name {
        who.push_str(&format!(" {name:?}"));
    }
    if let Some(subject) = subject {
        who.push(' ');
        who.push_str(&plain(subject));
    }
    who
}

/// Who has what somebody waits for, in parentheses and with a space before; empty if that is unknown.
pub(super) fn held(waiting: &Waiting) -> String {
    let Some(holder) = &waiting.holder else {
        return String::new();
    };
    let who = who(holder.id, holder.name, holder.subject.as_deref(), holder.thread);
    let since = holder
        .held
        .map(|held| format!(" for {}", time(held)))
        .unwrap_or_default();
    let verb = if holder.reads { "read" } else { "held" };
    let others = match holder.count.saturating_sub(1) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    format!(" ({verb} by {who}{others}{since}, taken at {})", holder.at)
}

/// `waiting for lock "mount.state" (held by …)`.
fn reason(waiting: &Waiting) -> String {
    let place = match waiting.kind {
        // Who waits for a lock has a stack that says where.
        Kind::Lock => String::new(),
        _ => format!(" at {}", waiting.at),
    };
    format!(
        "waiting for {} {:?}{}{place}",
        waiting.kind.as_str(),
        waiting.name,
        held(waiting)
    )
}

/// `31 s`, `0.4 s`.
pub(super) fn time(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} s", time.as_secs())
    }
}

/// Text that cannot end a line or a header.
fn plain(text: &str) -> String {
    let safe = |character: char| {
        if character.is_control() || matches!(character, '[' | ']') {
            '?'
        } else {
            character
        }
    };
    text.chars().map(safe).collect()
}
