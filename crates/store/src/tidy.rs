//! What is too old: samples become hourly rows after a month, and rows go when their time is over.
//!
//! Contract: the work comes in steps of a few milliseconds, each a transaction that leaves the file sound, so that
//! fresh writes wait for a step and never for the whole. What was not summed up yet is not touched.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Result};

use crate::file::nanoseconds;
use crate::schema::{set_state, state};
use crate::spans::{DAY, HOUR};

/// How long samples are kept minute by minute. Graphs of up to a month show details.
const DETAILED: Duration = Duration::from_secs(30 * 86_400);
/// How long songs are kept beyond a mount's newest hundred.
const SONGS: Duration = Duration::from_secs(365 * 86_400);
/// Rows that one step looks at.
const STEP_ROWS: i64 = 5_000;
/// Hours that one step thins or deletes.
const STEP_HOURS: u32 = 6;

/// How long what is kept; none is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Entries of the audit log.
    pub audit: Option<Duration>,
    /// Statistics of listeners and traffic.
    pub history: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        Self::from_days(365, 0)
    }
}

impl Retention {
    /// From days as they stand in the configuration: 0 is for ever.
    pub fn from_days(audit: u32, history: u32) -> Self {
        let days = |days: u32| (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400));
        Self {
            audit: days(audit),
            history: days(history),
        }
    }
}

/// What tidying did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Samples that became part of an hourly row.
    pub thinned: u64,
    /// Samples that were deleted, hourly rows among them.
    pub samples: u64,
    /// Deleted entries of the audit log.
    pub audit: u64,
    /// Deleted songs.
    pub songs: u64,
}

/// One round of tidying.
#[derive(Debug)]
pub(crate) struct Round {
    now: Timestamp,
    retention: Retention,
    stage: Stage,
    /// The last row that the stage has looked at.
    cursor: i64,
    pub(crate) tidied: Tidied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Samples,
    Thin,
    Audit,
    Songs,
    Done,
}

impl Round {
    pub(crate) fn new(now: Timestamp, retention: Retention) -> Self {
        Self {
            now,
            retention,
            stage: Stage::Samples,
            cursor: 0,
            tidied: Tidied::default(),
        }
    }

    /// Does a step in the open transaction; false when there is nothing left.
    pub(crate) fn step(&mut self, connection: &Connection) -> Result<bool> {
        let (more, next) = match self.stage {
            Stage::Samples => (self.delete_samples(connection)?, Stage::Thin),
            Stage::Thin => (self.thin(connection)?, Stage::Audit),
            Stage::Audit => (self.delete_audit(connection)?, Stage::Songs),
            Stage::Songs => (self.delete_songs(connection)?, Stage::Done),
            Stage::Done => return Ok(false),
        };
        if !more {
            self.stage = next;
            self.cursor = 0;
        }
        Ok(self.stage != Stage::Done)
    }

    fn delete_samples(&mut self, connection: &Connection) -> Result<bool> {
        let Some(end) = self.before(self.retention.history) else {
            return Ok(false);
        };
        for _ in 0..STEP_HOURS {
            let Some(start) = oldest(connection, 0, end.as_second() - HOUR + 1)? else {
                connection
                    .prepare_cached("DELETE FROM listener_spans WHERE span = ? AND start <= ?")?
                    .execute((DAY, end.as_second() - DAY))?;
                return Ok(false);
            };
            for hour in hours(connection, start)? {
                self.tidied.samples += connection
                    .prepare_cached("DELETE FROM listener_histories WHERE mount = ? AND id <= ?")?
                    .execute((&hour.mount, hour.last_id))? as u64;
            }
            connection
                .prepare_cached("DELETE FROM listener_spans WHERE span = ? AND start = ?")?
                .execute((HOUR, start))?;
        }
        Ok(true)
    }

