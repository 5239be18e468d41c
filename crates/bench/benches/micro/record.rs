//! What each case needed when it was last recorded.
//!
//! Contract: the file is made of lines `case instructions`, sorted by case, below head lines that begin with
//! `#` and name compiler, architecture and valgrind; rewriting some cases keeps the others.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::Command;

use crate::{Outcome, cases};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/micro/recorded.txt");

/// More or less than this part of what was recorded is worth a word.
const TOLERANCE: f64 = 0.05;

const EXPLANATION: &str = "\
# Instructions per unit of each micro bench, counted by callgrind.
# Rewritten by: cargo bench -p bench --bench micro -- --record
";

/// How a count compares with the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    None,
    More,
    Less,
}

impl Growth {
    /// What a ratio of present to recorded count means.
    pub(crate) fn of(ratio: f64) -> Self {
        if ratio > 1.0 + TOLERANCE {
            Self::More
        } else if ratio < 1.0 - TOLERANCE {
            Self::Less
        } else {
            Self::None
        }
    }
}

/// The recorded counts, and where they were counted.
pub(crate) struct Record {
    place: String,
    counts: BTreeMap<String, f64>,
}

impl Record {
    /// Reads the file; one that is not there is empty.
    pub(crate) fn read() -> Outcome<Self> {
        let text = match std::fs::read_to_string(PATH) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            other => other.map_err(|error| format!("{PATH}: {error}"))?,
        };
        let mut counts = BTreeMap::new();
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            let entry = line.split_once(' ').and_then(|(case, count)| {
                let count: f64 = count.trim().parse().ok()?;
                Some((case.to_owned(), count))
            });
            let (case, count) = entry.ok_or_else(|| format!("{PATH}: not a case and a number: {line}"))?;
            counts.insert(case, count);
        }
        let place = text
            .lines()
            .filter_map(|line| line.strip_prefix("# with "))
            .collect();
        Ok(Self { place, counts })
    }

    /// The count of a case.
    pub(crate) fn find(&self, case: &str) -> Option<f64> {
        self.counts.get(case).copied()
    }

    /// Takes a new count; the file stays as it is until [`Record::write`].
    pub(crate) fn set(&mut self, case: &str, count: f64) {
        self.counts.insert(case.to_owned(), count);
    }

    /// Writes the file. Cases that exist no longer are left out.
    pub(crate) fn write(&self) -> Outcome<()> {
        let names = cases::all();
        let lines: String = self
            .counts
            .iter()
            .filter(|(name, _)| names.iter().any(|case| case.name == name.as_str()))
            .map(|(name, count)| format!("{name} {count:.1}\n"))
            .collect();
        let text = format!("{EXPLANATION}# with {}\n{lines}", here());
        std::fs::write(PATH, text).map_err(|error| format!("{PATH}: {error}").into())
    }

    /// Why ratios may be off: another compiler or machine counts differently without any change here.
    pub(crate) fn difference(&self) -> Option<String> {
        let here = here();
        let same = self.place.is_empty() || self.place == here;
        (!same).then(|| format!("Recorded with {}; this is {here}: ratios may be off.", self.place))
    }
}

/// What the counts depend on besides the program.
fn here() -> String {
    let first_line = |program: &str, flag: &str| {
        Command::new(program)
            .arg(flag)
            .output()
            .ok()
            .and_then(|output| Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned()))
            .unwrap_or_else(|| format!("an unknown {program}"))
    };
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    format!(
        "{}, {} {}, {}",
        first_line(&compiler, "--version"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        first_line("valgrind", "--version")
    )
}
