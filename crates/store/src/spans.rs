//! Reading samples: rows of foreign hands, and what moved between them.
//!
//! Contract: counters count from a source's connect, so a smaller value is a new beginning and counts in full; a
//! mount's first sample is the line from which it is measured and counts nothing.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, Rows};

use crate::stamp;

/// The seconds of the shorter span that samples are summed up by.
pub(crate) const HOUR: i64 = 3_600;
/// The seconds of the longer one.
pub(crate) const DAY: i64 = 86_400;

/// The two counters of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) into: u64,
    pub(crate) out: u64,
}

impl Bytes {
    /// What moved from one reading of the counters to this one.
    pub(crate) fn since(self, last: Option<Bytes>) -> Bytes {
        let Some(last) = last else { return Bytes::default() };
        let moved = |last: u64, now: u64| if now < last { now } else { now - last };
        Bytes {
            into: moved(last.into, self.into),
            out: moved(last.out, self.out),
        }
    }

    pub(crate) fn add(&mut self, more: Bytes) {
        self.into = self.into.saturating_add(more.into);
        self.out = self.out.saturating_add(more.out);
    }
}

/// A sample and what moved before it.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) mount: &'a str,
    pub(crate) second: i64,
    pub(crate) listeners: u64,
    pub(crate) moved: Bytes,
}

/// The samples of mounts (none is all of them) from one second to before another, in the order of their ids.
pub(crate) fn samples(
    connection: &Connection,
    mounts: Option<&[String]>,
    from: i64,
    to: i64,
    mut each: impl FnMut(Seen<'_>),
) -> Result<()> {
    let folded = crate::schema::state(connection, "folded")?.unwrap_or(0);
    let first = match first_id(connection, floor(from, HOUR))? {
        Some(id) => id,
        None => folded + 1,
    };
    // Samples reach the file before they are summed up, so the newest have no span yet.
    let end = first_id(connection, floor(to - 1, HOUR) + HOUR)?.unwrap_or(i64::MAX);
    let columns = "SELECT mount, listeners, bytes_in, bytes_out, timestamp FROM listener_histories";
    let mut last = HashMap::new();
    let mut visit = |mut rows: Rows<'_>| -> Result<()> {
        while let Some(row) = rows.next()? {
            let Some(mount) = borrowed(row, 0)? else { continue };
            let now = Bytes {
                into: number(row, 2)?,
                out: number(row, 3)?,
            };
            let moved = match last.get_mut(mount) {
                Some(last) => now.since(Some(std::mem::replace(last, now))),
                None => {
                    last.insert(mount.to_owned(), now);
                    now.since(before(connection, mount, first)?)
                }
            };
            let Some(at) = stamp::read(row.get_ref(4)?) else {
                continue;
            };
            let second = at.as_second();
            if (from..to).contains(&second) {
                each(Seen {
                    mount,
                    second,
                    listeners: number(row, 1)?,
                    moved,
                });
            }
        }
        Ok(())
    };
    match mounts {
        None => visit(
            connection
                .prepare_cached(&format!("{columns} WHERE id >= ? AND id < ? ORDER BY id"))?
                .query((first, end))?,
        ),
        Some(mounts) => {
            let mut statement = connection.prepare_cached(&format!(
                "{columns} WHERE mount = ? AND id >= ? AND id < ? ORDER BY id"
            ))?;
            mounts
                .iter()
                .try_for_each(|mount| visit(statement.query((mount, first, end))?))
        }
    }
}

/// The first sample of the first hour from a second on.
fn first_id(connection: &Connection, second: i64) -> Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT min(first_id) FROM listener_spans WHERE span = ?1 AND start =
             (SELECT min(start) FROM listener_spans WHERE span = ?1 AND start >= ?2)",
        )?
        .query_row((HOUR, second), |row| row.get(0))
}

/// The counters of a mount before a sample.
fn before(connection: &Connection, mount: &str, id: i64) -> Result<Option<Bytes>> {
    connection
        .prepare_cached(
            "SELECT bytes_in, bytes_out FROM listener_histories WHERE mount = ? AND id < ? ORDER BY id DESC LIMIT 1",
        )?
        .query_row((mount, id), |row| {
            Ok(Bytes {
                into: number(row, 0)?,
                out: number(row, 1)?,
            })
        })
        .optional()
}

/// The begin of the span that a second is in.
pub(crate) fn floor(second: i64, span: i64) -> i64 {
    second.div_euclid(span) * span
}

/// The begin of the first span that does not begin before a second.
pub(crate) fn ceil(second: i64, span: i64) -> i64 {
    floor(second + span - 1, span)
}

/// A column that should be a number that is not negative; what is none is 0.
pub(crate) fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => u64::try_from(number).unwrap_or(0),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the conversion saturates, which is what is wanted"
        )]
        ValueRef::Real(number) => number as u64,
        ValueRef::Text(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        ValueRef::Null | ValueRef::Blob(_) => 0,
    })
}

/// A column that should be text; what is none is empty.
pub(crate) fn text(row: &Row<'_>, column: usize) -> Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Null | ValueRef::Real(_) => String::new(),
    })
}

/// A column that should be a time; what is none is 1970.
pub(crate) fn instant(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    Ok(stamp::read(row.get_ref(column)?).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// A column of text, if it is that.
pub(crate) fn borrowed<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a str>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(text) => std::str::from_utf8(text).ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_counter_is_a_new_beginning() {
        let at = |into, out| Bytes { into, out };
        for (last, now, expected) in [
            (None, at(500, 900), at(0, 0)),
            (Some(at(500, 900)), at(700, 900), at(200, 0)),
            (Some(at(500, 900)), at(40, 1_000), at(40, 100)),
        ] {
            assert_eq!(now.since(last), expected, "{last:?} to {now:?}");
        }
    }

    #[test]
    fn spans_before_1970_have_their_begin_before_them() {
        assert_eq!(floor(7_300, HOUR), 7_200);
        assert_eq!(floor(-1, HOUR), -3_600);
        assert_eq!(ceil(7_200, HOUR), 7_200);
        assert_eq!(ceil(7_201, HOUR), 10_800);
    }
}
