//! The `compare` command: every contender in turn under the same load, round after round.
//!
//! Contract: contenders are interleaved and their order rotates, so that a change in the machine's mood hits all of
//! them. Each is set beside a floor that flushes as often as the contender itself was seen to deliver.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::args::Args;
use crate::contender::Contender;
use crate::launch::raise_descriptor_limit;
use crate::round::{Round, measure};
use crate::scenario::Scenario;
use crate::table::{Entry, render};
use crate::{Outcome, say};

/// The window of the trial that finds out how often each contender delivers.
const TRIAL: Duration = Duration::from_secs(3);
/// Where a release build of this project leaves the server.
const TINYICE: &str = "target/release/tinyice";
/// Flush intervals that differ by less than this share a floor.
const SAME_FLUSH: f64 = 0.15;

struct Settings {
    scenarios: Vec<Scenario>,
    contenders: Vec<Contender>,
    /// Whether floors are wanted, and at which intervals besides those found.
    floors: Option<Vec<u64>>,
    rounds: usize,
    window: Duration,
    record: Option<File>,
}

/// Runs the command.
pub(crate) fn run(args: &mut Args) -> Outcome<()> {
    let mut settings = read_settings(args)?;
    args.finish()?;
    raise_descriptor_limit();
    say(&machine())?;
    for scenario in settings.scenarios.clone() {
        let entries = compare(&mut settings, &scenario)?;
        let (rounds, seconds) = (settings.rounds, settings.window.as_secs_f64());
        let about = scenario.describe();
        say(&format!(
            "\n### {}\n\n{about}; {rounds} rounds of {seconds} s.\n\n",
            scenario.name
        ))?;
        say(&render(&entries))?;
    }
    Ok(())
}

/// The programs named by `--tinyice`, or the release build when there is one.
pub(crate) fn find_tinyice(args: &mut Args) -> Outcome<Vec<Contender>> {
    let mut programs: Vec<String> = args.list("tinyice")?;
    if programs.is_empty() && PathBuf::from(TINYICE).exists() {
        programs.push(TINYICE.into());
    }
    let contender = |program: &String| {
        let (label, program) = program.split_once('=').unwrap_or(("tinyice", program));
        Contender::TinyIce {
            label: label.to_owned(),
            program: program.into(),
        }
    };
    Ok(programs.iter().map(contender).collect())
}

/// The Icecast named by `--icecast`, or the one on the path.
pub(crate) fn find_icecast(args: &mut Args) -> Outcome<Option<Contender>> {
    let named: Option<PathBuf> = args.find("icecast")?;
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&paths);
    let found =
        || folders.find_map(|folder| Some(folder.join("icecast2")).filter(|program| program.exists()));
    Ok(named.or_else(found).map(|program| Contender::Icecast { program }))
}

fn read_settings(args: &mut Args) -> Outcome<Settings> {
    let mut names: Vec<String> = args.list("scenario")?;
    if names.is_empty() {
        names.push("1000".into());
    }
    let mut scenarios = Scenario::select(&names)?;
    let (listeners, rate) = (args.find("listeners")?, args.find("rate")?);
    for scenario in &mut scenarios {
        scenario.listeners = listeners.unwrap_or(scenario.listeners);
        scenario.rate = rate.unwrap_or(scenario.rate);
    }
    if scenarios
        .iter()
        .any(|scenario| scenario.listeners == 0 || scenario.rate <= 0.0)
    {
        return Err("compare: --listeners and --rate must be above zero".into());
    }
    let wanted: Vec<String> = args.list("contenders")?;
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if let Some(name) = wanted
        .iter()
        .find(|name| !["tinyice", "icecast", "floor"].contains(&name.as_str()))
    {
        return Err(format!("no contender {name:?}; there are tinyice, icecast and floor").into());
    }
    let (tinyice, icecast) = (find_tinyice(args)?, find_icecast(args)?);
    let mut contenders = Vec::new();
    for (name, found) in [("tinyice", tinyice), ("icecast", icecast.into_iter().collect())] {
        if wants(name) && found.is_empty() {
            say(&format!("{name}: no program found, left out (see --{name})\n"))?;
        }
        contenders.extend(found.into_iter().filter(|_| wants(name)));
    }
    let mut flushes: Vec<u64> = args.list("flush")?;
    if contenders.is_empty() && flushes.is_empty() {
        flushes = vec![100, 250];
    }
    let record: Option<PathBuf> = args.find("json")?;
    Ok(Settings {
        scenarios,
        contenders,
        floors: wants("floor").then_some(flushes),
        rounds: args.take("rounds", 5)?,
        window: Duration::from_secs_f64(args.take("seconds", 4.0)?),
        record: record.map(File::create).transpose()?,
    })
}

