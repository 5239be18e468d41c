//! Micro benches of what every byte passes through: the ring, what delivery makes of it, the framers.
//!
//! Contract: times are reported and never judged. Instructions are counted by callgrind, where a busy machine
//! changes nothing, and only they are compared with what was recorded.
//!
//! ```text
//! cargo bench -p bench --bench micro [-- [--check | --record] [CASE]...]
//! ```
//!
//! Without the flag `--bench`, which `cargo bench` adds, each case runs once and nothing is measured.

mod cases;
mod instructions;
mod options;
mod record;
mod streams;
mod table;
mod timing;

use std::io::Write;
use std::process::ExitCode;

use crate::cases::Case;
use crate::instructions::Counter;
use crate::options::{Command, Options};
use crate::record::{Growth, Record};
use crate::table::Row;

/// What fails says so in words; only the top prints it.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "micro: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<ExitCode> {
    let options = Options::parse(std::env::args().skip(1))?;
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| options.wants(case.name))
        .collect();
    if cases.is_empty() {
        return Err("no case has such a name".into());
    }
    match options.command {
        Command::Solo { laps } => {
            instructions::run_alone(&cases, laps);
            Ok(ExitCode::SUCCESS)
        }
        Command::Try => {
            for case in &cases {
                ((case.prepare)().lap)();
            }
            say(&format!(
                "{} cases work; cargo bench measures them\n",
                cases.len()
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Measure { record, check } => measure(&cases, record, check),
    }
}

fn measure(cases: &[Case], rewrites: bool, checks: bool) -> Outcome<ExitCode> {
    let counter = Counter::find();
    if counter.is_none() && (rewrites || checks) {
        return Err("--record and --check compare instructions: install valgrind".into());
    }
    let mut record = Record::read()?;
    say(table::HEAD)?;
    let (mut grown, mut shrunk) = (Vec::new(), Vec::new());
    for case in cases {
        let row = Row {
            case: case.name,
            unit: case.unit,
            timing: timing::measure(case),
            instructions: match &counter {
                Some(counter) => Some(counter.count(case)?),
                None => None,
            },
            recorded: record.find(case.name),
        };
        say(&row.to_string())?;
        match row.growth() {
            Growth::More => grown.push(case.name),
            Growth::Less => shrunk.push(case.name),
            Growth::None => {}
        }
        if let Some(count) = row.instructions {
            record.set(case.name, count);
        }
    }
    say("\n")?;
    if counter.is_none() {
        say("Instructions are counted by callgrind: install valgrind (`apt install valgrind`).\n")?;
    }
    if rewrites {
        record.write()?;
        say("Recorded.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    if counter.is_some()
        && let Some(difference) = record.difference()
    {
        say(&format!("{difference}\n"))?;
    }
    if !shrunk.is_empty() {
        say(&format!(
            "Over 5 % fewer instructions than recorded (`-- --record` keeps that): {}.\n",
            shrunk.join(", ")
        ))?;
    }
    if !grown.is_empty() {
        say(&format!(
            "Over 5 % more instructions than recorded, or not recorded: {}.\n",
            grown.join(", ")
        ))?;
    }
    Ok(if checks && !grown.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Writes a text to standard output at once.
fn say(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
