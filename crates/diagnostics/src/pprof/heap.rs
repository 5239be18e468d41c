//! `heap` and `allocs`: who holds memory and who asked for it.

use std::fmt::Write as _;

use http::StatusCode;
use profile::heap::{ALLOC_SPACE, INUSE_SPACE, Unavailable};
use profile::{Profile, Sample};

use super::State;
use super::stacks::{Trimmed, write_addresses, write_comments};
use crate::Answer;

/// For viewers that first show what is alive.
pub(super) const IN_USE: State = State {
    name: "heap",
    take: || snapshot(INUSE_SPACE),
    is_plumbing: profile::heap::is_shim,
    text,
};

/// For viewers that first show what was ever allocated.
pub(super) const ALLOCATED: State = State {
    name: "allocs",
    take: || snapshot(ALLOC_SPACE),
    is_plumbing: profile::heap::is_shim,
    text,
};

fn snapshot(default_type: usize) -> Result<Profile, Answer> {
    let profile = profile::heap::snapshot().map_err(|unavailable| {
        let status = match unavailable {
            Unavailable::Off => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Answer::refused(status, unavailable.to_string())
    })?;
    Ok(Profile {
        default_type,
        ..profile
    })
}

/// Go's text form. Its numbers are those of the samples alone; who reads it as a profile scales them by the rate, of
/// which the first line has the double. The largest come first.
fn text(profile: &Profile) -> String {
    let rate = profile.period.map_or(1, |(_, rate)| rate);
    let mut samples: Vec<(&Sample, [i64; 4])> = profile
        .samples
        .iter()
        .map(|sample| (sample, sampled(sample, rate)))
        .collect();
    samples.sort_by_key(|(sample, _)| std::cmp::Reverse(sample.values.get(profile.default_type).copied()));
    let mut total = [0_i64; 4];
    for (_, values) in &samples {
        for (total, value) in total.iter_mut().zip(values) {
            *total = total.saturating_add(*value);
        }
    }
    if total[0] == total[2] && total[1] == total[3] {
        // With equal totals a reader takes the profile for one that does not know what was ever allocated.
        total[1] = total[1].saturating_add(1);
    }
    let mut out = String::new();
    let [ever, ever_bytes, live, live_bytes] = total;
    let double = rate.saturating_mul(2);
    // A difference can be negative, for which the first line has no form; its numbers are only for people.
    let _ = writeln!(
        out,
        "heap profile: {}: {} [{}: {}] @ heap/{double}",
        live.max(0),
        live_bytes.max(0),
        ever.max(0),
        ever_bytes.max(0),
    );
    for (sample, [ever, ever_bytes, live, live_bytes]) in samples {
        let stack = Trimmed::of(&sample.stack, profile::heap::is_shim);
        let _ = write!(out, "{live}: {live_bytes} [{ever}: {ever_bytes}]");
        write_addresses(&mut out, stack);
        write_comments(&mut out, stack);
        out.push('\n');
    }
    write_memory(&mut out, profile);
    out
}

/// What the samples behind an estimate were: [`profile::heap`] has scaled them up by their average size.
fn sampled(sample: &Sample, rate: i64) -> [i64; 4] {
    let value = |at: usize| sample.values.get(at).copied().unwrap_or(0);
    let back = |count: i64, bytes: i64| {
        if count == 0 || bytes == 0 || count.signum() != bytes.signum() {
            return (0, 0);
        }
        let probability = -(-(bytes as f64 / count as f64) / rate as f64).exp_m1();
        let scaled = |value: i64| (value as f64 * probability).round() as i64;
        match (scaled(count), scaled(bytes)) {
            // No fewer than one allocation can have been sampled.
            (0, bytes) => (count.signum(), bytes),
            both => both,
        }
    };
    let (ever, ever_bytes) = back(value(0), value(1));
    let (live, live_bytes) = back(value(2), value(3));
    [ever, ever_bytes.max(live_bytes), live, live_bytes]
}

/// The figures of the whole process under the names that Go has for them, then under the allocator's own.
fn write_memory(out: &mut String, profile: &Profile) {
    let stats = profile::heap::stats().unwrap_or_default();
    let estimate = |at: usize| {
        let values = profile.samples.iter().filter_map(|sample| sample.values.get(at));
        values.fold(0_i64, |sum, value| sum.saturating_add(*value))
    };
    let system = stats.mapped.saturating_add(stats.metadata);
    let idle = system.saturating_sub(stats.active);
    let lines = [
        ("Alloc", stats.allocated.to_string()),
        ("TotalAlloc", format!("{} (estimated)", estimate(1))),
        ("Sys", system.to_string()),
        ("Mallocs", format!("{} (estimated)", estimate(0))),
        ("HeapAlloc", stats.allocated.to_string()),
        ("HeapSys", stats.mapped.to_string()),
        ("HeapIdle", idle.to_string()),
        ("HeapInuse", stats.active.to_string()),
        ("HeapReleased", stats.retained.to_string()),
        ("HeapObjects", format!("{} (estimated)", estimate(2))),
        (
            "NumGC",
            format!(
                "{} (memory given back to the system)",
                profile::heap::purge_passes()
            ),
        ),
    ];
    out.push_str("\n# runtime.MemStats\n");
    for (name, value) in lines {
        let _ = writeln!(out, "# {name} = {value}");
    }
    let own = [
        ("allocated", stats.allocated),
        ("active", stats.active),
        ("resident", stats.resident),
        ("mapped", stats.mapped),
        ("retained", stats.retained),
        ("metadata", stats.metadata),
    ];
    out.push_str("\n# allocator, in bytes\n");
    for (name, value) in own {
        let _ = writeln!(out, "# {name} = {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_become_about_the_samples_again() {
        let sample = |values: [i64; 4]| Sample {
            stack: Vec::new(),
            values: values.to_vec(),
            labels: Vec::new(),
        };
        let cases = [
            // The estimate of a count is a whole number, so the way back is not exact.
            ([5, 4_850_714, 2, 2_425_357], [4, 4_088_307, 2, 2_185_334]),
            ([32_769, 524_296, 32_769, 524_296], [1, 16, 1, 16]),
            ([0, 0, 0, 0], [0, 0, 0, 0]),
            ([0, 0, -32_769, -524_296], [0, 0, -1, -16]),
        ];
        for (estimate, expected) in cases {
            assert_eq!(sampled(&sample(estimate), 524_288), expected, "{estimate:?}");
        }
    }
}
