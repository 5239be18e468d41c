//! Bytes in the windows that operators ask for.
//!
//! Contract: quick at any age. Whole days and hours come from their sums; only the broken hour at the begin of the
//! day's and the week's window is added up from samples. Longer windows begin at a whole hour.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, Result};
use serde::Serialize;

use crate::spans::{self, Bytes, DAY, HOUR, borrowed, ceil, floor, number};

/// Bytes in each window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// 24 hours.
    pub day: Total,
    /// 7 days.
    pub week: Total,
    /// 30 days.
    pub month: Total,
    /// 90 days.
    pub quarter: Total,
    /// 365 days.
    pub year: Total,
    /// Since the first sample.
    pub lifetime: Total,
    /// The same under its other name.
    pub all: Total,
}

/// Bytes in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Received.
    pub bytes_in: u64,
    /// Sent.
    pub bytes_out: u64,
    /// Mounts that had traffic.
    pub mounts: u64,
}

pub(crate) fn read(connection: &Connection, mounts: Option<&[String]>, now: Timestamp) -> Result<Traffic> {
    let now = now.as_second();
    let window = |days: i64| total(connection, mounts, now - days * DAY, days <= 7);
    let lifetime = lifetime(connection, mounts)?;
    Ok(Traffic {
        day: window(1)?,
        week: window(7)?,
        month: window(30)?,
        quarter: window(90)?,
        year: window(365)?,
        lifetime,
        all: lifetime,
    })
}

/// What moved from a second on.
fn total(connection: &Connection, mounts: Option<&[String]>, from: i64, exact: bool) -> Result<Total> {
    let mut moved = Moved::new(mounts);
    let hours = if exact {
        ceil(from, HOUR)
    } else {
        floor(from, HOUR)
    };
    if from < hours {
        spans::samples(connection, mounts, from, hours, |seen| {
            moved.add(seen.mount, seen.moved)
        })?;
    }
    let days = ceil(hours, DAY);
    let mut statement = connection.prepare_cached(
        "SELECT mount, sum(bytes_in), sum(bytes_out) FROM listener_spans
         WHERE span = ? AND start >= ? AND start < ? GROUP BY mount",
    )?;
    for (span, start, end) in [(HOUR, hours, days), (DAY, days, i64::MAX)] {
        let mut rows = statement.query((span, start, end))?;
        while let Some(row) = rows.next()? {
            moved.add_row(row)?;
        }
    }
    Ok(moved.total())
}

fn lifetime(connection: &Connection, mounts: Option<&[String]>) -> Result<Total> {
    let mut moved = Moved::new(mounts);
    let mut statement =
        connection.prepare_cached("SELECT mount, total_in, total_out FROM listener_counters")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        moved.add_row(row)?;
    }
    Ok(moved.total())
}

/// Bytes by mount.
struct Moved<'a> {
    wanted: Option<&'a [String]>,
    mounts: HashMap<String, Bytes>,
}

impl<'a> Moved<'a> {
    fn new(wanted: Option<&'a [String]>) -> Self {
        Self {
            wanted,
            mounts: HashMap::new(),
        }
    }

    fn add_row(&mut self, row: &rusqlite::Row<'_>) -> Result<()> {
        let bytes = Bytes {
            into: number(row, 1)?,
            out: number(row, 2)?,
        };
        if let Some(mount) = borrowed(row, 0)? {
            self.add(mount, bytes);
        }
        Ok(())
    }

    fn add(&mut self, mount: &str, bytes: Bytes) {
        let wanted = |mounts: &[String]| mounts.iter().any(|name| name == mount);
        if bytes == Bytes::default() || !self.wanted.is_none_or(wanted) {
            return;
        }
        match self.mounts.get_mut(mount) {
            Some(sum) => sum.add(bytes),
            None => {
                self.mounts.insert(mount.to_owned(), bytes);
            }
        }
    }

    fn total(&self) -> Total {
        let mut sum = Bytes::default();
        self.mounts.values().for_each(|&bytes| sum.add(bytes));
        Total {
            bytes_in: sum.into,
            bytes_out: sum.out,
            mounts: self.mounts.len() as u64,
        }
    }
}
