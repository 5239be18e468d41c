//! `profile`: processor time over some seconds.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use profile::cpu::{self, Options, Refused};
use profile::symbols::Named;
use profile::{Profile, Sample};

use super::stacks::{Trimmed, write_addresses, write_comments};
use super::{IsCancelled, LONGEST, Outcome, binary};
use crate::{Answer, Query};

/// Go's default.
const DURATION: Duration = Duration::from_secs(30);

static GOING_ON: AtomicBool = AtomicBool::new(false);

/// The right to record: one CPU profile or trace at a time, since each would measure the other.
pub(super) struct Recording(());

impl Recording {
    pub(super) fn start() -> Result<Recording, Answer> {
        if GOING_ON.swap(true, Ordering::Acquire) {
            return Err(busy());
        }
        Ok(Recording(()))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        GOING_ON.store(false, Ordering::Release);
    }
}

pub(super) fn busy() -> Answer {
    Answer::refused(
        StatusCode::SERVICE_UNAVAILABLE,
        "A CPU profile or a trace is being recorded already; try again when it has ended",
    )
}

pub(super) fn answer(query: &Query, cancelled: IsCancelled<'_>) -> Outcome {
    query.only(&["seconds", "hz", "debug", "gc"])?;
    let duration = query.seconds("seconds", LONGEST)?.unwrap_or(DURATION);
    let hz = query.number("hz", 1..=1000, 99)?;
    let text = query.number("debug", 0..=99, 0)? > 0;
    let _recording = Recording::start()?;
    let options = Options {
        duration,
        hz: u32::try_from(hz).unwrap_or(99),
    };
    let profile = cpu::record(options, cancelled).map_err(|refused| match refused {
        Refused::Busy => busy(),
        Refused::Unsupported => Answer::refused(StatusCode::NOT_IMPLEMENTED, refused.to_string()),
        _ => Answer::refused(StatusCode::INTERNAL_SERVER_ERROR, refused.to_string()),
    })?;
    Ok(if text {
        Answer::text(write(&profile))
    } else {
        binary("profile", &profile)
    })
}

fn no_plumbing(_: &Named) -> bool {
    false
}

/// The busiest stacks first.
fn write(profile: &Profile) -> String {
    let total = |at: usize| {
        let values = profile.samples.iter().filter_map(|sample| sample.values.get(at));
        values.fold(0_i64, |sum, value| sum.saturating_add(*value))
    };
    let mut out = format!(
        "--- cpu:\nduration={:.3}s\nsamples={}\ncpu={:.3}s\n\n",
        profile.duration.as_secs_f64(),
        total(0),
        total(1) as f64 / 1e9,
    );
    let value = |sample: &Sample, at: usize| sample.values.get(at).copied().unwrap_or(0);
    let mut samples: Vec<&Sample> = profile.samples.iter().collect();
    samples.sort_by_key(|sample| std::cmp::Reverse(value(sample, 1)));
    for sample in samples {
        let stack = Trimmed::of(&sample.stack, no_plumbing);
        let _ = write!(out, "{} {}", value(sample, 1), value(sample, 0));
        write_addresses(&mut out, stack);
        write_comments(&mut out, stack);
        for (key, value) in &sample.labels {
            let _ = writeln!(out, "# {key} {value:?}");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_recording_at_a_time() {
        let first = Recording::start();
        assert!(first.is_ok());
        let second = answer(&Query::parse("seconds=0.01").unwrap(), &|| false).unwrap_err();
        assert_eq!(second.status, 503);
        drop(first);
        assert!(Recording::start().is_ok());
    }
}
