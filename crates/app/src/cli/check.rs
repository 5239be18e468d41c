//! `check`: what is wrong with a configuration.
//!
//! Contract: every problem on its own line; 1 only if the server would not start with the file.

use config::{LoadError, Loaded};

use super::{FAILED, Flags, OK, Terminal};

pub(super) fn check(flags: &Flags, terminal: &mut Terminal<'_>) -> u8 {
    let path = flags.config_path();
    match Loaded::read(&path) {
        Ok(loaded) => {
            for problem in &loaded.warnings {
                terminal.say(format_args!("{}:{problem}", path.display()));
            }
            if loaded.warnings.is_empty() {
                terminal.say(format_args!("{}: ok", path.display()));
            }
            OK
        }
        Err(error @ LoadError::Missing { .. }) => {
            terminal.complain(format_args!("Error: {error}"));
            FAILED
        }
        Err(error) => {
            for line in error.lines() {
                terminal.say(line);
            }
            FAILED
        }
    }
}
