//! Which troubles go on: tells what begins and what ends from what was there before.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Finding;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By check and subject.
    open: HashMap<(&'static str, String), Occurrence>,
}

#[derive(Debug)]
struct Occurrence {
    since: Instant,
    blocks: bool,
    problem: String,
}

#[derive(Debug)]
pub(super) enum Change {
    Tripped(&'static str, Finding),
    Recovered {
        check: &'static str,
        subject: String,
        after: Duration,
    },
}

impl Ledger {
    /// Takes what is found now.
    pub(super) fn compare(&mut self, now: Instant, findings: Vec<(&'static str, Finding)>) -> Vec<Change> {
        let mut before = std::mem::take(&mut self.open);
        let mut changes = Vec::new();
        for (check, finding) in findings {
            let key = (check, finding.subject.clone());
            if self.open.contains_key(&key) {
                continue;
            }
            let known = before.remove(&key);
            let since = known
                .as_ref()
                .map(|known| known.since)
                .or_else(|| now.checked_sub(finding.lasting))
                .unwrap_or(now);
            let occurrence = Occurrence {
                since,
                blocks: finding.blocks,
                problem: finding.problem.clone(),
            };
            self.open.insert(key, occurrence);
            if known.is_none() {
                changes.push(Change::Tripped(check, finding));
            }
        }
        let ended = before
            .into_iter()
            .map(|((check, subject), occurrence)| Change::Recovered {
                check,
                subject,
                after: now.saturating_duration_since(occurrence.since),
            });
        changes.extend(ended);
        changes
    }

    /// What has stopped others for at least this long; the longest.
    pub(super) fn stuck(&self, now: Instant, least: Duration) -> Option<String> {
        let blocking = self.open.iter().filter(|(_, occurrence)| occurrence.blocks);
        let ((check, subject), longest) = blocking.min_by_key(|(_, occurrence)| occurrence.since)?;
        let lasting = now.saturating_duration_since(longest.since);
        (lasting >= least).then(|| format!("{check}: {subject}: {}", longest.problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(changes: Vec<Change>) -> Vec<String> {
        let mut texts: Vec<_> = changes
            .into_iter()
            .map(|change| match change {
                Change::Tripped(check, finding) => format!("{check} {}", finding.subject),
                Change::Recovered {
                    check,
                    subject,
                    after,
                } => format!("{check} {subject} after {after:?}"),
            })
            .collect();
        texts.sort();
        texts
    }

    #[test]
    fn each_trouble_is_told_when_it_begins_and_when_it_ends() {
        let silent = |mount: &str, text: &str| {
            (
                "silent",
                Finding::new(mount, text).lasting(Duration::from_secs(3)),
            )
        };
        let steps = [
            (10, vec![], vec![]),
            (11, vec![silent("/a", "for 3 s")], vec!["silent /a"]),
            (12, vec![silent("/a", "for 4 s"), silent("/a", "again")], vec![]),
            (
                13,
                vec![silent("/a", "for 5 s"), silent("/b", "too")],
                vec!["silent /b"],
            ),
            (14, vec![silent("/b", "still")], vec!["silent /a after 6s"]),
            (15, vec![], vec!["silent /b after 5s"]),
            (16, vec![silent("/a", "once more")], vec!["silent /a"]),
        ];
        let start = Instant::now();
        let mut ledger = Ledger::default();
        for (second, findings, expected) in steps {
            let now = start + Duration::from_secs(second);
            assert_eq!(texts(ledger.compare(now, findings)), expected, "at {second} s");
        }
    }

    #[test]
    fn only_what_blocks_for_long_is_stuck() {
        let start = Instant::now();
        let least = Duration::from_secs(10);
        let findings = || {
            vec![
                ("silent", Finding::new("/a", "silent")),
                (
                    "lock",
                    Finding::new("lock x", "held")
                        .blocking()
                        .lasting(Duration::from_secs(2)),
                ),
            ]
        };
        let mut ledger = Ledger::default();
        for (second, expected) in [(30, None), (37, None), (38, Some("lock: lock x: held"))] {
            let now = start + Duration::from_secs(second);
            ledger.compare(now, findings());
            assert_eq!(ledger.stuck(now, least).as_deref(), expected, "at {second} s");
        }
        ledger.compare(start + Duration::from_secs(39), vec![]);
        assert_eq!(ledger.stuck(start + Duration::from_secs(60), least), None);
    }
}
