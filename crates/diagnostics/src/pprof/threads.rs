//! `threadcreate`: how many threads there are of each name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use profile::{Frame, Profile, Sample, ValueType};

use super::{Form, Outcome, binary};
use crate::{Answer, Query};

pub(super) fn answer(query: &Query) -> Outcome {
    let form = Form::of(query)?;
    let names = by_name();
    Ok(match form {
        Form::Binary => binary("threadcreate", &profile(names)),
        Form::Text(_) => Answer::text(text(&names)),
    })
}

/// How many threads there are.
pub(super) fn count() -> usize {
    by_name().values().sum()
}

/// The threads by name. The kernel's list has those of libraries too.
fn by_name() -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let mut add = |name: String| *names.entry(name).or_insert(0) += 1;
    match std::fs::read_dir("/proc/self/task") {
        Ok(tasks) => tasks
            .flatten()
            .filter_map(|task| std::fs::read(task.path().join("comm")).ok())
            .for_each(|name| add(String::from_utf8_lossy(&name).trim_end().to_owned())),
        Err(_) => observe::thread::list()
            .into_iter()
            .for_each(|thread| add(thread.name.to_owned())),
    }
    names
}

fn profile(names: BTreeMap<String, usize>) -> Profile {
    let threads = ValueType {
        kind: "threadcreate",
        unit: "count",
    };
    let sample = |(name, count): (String, usize)| Sample {
        stack: vec![Frame::Named {
            function: name.into(),
            file: "".into(),
            line: 0,
        }],
        values: vec![i64::try_from(count).unwrap_or(i64::MAX)],
        labels: Vec::new(),
    };
    Profile {
        value_types: vec![threads],
        default_type: 0,
        period: Some((threads, 1)),
        time: SystemTime::now(),
        duration: Duration::ZERO,
        samples: names.into_iter().map(sample).collect(),
        comments: Vec::new(),
    }
}

fn text(names: &BTreeMap<String, usize>) -> String {
    let total: usize = names.values().sum();
    let mut names: Vec<_> = names.iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut out = format!("threadcreate profile: total {total}\n");
    for (name, count) in names {
        let _ = writeln!(out, "{count} @\n#\t{}\n", name.escape_debug());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_by_name() {
        let names = BTreeMap::from([("a".to_owned(), 1), ("worker".to_owned(), 3)]);
        let expected = "threadcreate profile: total 4\n3 @\n#\tworker\n\n1 @\n#\ta\n\n";
        assert_eq!(text(&names), expected);
        assert!(count() > 0);
    }
}
