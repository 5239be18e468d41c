//! Load generator and side-by-side comparisons of streaming servers.
//!
//! Contract: a bench reports and never asserts a time. Its exit code says whether it could measure,
//! not whether the figures are good; and every process that it starts ends with it.

mod accounting;
mod args;
mod clock;
mod companion;
mod compare;
mod contender;
mod crowd;
mod floor;
mod frames;
mod goals;
mod histogram;
mod icy;
mod launch;
mod listener;
mod load;
mod memory;
mod mounts;
mod reply;
mod report;
mod round;
mod scenario;
mod siege;
mod source;
mod table;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use crate::args::Args;

/// What a command of this program returns; only the top prints it.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
usage: bench COMMAND [--flag VALUE | --flag=VALUE | --switch]...

  compare   start each contender in turn under the same load and print one table
            --scenario 100|1000|8000|19000|mounts|joins|slow|icy|64k|320k|return|blink|reload|everything
                       (comma list; `goals`, the default, is the first seven, `all` is all)
            --rounds 5  --seconds 4  --listeners N  --rate JOINS_PER_SECOND
            --contenders tinyice,icecast,floor  --tinyice [LABEL=]PATH[,[LABEL=]PATH...]
            --icecast PATH  --flush MS[,MS...] (extra floors)  --json FILE (every round)
  memory    memory of one server by number of listeners
            --listeners 1000,8000  --seconds 5  --server tinyice|icecast|floor  --tinyice PATH
  watch     what scrapes and subscribers of the live feed cost one server
            --mounts 1000  --scrapes 50  --subscribers 1000  --feed-mounts 10  --seconds 10  --tinyice PATH
  siege     whether listeners notice an attack on passwords, and what sign-ins and long lists take
            --listeners 1000  --attempts 2000  --addresses 500  --rounds 3  --seconds 5  --mounts 1000
            --tries 200  --tinyice PATH
  load      listeners against a running server
            --to HOST:PORT  --mount /bench  --mounts 1  --listeners 100  --rate 500  --seconds 10
            --bitrate 128  --icy SHARE  --slow SHARE  --dead SHARE  --sampled 200  --http10  --pid SERVER
  source    sources of stamped test frames for a running server
            --to HOST:PORT  --mount /bench  --mounts 1  --bitrate 128  --password PASSWORD
            --method PUT|SOURCE  --prefill BYTES  --titles SECONDS  --seconds N (default: until input ends)
  floor     the bare send loop that the others are compared with
            --port PORT  --flush 250
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut words = std::env::args_os().skip(1);
    let command = words
        .next()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default();
    if command == "launch" {
        return launch::run(words);
    }
    let words = words.map(|word| word.to_string_lossy().into_owned());
    let mut args = Args::parse(words)?;
    match command.as_str() {
        "compare" => compare::run(&mut args),
        "memory" => memory::run(&mut args),
        "watch" => watch::run(&mut args),
        "siege" => siege::run(&mut args),
        "load" => load::run(&mut args),
        "source" => source::run(&mut args),
        "floor" => floor::run(&mut args),
        "help" | "-h" | "--help" => say(USAGE),
        _ => Err(format!("no command {command:?}\n{USAGE}").into()),
    }
}

/// Writes a text to standard output at once.
fn say(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
