//! The table that is printed, row by row as it is measured.

use std::fmt::{Display, Formatter, Result};

use crate::record::Growth;
use crate::timing::Timing;

/// The first two lines.
pub(crate) const HEAD: &str = "\
| case | unit | ns (median) | ns (least) | MB/s | instructions | recorded | ratio |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
";

/// One case. Times and instructions are per unit.
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) timing: Timing,
    pub(crate) instructions: Option<f64>,
    pub(crate) recorded: Option<f64>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some(self.instructions? / self.recorded?)
    }

    /// How the count has changed. What was counted and never recorded is held to be too much.
    pub(crate) fn growth(&self) -> Growth {
        match (self.instructions, self.ratio()) {
            (None, _) => Growth::None,
            (Some(_), Some(ratio)) => Growth::of(ratio),
            (Some(_), None) => Growth::More,
        }
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let dash = |value: Option<f64>, digits| value.map_or("-".to_owned(), |it| format!("{it:.digits$}"));
        let megabytes = self.timing.bytes_per_second.map(|it| it / 1e6);
        writeln!(
            f,
            "| `{}` | {} | {:.1} | {:.1} | {} | {} | {} | {} |",
            self.case,
            self.unit,
            self.timing.median,
            self.timing.least,
            dash(megabytes, 0),
            dash(self.instructions, 1),
            dash(self.recorded, 1),
            dash(self.ratio(), 3),
        )
    }
}
