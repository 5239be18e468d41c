//! Listeners and bytes of mounts over time.
//!
//! Contract: points stand at whole multiples of the step, bytes are those that moved within the point, and where
//! nothing was sampled there is no point. The work is bounded by the number of points, not by the age of the data.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Result};
use serde::Serialize;

use crate::spans::{self, Bytes, DAY, HOUR, borrowed, ceil, floor, number};

/// Points of one mount at most.
const MOST_POINTS: i64 = 5_000;
/// Longer ranges are made of hours: their samples would be too many to read.
const DETAILED: i64 = 7 * DAY;
/// Seconds between points; longer ones are whole days.
const STEPS: [i64; 13] = [
    60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400,
];

/// Which points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsightsQuery {
    /// Of these mounts; none is all.
    pub mounts: Option<Vec<String>>,
    /// The first point begins here or up to a step before.
    pub from: Timestamp,
    /// Nothing from here on.
    pub to: Timestamp,
    /// How far apart they are.
    pub resolution: Resolution,
}

/// How far apart points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// So far, rounded up to a step that divides the day or is whole days, and at least an hour if the range is
    /// longer than a week.
    Step(Duration),
    /// As close as so many points allow.
    Points(u32),
}

/// Series of points by mount.
#[derive(Clone, Debug, PartialEq)]
pub struct Insights {
    /// How far apart the points are.
    pub step: Duration,
    /// The points of mounts that have any, in the order of time.
    pub mounts: BTreeMap<String, Vec<Point>>,
}

/// A mount between one multiple of the step and the next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Its begin.
    pub timestamp: Timestamp,
    /// Average of the samples.
    pub listeners: f64,
    /// Largest sample.
    pub max_listeners: u64,
    /// Received within it.
    pub bytes_in: u64,
    /// Sent within it.
    pub bytes_out: u64,
}

pub(crate) fn read(connection: &Connection, query: &InsightsQuery) -> Result<Insights> {
    let (from, to) = (query.from.as_second(), ceil_second(query.to));
    let step = step(from, to, query.resolution);
    let mut series = Series {
        step,
        mounts: BTreeMap::new(),
    };
    let from = floor(from, step);
    if from >= to {
        return Ok(series.finish());
    }
    if step < HOUR {
        spans::samples(connection, query.mounts.as_deref(), from, to, |seen| {
            let sum = Sum {
                samples: 1,
                listeners: seen.listeners,
                most: seen.listeners,
                bytes: seen.moved,
            };
            series.add(seen.mount, seen.second, sum);
        })?;
        return Ok(series.finish());
    }
    let span = if step % DAY == 0 { DAY } else { HOUR };
    let mut statement = connection.prepare_cached(
        "SELECT start, mount, samples, listeners_sum, listeners_max, bytes_in, bytes_out FROM listener_spans
         WHERE span = ? AND start >= ? AND start < ? ORDER BY start",
    )?;
    let mut rows = statement.query((span, from, to))?;
    while let Some(row) = rows.next()? {
        let Some(mount) = borrowed(row, 1)? else { continue };
        let wanted = |mounts: &Vec<String>| mounts.iter().any(|name| name == mount);
        if !query.mounts.as_ref().is_none_or(wanted) {
            continue;
        }
        let sum = Sum {
            samples: number(row, 2)?,
            listeners: number(row, 3)?,
            most: number(row, 4)?,
            bytes: Bytes {
                into: number(row, 5)?,
                out: number(row, 6)?,
            },
        };
        series.add(mount, row.get(0)?, sum);
    }
    Ok(series.finish())
}

