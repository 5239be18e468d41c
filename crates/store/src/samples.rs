//! Samples of live mounts, and their sums by hour and day.
//!
//! Contract: the sums follow from the samples alone, in the order of their ids, each sample once, in the transaction
//! that remembers it. So samples that the Go program wrote meanwhile, or for years, are summed up like our own.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension as _, Result};

use crate::entry::Sample;
use crate::schema::{set_state, state};
use crate::spans::{Bytes, DAY, HOUR, borrowed, floor, number};
use crate::stamp;

/// Samples that are summed up at once.
const CHUNK: i64 = 5_000;

/// Adds samples of one moment.
pub(crate) fn add(connection: &Connection, samples: &[Sample], at: Timestamp, zone: &TimeZone) -> Result<()> {
    let at = stamp::write(at, zone);
    let mut statement = connection.prepare_cached(
        "INSERT INTO listener_histories (mount, listeners, bytes_in, bytes_out, timestamp) VALUES (?, ?, ?, ?, ?)",
    )?;
    for sample in samples {
        statement.execute((
            &sample.mount,
            signed(sample.listeners),
            signed(sample.bytes_in),
            signed(sample.bytes_out),
            &at,
        ))?;
    }
    Ok(())
}

/// Sums up samples that are not yet in the sums; true while there are more.
pub(crate) fn fold(connection: &Connection) -> Result<bool> {
    let folded = state(connection, "folded")?.unwrap_or(0);
    let mut sums = Sums::default();
    let mut last_id = folded;
    let mut count = 0;
    let mut statement = connection.prepare_cached(
        "SELECT id, mount, listeners, bytes_in, bytes_out, timestamp FROM listener_histories
         WHERE id > ? ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query((folded, CHUNK))?;
    while let Some(row) = rows.next()? {
        last_id = row.get(0)?;
        count += 1;
        let (Some(mount), Some(at)) = (borrowed(row, 1)?, stamp::read(row.get_ref(5)?)) else {
            continue;
        };
        let counters = Bytes {
            into: number(row, 3)?,
            out: number(row, 4)?,
        };
        sums.add(
            connection,
            mount,
            at.as_second(),
            number(row, 2)?,
            counters,
            last_id,
        )?;
    }
    if count > 0 {
        sums.write(connection)?;
        set_state(connection, "folded", last_id)?;
    }
    Ok(count == CHUNK)
}

/// What a chunk of samples adds to the sums.
#[derive(Default)]
struct Sums {
    mounts: HashMap<String, Mount>,
}

struct Mount {
    last: Option<Bytes>,
    total: Bytes,
    /// By length and begin.
    spans: HashMap<(i64, i64), Span>,
}

#[derive(Default)]
struct Span {
    samples: u64,
    listeners_sum: u64,
    listeners_max: u64,
    bytes: Bytes,
    first_id: i64,
    last_id: i64,
}

impl Sums {
    fn add(
        &mut self,
        connection: &Connection,
        name: &str,
        second: i64,
        listeners: u64,
        counters: Bytes,
        id: i64,
    ) -> Result<()> {
        if !self.mounts.contains_key(name) {
            self.mounts
                .insert(name.to_owned(), Mount::read(connection, name)?);
        }
        let mount = self.mounts.get_mut(name).expect("it was inserted");
        let moved = counters.since(mount.last.replace(counters));
        mount.total.add(moved);
        for length in [HOUR, DAY] {
            let span = mount.spans.entry((length, floor(second, length))).or_default();
            if span.samples == 0 {
                span.first_id = id;
            }
            span.samples += 1;
            span.listeners_sum = span.listeners_sum.saturating_add(listeners);
            span.listeners_max = span.listeners_max.max(listeners);
            span.bytes.add(moved);
            span.last_id = id;
        }
        Ok(())
    }

    fn write(&self, connection: &Connection) -> Result<()> {
        let mut spans = connection.prepare_cached(
            "INSERT INTO listener_spans (span, start, mount, samples, listeners_sum, listeners_max,
                                         bytes_in, bytes_out, first_id, last_id)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET
                samples = samples + excluded.samples,
                listeners_sum = listeners_sum + excluded.listeners_sum,
                listeners_max = max(listeners_max, excluded.listeners_max),
                bytes_in = bytes_in + excluded.bytes_in,
                bytes_out = bytes_out + excluded.bytes_out,
                last_id = excluded.last_id",
        )?;
        let mut counters = connection.prepare_cached(
            "INSERT OR REPLACE INTO listener_counters (mount, last_in, last_out, total_in, total_out)
             VALUES (?, ?, ?, ?, ?)",
        )?;
        for (name, mount) in &self.mounts {
            for ((length, start), span) in &mount.spans {
                spans.execute((
                    length,
                    start,
                    name,
                    signed(span.samples),
                    signed(span.listeners_sum),
                    signed(span.listeners_max),
                    signed(span.bytes.into),
                    signed(span.bytes.out),
                    span.first_id,
                    span.last_id,
                ))?;
            }
            let last = mount.last.unwrap_or_default();
            counters.execute((
                name,
                signed(last.into),
                signed(last.out),
                signed(mount.total.into),
                signed(mount.total.out),
            ))?;
        }
        Ok(())
    }
}

impl Mount {
    fn read(connection: &Connection, name: &str) -> Result<Self> {
        let known = connection
            .prepare_cached(
                "SELECT last_in, last_out, total_in, total_out FROM listener_counters WHERE mount = ?",
            )?
            .query_row([name], |row| {
                let last = Bytes {
                    into: number(row, 0)?,
                    out: number(row, 1)?,
                };
                let total = Bytes {
                    into: number(row, 2)?,
                    out: number(row, 3)?,
                };
                Ok((Some(last), total))
            })
            .optional()?;
        let (last, total) = known.unwrap_or_default();
        Ok(Self {
            last,
            total,
            spans: HashMap::new(),
        })
    }
}

/// SQLite's integers have a sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
