//! Tables as CSV (RFC 4180) for people's spreadsheets.
//!
//! Contract: no cell of text is a formula, whatever an attacker called himself; a part is bounded, and the next one
//! goes on where it ended.

use jiff::Timestamp;

use crate::insights::Insights;

/// The rows of a part.
pub(crate) const PART: u32 = 5_000;

/// A piece of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whole lines; the first part begins with the header.
    pub bytes: Vec<u8>,
    /// Where the next part begins; none when this is the last.
    pub next: Option<i64>,
}

/// Listeners and bytes of mounts over time.
pub fn insights(insights: &Insights) -> Vec<u8> {
    let header = [
        "mount",
        "timestamp",
        "listeners",
        "max_listeners",
        "bytes_in",
        "bytes_out",
    ];
    let mut table = Table::part(false, &header);
    for (mount, points) in &insights.mounts {
        for point in points {
            table
                .text(mount)
                .time(point.timestamp)
                .number(format_args!("{:.2}", point.listeners))
                .number(point.max_listeners)
                .number(point.bytes_in)
                .number(point.bytes_out)
                .end(0);
        }
    }
    table.into_part().bytes
}

/// A table being written.
#[derive(Debug)]
pub(crate) struct Table {
    text: String,
    rows: u32,
    last: i64,
    fresh: bool,
}

impl Table {
    /// A part of a table; one that continues has no header.
    pub(crate) fn part(continued: bool, header: &[&str]) -> Self {
        let mut table = Self {
            text: String::new(),
            rows: 0,
            last: 0,
            fresh: true,
        };
        if !continued {
            for name in header {
                table.text(name);
            }
            table.end(0);
            table.rows = 0;
        }
        table
    }

    /// A cell that somebody else wrote.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        // Spreadsheets compute cells that begin like a formula; tab and line end are skipped before they look.
        let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
        let quoted = text.contains(['"', ',', '\r', '\n', ';']);
        self.comma();
        if quoted {
            self.text.push('"');
        }
        if formula {
            self.text.push('\'');
        }
        if quoted {
            self.text.push_str(&text.replace('"', "\"\""));
            self.text.push('"');
        } else {
            self.text.push_str(text);
        }
        self
    }

    /// A cell of ours.
    pub(crate) fn number(&mut self, number: impl std::fmt::Display) -> &mut Self {
        self.comma();
        self.text.push_str(&number.to_string());
        self
    }

    /// A time in UTC.
    pub(crate) fn time(&mut self, at: Timestamp) -> &mut Self {
        self.number(at)
    }

    /// Ends a row, of which the next part needs the id.
    pub(crate) fn end(&mut self, id: i64) {
        self.text.push_str("\r\n");
        self.fresh = true;
        self.rows += 1;
        self.last = id;
    }

    /// The part, with a next one if it is full.
    pub(crate) fn into_part(self) -> Part {
        Part {
            bytes: self.text.into_bytes(),
            next: (self.rows == PART).then_some(self.last),
        }
    }

    fn comma(&mut self) {
        if !self.fresh {
            self.text.push(',');
        }
        self.fresh = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("+49", "'+49"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            (
                "=HYPERLINK(\"http://x\",\"y\")",
                "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"",
            ),
            ("\t=1", "'\t=1"),
            ("", ""),
        ] {
            let mut table = Table::part(true, &[]);
            table.text(text).number(-1).end(1);
            let part = table.into_part();
            assert_eq!(
                String::from_utf8(part.bytes).unwrap(),
                format!("{expected},-1\r\n")
            );
            assert_eq!(part.next, None);
        }
    }

    #[test]
    fn a_full_part_says_where_the_next_begins() {
        let mut table = Table::part(false, &["id"]);
        for id in (1..=i64::from(PART)).rev() {
            table.number(id).end(id + 10);
        }
        assert_eq!(table.into_part().next, Some(11));
    }
}
