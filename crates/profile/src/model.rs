//! What a profile holds, before it is written in any form.
//!
//! Contract: a sample has as many values as the profile has value types.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// What one of a sample's values counts, such as `cpu` in `nanoseconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueType {
    /// What is counted.
    pub kind: &'static str,
    /// In which unit.
    pub unit: &'static str,
}

/// One step of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Frame {
    /// A program counter in this process, to be named later. For all but the innermost frame it is the address of
    /// the call and not the one it returns to.
    Address(u64),
    /// A step that has no address: an await, a lock, a task.
    Named {
        /// What a reader is shown as the function.
        function: Cow<'static, str>,
        /// The file, if known.
        file: Cow<'static, str>,
        /// The line, 0 if unknown.
        line: u32,
    },
}

/// Where something happened and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Innermost frame first.
    pub stack: Vec<Frame>,
    /// One per value type of the profile.
    pub values: Vec<i64>,
    /// What tells this sample from others with the same stack, such as a thread's name.
    pub labels: Vec<(&'static str, String)>,
}

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What the values are.
    pub value_types: Vec<ValueType>,
    /// Which of them a viewer shows first.
    pub default_type: usize,
    /// What was sampled, and one sample in how many of it.
    pub period: Option<(ValueType, i64)>,
    /// When it was taken or begun.
    pub time: SystemTime,
    /// How long it took; zero for a state of one moment.
    pub duration: Duration,
    /// The samples.
    pub samples: Vec<Sample>,
    /// Free text for the reader.
    pub comments: Vec<String>,
}

impl Profile {
    /// What came between an earlier profile of the same kind and this one: values after less values before, for each
    /// stack and its labels. What did not change is left out. Values that can fall, such as bytes in use, may be
    /// negative.
    #[must_use]
    pub fn difference(&self, before: &Self) -> Self {
        let after = self.samples.iter().map(|sample| (sample, 1));
        let before_it = before.samples.iter().map(|sample| (sample, -1));
        let sums = sums(after.chain(before_it), self.value_types.len());
        let changed = sums
            .into_iter()
            .filter(|(_, values)| values.iter().any(|value| *value != 0));
        let end = self.time + self.duration;
        Self {
            samples: changed
                .map(|(key, values)| Sample {
                    stack: key.stack.to_vec(),
                    values,
                    labels: key.labels.to_vec(),
                })
                .collect(),
            time: before.time,
            duration: end.duration_since(before.time).unwrap_or_default(),
            value_types: self.value_types.clone(),
            default_type: self.default_type,
            period: self.period,
            comments: self.comments.clone(),
        }
    }
}

/// What makes samples the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key<'a> {
    pub(crate) stack: &'a [Frame],
    pub(crate) labels: &'a [(&'static str, String)],
}

/// The values of equal samples added up, each times its sign, in the order in which they first appear.
pub(crate) fn sums<'a>(
    samples: impl Iterator<Item = (&'a Sample, i64)>,
    value_types: usize,
) -> Vec<(Key<'a>, Vec<i64>)> {
    let mut places: HashMap<Key<'_>, usize> = HashMap::new();
    let mut sums: Vec<(Key<'_>, Vec<i64>)> = Vec::new();
    for (
        Sample {
            stack,
            values,
            labels,
        },
        sign,
    ) in samples
    {
        let key = Key { stack, labels };
        let place = *places.entry(key).or_insert(sums.len());
        if place == sums.len() {
            sums.push((key, vec![0; value_types]));
        }
        for (sum, value) in sums[place].1.iter_mut().zip(values) {
            *sum = sum.saturating_add(value.saturating_mul(sign));
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(at: u64, samples: &[(&'static str, &str, [i64; 2])]) -> Profile {
        let value_type = |kind, unit| ValueType { kind, unit };
        Profile {
            value_types: vec![value_type("objects", "count"), value_type("space", "bytes")],
            default_type: 1,
            period: None,
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(at),
            duration: Duration::ZERO,
            samples: samples
                .iter()
                .map(|(function, label, values)| Sample {
                    stack: vec![Frame::Named {
                        function: (*function).into(),
                        file: "".into(),
                        line: 1,
                    }],
                    values: values.to_vec(),
                    labels: vec![("thread", (*label).to_owned())],
                })
                .collect(),
            comments: Vec::new(),
        }
    }

    #[test]
    fn differences_per_stack_and_label() {
        let before = profile(
            10,
            &[("a", "x", [5, 50]), ("b", "x", [1, 1]), ("gone", "x", [2, 20])],
        );
        let after = profile(
            13,
            &[
                ("a", "x", [7, 40]),
                ("b", "x", [1, 1]),
                ("a", "y", [1, 2]),
                ("a", "y", [1, 2]),
            ],
        );
        let difference = after.difference(&before);
        let mut found: Vec<_> = difference
            .samples
            .iter()
            .map(|sample| {
                let Frame::Named { function, .. } = &sample.stack[0] else {
                    unreachable!()
                };
                (
                    &**function,
                    &*sample.labels[0].1,
                    [sample.values[0], sample.values[1]],
                )
            })
            .collect();
        found.sort();
        assert_eq!(
            found,
            [("a", "x", [2, -10]), ("a", "y", [2, 4]), ("gone", "x", [-2, -20])]
        );
        assert_eq!(difference.duration, Duration::from_secs(3));
        assert_eq!(difference.time, before.time);
        assert!(after.difference(&after).samples.is_empty());
    }
}
