//! `mutex` and `block`: where tasks and threads waited, and for what.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use observe::wait::{Kind, Waiting};
use profile::{Frame, Profile, Sample, ValueType};

use super::stacks::{Trimmed, is_waiting, write_addresses, write_comments};
use super::{State, goroutine};

/// Waits for locks.
pub(super) const MUTEX: State = State {
    name: "mutex",
    take: || Ok(waits(is_lock)),
    is_plumbing: is_waiting,
    text: |profile| text("mutex", profile, is_lock),
};

/// Waits for anything.
pub(super) const BLOCK: State = State {
    name: "block",
    take: || Ok(waits(any)),
    is_plumbing: is_waiting,
    text: |profile| text("contention", profile, any),
};

/// How many places have waited for locks, and for anything.
pub(super) fn counts() -> (usize, usize) {
    let contentions = observe::contentions();
    let counted = contentions.iter().filter(|contention| contention.count > 0);
    let locks = counted
        .clone()
        .filter(|contention| is_lock(contention.kind))
        .count();
    (locks, counted.count())
}

fn is_lock(kind: Kind) -> bool {
    matches!(kind, Kind::Lock)
}

fn any(_: Kind) -> bool {
    true
}

const VALUE_TYPES: [ValueType; 2] = [
    ValueType {
        kind: "contentions",
        unit: "count",
    },
    ValueType {
        kind: "delay",
        unit: "nanoseconds",
    },
];

/// Every wait is counted; those that go on count with the time so far.
fn waits(includes: fn(Kind) -> bool) -> Profile {
    let mut comments = Vec::new();
    let mut samples = Vec::new();
    for contention in observe::contentions() {
        if contention.count == 0 {
            comments.push(format!("incomplete: {}", contention.name));
        } else if includes(contention.kind) {
            samples.push(Sample {
                stack: contention.stack.to_frames(),
                values: vec![
                    saturated(contention.count.into()),
                    saturated(contention.waited.as_nanos()),
                ],
                labels: labels(contention.kind, contention.name, &contention.at),
            });
        }
    }
    Profile {
        value_types: VALUE_TYPES.to_vec(),
        default_type: 1,
        period: Some((VALUE_TYPES[0], 1)),
        time: SystemTime::now(),
        duration: Duration::ZERO,
        samples,
        comments,
    }
}

fn saturated(number: u128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn labels(kind: Kind, name: &str, at: &str) -> Vec<(&'static str, String)> {
    vec![
        ("kind", kind.as_str().to_owned()),
        ("name", name.to_owned()),
        ("at", at.to_owned()),
    ]
}

type Key = (Vec<Frame>, Vec<(&'static str, String)>);

/// Go's text form, with the name of what was waited for and those who wait now after each stack.
fn text(title: &str, profile: &Profile, includes: fn(Kind) -> bool) -> String {
    let mut now: HashMap<Key, Vec<Waiting>> = HashMap::new();
    for waiting in observe::wait::waiting() {
        if includes(waiting.kind) {
            let key = (
                waiting.stack.to_frames(),
                labels(waiting.kind, waiting.name, &waiting.at),
            );
            now.entry(key).or_default().push(waiting);
        }
    }
    write(title, profile, &now)
}

fn write(title: &str, profile: &Profile, now: &HashMap<Key, Vec<Waiting>>) -> String {
    let mut out = format!("--- {title}:\ncycles/second=1000000000\nsampling period=1\n");
    for comment in &profile.comments {
        let _ = writeln!(out, "# {comment}");
    }
    let mut samples: Vec<&Sample> = profile.samples.iter().collect();
    samples.sort_by_key(|sample| std::cmp::Reverse(sample.values[1]));
    for sample in samples {
        let stack = Trimmed::of(&sample.stack, is_waiting);
        // A wait that went on while a difference was taken can end as less than nothing by a clock's step.
        let _ = write!(out, "{} {}", sample.values[1].max(0), sample.values[0].max(0));
        write_addresses(&mut out, stack);
        write_comments(&mut out, stack);
        let label = |key: &str| {
            let found = sample.labels.iter().find(|(known, _)| *known == key);
            found.map_or("", |(_, value)| value.as_str())
        };
        let _ = writeln!(out, "# {} {:?} at {}", label("kind"), label("name"), label("at"));
        let key = (sample.stack.clone(), sample.labels.clone());
        for waiting in now.get(&key).into_iter().flatten() {
            let who = goroutine::who(
                waiting.waiter,
                waiting.waiter_name,
                waiting.waiter_subject.as_deref(),
                waiting.thread,
            );
            let _ = writeln!(
                out,
                "# still waiting: {who} for {}{}",
                goroutine::time(waiting.waiting),
                goroutine::held(waiting),
            );
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_go() {
        let named = Frame::Named {
            function: "mount::find".into(),
            file: "/code/mount/src/mounts.rs".into(),
            line: 12,
        };
        let sample = |count, nanos, name: &str| Sample {
            stack: vec![named.clone()],
            values: vec![count, nanos],
            labels: labels(Kind::Lock, name, "mount/mounts.rs:12"),
        };
        let profile = Profile {
            samples: vec![
                sample(1, 50, "mount.state"),
                sample(3, 2_000_000_000, "mount.\"x\""),
            ],
            comments: vec!["incomplete: (book busy)".to_owned()],
            ..waits(|_| false)
        };
        let expected = "--- mutex:\ncycles/second=1000000000\nsampling period=1\n# incomplete: (book busy)\n\
            2000000000 3 @\n#\t0x0\tmount::find+0x0\t/code/mount/src/mounts.rs:12\n\
            # lock \"mount.\\\"x\\\"\" at mount/mounts.rs:12\n\n\
            50 1 @\n#\t0x0\tmount::find+0x0\t/code/mount/src/mounts.rs:12\n\
            # lock \"mount.state\" at mount/mounts.rs:12\n\n";
        assert_eq!(write("mutex", &profile, &HashMap::new()), expected);
    }
}
