//! Measures times.
//!
//! Contract: a sample lasts long enough for the clock not to matter, and what a busy machine does to the
//! median it hardly does to the least.

use std::time::{Duration, Instant};

use crate::cases::Case;

const WARM_UP: Duration = Duration::from_millis(30);
const SAMPLE: Duration = Duration::from_millis(2);
const SAMPLES: usize = 51;

/// What a case takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Nanoseconds per unit.
    pub(crate) median: f64,
    /// Nanoseconds per unit of the fastest sample.
    pub(crate) least: f64,
    /// Of the median, where a case has bytes.
    pub(crate) bytes_per_second: Option<f64>,
}

/// Runs a case natively.
pub(crate) fn measure(case: &Case) -> Timing {
    let mut work = (case.prepare)();
    let began = Instant::now();
    let mut laps = 0_u32;
    while began.elapsed() < WARM_UP || laps == 0 {
        (work.lap)();
        laps += 1;
    }
    let lap = began.elapsed() / laps;
    let laps = (SAMPLE.as_nanos() / lap.as_nanos().max(1)).max(1) as u64;
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..laps {
                (work.lap)();
            }
            began.elapsed().as_nanos() as f64 / (laps * work.units) as f64
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    let median = samples[SAMPLES / 2];
    Timing {
        median,
        least: samples[0],
        bytes_per_second: (work.bytes > 0).then(|| work.bytes as f64 / work.units as f64 / median * 1e9),
    }
}