/// The step of a query: one of [`STEPS`] or whole days.
fn step(from: i64, to: i64, resolution: Resolution) -> i64 {
    let (least, points) = match resolution {
        Resolution::Step(step) => (i64::try_from(step.as_secs()).unwrap_or(i64::MAX), MOST_POINTS),
        Resolution::Points(points) => (0, i64::from(points).clamp(1, MOST_POINTS)),
    };
    let least = if to - from > DETAILED {
        least.max(HOUR)
    } else {
        least
    };
    let fits = |step: i64| step >= least && (ceil(to, step) - floor(from, step)) / step <= points;
    STEPS.into_iter().find(|&step| fits(step)).unwrap_or_else(|| {
        let days = least.max((to - from) / points).div_euclid(DAY).clamp(1, 36_500);
        // The ends are whole steps, which takes up to one point more than the length says; one point always fits
        // when nothing else does.
        (days..days + 3)
            .map(|days| days * DAY)
            .find(|&step| fits(step))
            .unwrap_or((days + 2) * DAY)
    })
}

fn ceil_second(at: Timestamp) -> i64 {
    at.as_second() + i64::from(at.subsec_nanosecond() > 0)
}

/// Samples summed up.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    samples: u64,
    listeners: u64,
    most: u64,
    bytes: Bytes,
}

/// Points on their way.
struct Series {
    step: i64,
    mounts: BTreeMap<String, BTreeMap<i64, Sum>>,
}

impl Series {
    fn add(&mut self, mount: &str, second: i64, more: Sum) {
        if !self.mounts.contains_key(mount) {
            self.mounts.insert(mount.to_owned(), BTreeMap::new());
        }
        let points = self.mounts.get_mut(mount).expect("it was inserted");
        let sum = points.entry(floor(second, self.step)).or_default();
        sum.samples += more.samples;
        sum.listeners = sum.listeners.saturating_add(more.listeners);
        sum.most = sum.most.max(more.most);
        sum.bytes.add(more.bytes);
    }

    fn finish(self) -> Insights {
        let point = |(start, sum): (i64, Sum)| {
            Some(Point {
                timestamp: Timestamp::from_second(start).ok()?,
                #[allow(clippy::cast_precision_loss, reason = "an average needs no more digits")]
                listeners: sum.listeners as f64 / sum.samples.max(1) as f64,
                max_listeners: sum.most,
                bytes_in: sum.bytes.into,
                bytes_out: sum.bytes.out,
            })
        };
        Insights {
            step: Duration::from_secs(self.step.unsigned_abs()),
            mounts: self
                .mounts
                .into_iter()
                .map(|(mount, points)| (mount, points.into_iter().filter_map(point).collect()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_points_are_few() {
        const HOURS: i64 = 3_600;
        for (from, length, resolution, expected) in [
            (0, 24 * HOURS, Resolution::Points(200), 600),
            (7, 24 * HOURS, Resolution::Points(144), 900),
            (0, 24 * HOURS, Resolution::Points(2_000), 60),
            (0, 7 * 24 * HOURS, Resolution::Points(200), 3_600),
            (0, 7 * 24 * HOURS, Resolution::Points(2_000), 600),
            (0, 7 * 24 * HOURS + 1, Resolution::Points(2_000), 3_600),
            (0, 43_800 * HOURS, Resolution::Points(200), 10 * DAY),
            (0, 43_800 * HOURS, Resolution::Points(10), 183 * DAY),
            (0, 24 * HOURS, Resolution::Step(Duration::from_secs(1)), 60),
            (0, 24 * HOURS, Resolution::Step(Duration::from_secs(5_400)), 7_200),
            (
                0,
                24 * HOURS,
                Resolution::Step(Duration::from_secs(100_000)),
                2 * DAY,
            ),
            (
                0,
                10_000 * HOURS,
                Resolution::Step(Duration::from_secs(60)),
                2 * HOURS,
            ),
            (0, 1, Resolution::Points(0), 60),
            (0, 1, Resolution::Step(Duration::MAX), 36_502 * DAY),
        ] {
            let step = step(from, from + length, resolution);
            assert_eq!(step, expected, "{length} s from {from}, {resolution:?}");
        }
    }
}
