//! The command line: flags, subcommands and what they print.
//!
//! Contract: a subcommand never starts the server, never touches the pid file and never creates a
//! configuration. Everything is written to the [`Terminal`] it is given, and its result is an exit code.

mod check;
mod completions;
mod edit;
mod flags;
mod healthcheck;
mod help;
mod http;
mod password;
mod reload;
mod top;
mod version;

use std::io::{self, IsTerminal as _, Read, Write};

use config::{LoadError, Loaded};

pub(crate) use flags::Flags;
pub(crate) use version::{COMMIT, COMPILER, TARGET, VERSION, line as version_line};

/// Success.
pub(crate) const OK: u8 = 0;
/// The command could not do what was asked.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All is said; leave with this code.
    Exit(u8),
    /// Start the server.
    Serve(Box<Flags>),
}

/// Where commands read and write.
pub(crate) struct Terminal<'a> {
    /// Passwords come from here.
    pub(crate) input: &'a mut dyn Read,
    /// Results.
    pub(crate) out: &'a mut dyn Write,
    /// Errors and prompts.
    pub(crate) err: &'a mut dyn Write,
    /// A person types the input, so prompts make sense and nothing is echoed.
    pub(crate) asks: bool,
    /// The output may be coloured.
    pub(crate) colour: bool,
}

impl Terminal<'_> {
    /// A line of the result. That nobody reads it (a closed pipe) is no error.
    fn say(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{line}");
    }

    /// A line beside the result.
    fn complain(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.err, "{line}");
    }
}

/// Reads the command line of this process and does what it asks for, short of serving.
pub(crate) fn run() -> Outcome {
    let words = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned());
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let mut terminal = Terminal {
        input: &mut io::stdin().lock(),
        out: &mut io::stdout().lock(),
        err: &mut io::stderr().lock(),
        asks: io::stdin().is_terminal(),
        colour: io::stdout().is_terminal() && !no_colour,
    };
    perform(words, &mut terminal)
}

/// Does what words ask for, short of serving.
pub(crate) fn perform(words: impl IntoIterator<Item = String>, terminal: &mut Terminal<'_>) -> Outcome {
    let flags = match Flags::parse(words) {
        Ok(flags) => flags,
        Err(wrong) => {
            terminal.complain(&wrong);
            if wrong.shows_usage() {
                help::usage(terminal.err);
            }
            return Outcome::Exit(USAGE);
        }
    };
    if flags.help {
        help::usage(terminal.err);
        return Outcome::Exit(OK);
    }
    if flags.version {
        return Outcome::Exit(version::print(terminal));
    }
    Outcome::Exit(match flags.command.as_deref() {
        None if flags.check_config => check::check(&flags, terminal),
        None => match flags.overrides() {
            Ok(_) => {
                if let Some(warning) = flags.log_level_warning() {
                    terminal.complain(format_args!("Warning: {warning}"));
                }
                return Outcome::Serve(Box::new(flags));
            }
            Err(wrong) => {
                terminal.complain(wrong);
                USAGE
            }
        },
        Some("version") => version::print(terminal),
        Some("help") => help::print(terminal),
        Some("get") => edit::get(&flags, terminal),
        Some("set") => edit::set(&flags, terminal),
        Some("dump-config") => edit::dump(&flags, terminal),
        Some("check") => check::check(&flags, terminal),
        Some("reload") => reload::reload(&flags, terminal),
        Some("hash-password") => password::hash(terminal),
        Some("reset-password") => password::reset(&flags, terminal),
        Some("healthcheck") => healthcheck::ask(&flags, terminal),
        Some("top") => top::watch(&flags, terminal),
        Some("completions") => completions::print(&flags, terminal),
        Some(unknown) => help::unknown(unknown, terminal),
    })
}

/// The configuration of a subcommand, or the code to leave with after saying why there is none.
fn load(flags: &Flags, terminal: &mut Terminal<'_>) -> Result<Loaded, u8> {
    Loaded::read(flags.config_path()).map_err(|error| {
        match error {
            LoadError::Missing { .. } => terminal.complain(format_args!("Error: {error}")),
            error => terminal.complain(format_args!("Error: Failed to load config: {error}")),
        }
        FAILED
    })
}

#[cfg(test)]
mod tests;