fn compare(settings: &mut Settings, scenario: &Scenario) -> Outcome<Vec<Entry>> {
    let mut entries: Vec<Entry> = settings.contenders.iter().cloned().map(Entry::new).collect();
    if let Some(asked) = &settings.floors {
        let mut flushes = asked.clone();
        // While listeners join, their bursts hide how often the server delivers.
        let steady = Scenario {
            joining: false,
            ..scenario.clone()
        };
        for entry in &mut entries {
            match measure(&entry.contender, &steady, TRIAL) {
                Ok(round) => {
                    entry.delivers_every = Some(round.report.flush_ms());
                    add_flush(&mut flushes, round.report.flush_ms());
                }
                Err(error) => note(&format!("{} trial: {error}", entry.contender.label())),
            }
        }
        flushes.sort_unstable();
        entries.extend(
            flushes
                .iter()
                .map(|&flush_ms| Entry::new(Contender::Floor { flush_ms })),
        );
    }
    let count = entries.len();
    for number in 0..settings.rounds {
        for turn in 0..count {
            let entry = &mut entries[(turn + number) % count];
            let label = entry.contender.label();
            match measure(&entry.contender, scenario, settings.window) {
                Ok(round) => {
                    let (cpu, on) = (round.cpu_per_listener_second(), round.report.on);
                    note(&format!(
                        "{} round {}: {label}: {cpu:.1} µs, {on} on",
                        scenario.name,
                        number + 1
                    ));
                    write_record(settings.record.as_mut(), scenario, &label, number, &round)?;
                    entry.rounds.push(round);
                }
                Err(error) => {
                    note(&format!(
                        "{} round {}: {label}: {error}",
                        scenario.name,
                        number + 1
                    ));
                    entry.failures.push(error.to_string());
                }
            }
        }
    }
    Ok(entries)
}

/// Adds the interval at which a contender delivers, in steps of 5 ms, unless one like it is there.
fn add_flush(flushes: &mut Vec<u64>, seen_ms: f64) {
    let flush = ((seen_ms / 5.0).round() * 5.0).clamp(5.0, 1000.0);
    let alike = |&other: &u64| (other as f64 / flush - 1.0).abs() < SAME_FLUSH;
    if !flushes.iter().any(alike) {
        flushes.push(flush as u64);
    }
}

fn write_record(
    record: Option<&mut File>,
    scenario: &Scenario,
    label: &str,
    number: usize,
    round: &Round,
) -> Outcome<()> {
    let Some(record) = record else { return Ok(()) };
    let line = json!({ "scenario": scenario.name, "contender": label, "round": number + 1, "result": round });
    writeln!(record, "{line}")?;
    Ok(())
}

/// What the figures were measured on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{count} × {model}, Linux {}, loopback.\n", kernel.trim())
}

fn note(text: &str) {
    // Progress that cannot be shown is not worth ending a measurement for.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::add_flush;

    #[test]
    fn one_floor_serves_like_intervals() {
        let mut flushes = vec![250];
        for seen in [88.0, 93.0, 240.0, 26.1, 0.4, f64::INFINITY] {
            add_flush(&mut flushes, seen);
        }
        assert_eq!(flushes, [250, 90, 25, 5, 1000]);
    }
}
