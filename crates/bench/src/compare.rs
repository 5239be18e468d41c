//! The `compare` command: every contender in turn under the same load, round after round.
//!
//! Contract: contenders are interleaved and their order rotates, so that a change in the machine's mood hits all of
//! them. Each is set beside a floor that flushes as often as the contender itself was seen to deliver.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::args::Args;
use crate::contender::Contender;
use crate::goals;
use crate::launch::raise_descriptor_limit;
use crate::round::{Round, measure};
use crate::scenario::{Disturbance, Scenario};
use crate::table::{Entry, render};
use crate::{Outcome, say};

/// The window of the trial that finds out how often each contender delivers.
const TRIAL: Duration = Duration::from_secs(3);
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
    note(&format!(
        "about {:.0} minutes; `--scenario 1000` is a quick look",
        settings.estimate().as_secs_f64() / 60.0
    ));
    let mut results = Vec::new();
    for scenario in settings.scenarios.clone() {
        let entries = compare(&mut settings, &scenario)?;
        let (rounds, seconds) = (
            settings.rounds_of(&scenario),
            settings.window_of(&scenario).as_secs_f64(),
        );
        let about = scenario.describe();
        say(&format!(
            "\n### {}\n\n{about}; rounds: {rounds} of {seconds} s.\n\n",
            scenario.name
        ))?;
        say(&render(&entries))?;
        results.push(entries);
    }
    say(&goals::render(&results))
}

/// The programs named by `--tinyice`, or the release build beside this program.
pub(crate) fn find_tinyice(args: &mut Args) -> Outcome<Vec<Contender>> {
    let mut programs: Vec<String> = args.list("tinyice")?;
    if programs.is_empty()
        && let Some(program) = build_tinyice()?
    {
        programs.push(program.display().to_string());
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

/// The server beside this program. A release build that cargo started has it built first, so that the figures are
/// those of the code as it is.
fn build_tinyice() -> Outcome<Option<PathBuf>> {
    let own = std::env::current_exe()?;
    let is_release = own.parent().is_some_and(|folder| folder.ends_with("release"));
    if let Some(cargo) = std::env::var_os("CARGO").filter(|_| is_release) {
        let status = Command::new(cargo)
            .args(["build", "--release", "-p", "tinyice"])
            .status()?;
        if !status.success() {
            return Err("tinyice could not be built; --tinyice names another one".into());
        }
    }
    Ok(Some(own.with_file_name("tinyice")).filter(|program| program.exists()))
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
        names.push("goals".into());
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

impl Settings {
    fn window_of(&self, scenario: &Scenario) -> Duration {
        self.window.max(scenario.least_window())
    }

    fn rounds_of(&self, scenario: &Scenario) -> usize {
        if scenario.is_long() { 1 } else { self.rounds }
    }

    /// How long all of it will take, roughly; servers that leave listeners waiting take longer.
    fn estimate(&self) -> Duration {
        let one = |scenario: &Scenario| {
            let joining = Duration::from_secs_f64(scenario.listeners as f64 / scenario.rate);
            self.window_of(scenario) + joining + Duration::from_secs(4)
        };
        let all = |scenario: &Scenario| {
            let floors = if scenario.is_long() || self.floors.is_none() {
                0
            } else {
                2
            };
            let each = self.contenders.len() + usize::from(scenario.beside().is_some()) + floors;
            one(scenario).mul_f64((each * self.rounds_of(scenario)) as f64)
        };
        self.scenarios.iter().map(all).sum()
    }
}

fn compare(settings: &mut Settings, scenario: &Scenario) -> Outcome<Vec<Entry>> {
    let (rounds, window) = (settings.rounds_of(scenario), settings.window_of(scenario));
    let mut entries = Vec::new();
    for contender in &settings.contenders {
        entries.push(Entry::new(contender.clone(), scenario.clone()));
        // What one load costs beyond another is asked of our own server only.
        if let (Contender::TinyIce { .. }, Some((beside, other))) = (contender, scenario.beside()) {
            let mut entry = Entry::new(contender.clone(), other);
            entry.beside = Some(beside);
            entries.push(entry);
        }
    }
    if let Some(asked) = settings.floors.as_ref().filter(|_| !scenario.is_long()) {
        let mut flushes = asked.clone();
        // While listeners join, their bursts hide how often the server delivers; and a trial is undisturbed.
        let steady = Scenario {
            joining: false,
            disturbance: Disturbance::None,
            ..scenario.clone()
        };
        for entry in entries.iter_mut().filter(|entry| entry.beside.is_none()) {
            match measure(&entry.contender, &steady, TRIAL) {
                Ok(round) => {
                    entry.delivers_every = Some(round.report.flush_ms());
                    add_flush(&mut flushes, round.report.flush_ms());
                }
                Err(error) => note(&format!("{} trial: {error}", entry.label())),
            }
        }
        flushes.sort_unstable();
        entries.extend(
            flushes
                .iter()
                .map(|&flush_ms| Entry::new(Contender::Floor { flush_ms }, scenario.clone())),
        );
    }
    let count = entries.len();
    for number in 0..rounds {
        for turn in 0..count {
            let entry = &mut entries[(turn + number) % count];
            let label = entry.label();
            match measure(&entry.contender, &entry.scenario, window) {
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