    /// Keeps the last sample of an hour, which has the counters that the next hour goes on from, with the average of
    /// the listeners, so that the Go program sees a true if coarser history. The largest is in the sums.
    fn thin(&mut self, connection: &Connection) -> Result<bool> {
        let Some(end) = self.before(Some(DETAILED)) else {
            return Ok(false);
        };
        for _ in 0..STEP_HOURS {
            let thinned = state(connection, "thinned")?.unwrap_or(0);
            let Some(start) = oldest(connection, thinned, end.as_second() - HOUR + 1)? else {
                return Ok(false);
            };
            for hour in hours(connection, start)? {
                self.tidied.thinned += connection
                    .prepare_cached("DELETE FROM listener_histories WHERE mount = ? AND id >= ? AND id < ?")?
                    .execute((&hour.mount, hour.first_id, hour.last_id))?
                    as u64;
                connection
                    .prepare_cached("UPDATE listener_histories SET listeners = ? WHERE id = ?")?
                    .execute((hour.average, hour.last_id))?;
            }
            set_state(connection, "thinned", start + HOUR)?;
        }
        Ok(true)
    }

    fn delete_audit(&mut self, connection: &Connection) -> Result<bool> {
        let Some(end) = self.before(self.retention.audit) else {
            return Ok(false);
        };
        let (deleted, more) = self.delete_rows(connection, "audit_entries", end, "")?;
        self.tidied.audit += deleted;
        Ok(more)
    }

    fn delete_songs(&mut self, connection: &Connection) -> Result<bool> {
        let Some(end) = self.before(Some(SONGS)) else {
            return Ok(false);
        };
        let not_newest = "AND 100 = (SELECT count(*) FROM (SELECT 1 FROM history_items AS newer
                          WHERE newer.mount = history_items.mount AND newer.id > history_items.id LIMIT 100))";
        let (deleted, more) = self.delete_rows(connection, "history_items", end, not_newest)?;
        self.tidied.songs += deleted;
        Ok(more)
    }

    /// Deletes rows from before an instant, oldest first, until some thousand in a row are younger.
    fn delete_rows(
        &mut self,
        connection: &Connection,
        table: &str,
        end: Timestamp,
        condition: &str,
    ) -> Result<(u64, bool)> {
        let end = nanoseconds(end);
        let (last, old): (Option<i64>, Option<i64>) = connection
            .prepare_cached(&format!(
                "SELECT max(id), sum(instant(timestamp) < ?)
                 FROM (SELECT id, timestamp FROM {table} WHERE id > ? ORDER BY id LIMIT {STEP_ROWS})"
            ))?
            .query_row((end, self.cursor), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (Some(last), Some(1..)) = (last, old) else {
            return Ok((0, false));
        };
        let deleted = connection
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE id > ? AND id <= ? AND instant(timestamp) < ? {condition}"
            ))?
            .execute((self.cursor, last, end))?;
        self.cursor = last;
        Ok((deleted as u64, true))
    }

    /// The instant before which everything is too old; a span that reaches beyond the calendar is for ever.
    fn before(&self, kept: Option<Duration>) -> Option<Timestamp> {
        self.now.checked_sub(kept?).ok()
    }
}

/// The first hour with samples from one second to before another.
fn oldest(connection: &Connection, from: i64, to: i64) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT min(start) FROM listener_spans WHERE span = ? AND start >= ? AND start < ?")?
        .query_row((HOUR, from, to), |row| row.get(0))
}

/// A mount's samples of one hour.
struct Hour {
    mount: String,
    first_id: i64,
    last_id: i64,
    average: i64,
}

fn hours(connection: &Connection, start: i64) -> Result<Vec<Hour>> {
    connection
        .prepare_cached(
            "SELECT mount, first_id, last_id, CAST(round(listeners_sum * 1.0 / samples) AS INTEGER)
             FROM listener_spans WHERE span = ? AND start = ?",
        )?
        .query_map((HOUR, start), |row| {
            Ok(Hour {
                mount: row.get(0)?,
                first_id: row.get(1)?,
                last_id: row.get(2)?,
                average: row.get(3)?,
            })
        })?
        .collect()
}
