//! `hash-password` and `reset-password`.
//!
//! Contract: a password is never an argument, where others could read it; it comes from standard input and
//! is not echoed.

use std::io::Read;

use config::Store;

use super::{FAILED, Flags, OK, Terminal, edit, load};

/// The work factor of new hashes.
const COST: u32 = 12;
/// bcrypt reads no more; a longer password would silently be cut.
const LONGEST: usize = 72;
/// What an account's password must have.
const SHORTEST: usize = 8;

pub(super) fn hash(terminal: &mut Terminal<'_>) -> u8 {
    let Some(password) = ask("Password: ", terminal) else {
        return failed("no password on standard input", terminal);
    };
    if password.is_empty() || password.len() > LONGEST {
        return failed("a password has 1 to 72 bytes", terminal);
    }
    match bcrypt(&password) {
        Ok(hash) => {
            terminal.say(hash);
            OK
        }
        Err(error) => failed(&error, terminal),
    }
}

pub(super) fn reset(flags: &Flags, terminal: &mut Terminal<'_>) -> u8 {
    let [name] = flags.arguments.as_slice() else {
        terminal.say("Usage: reset-password <user>");
        return FAILED;
    };
    let mut loaded = match load(flags, terminal) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let config = &mut loaded.config;
    let names: Vec<String> = config.users.keys().cloned().collect();
    let Some(user) = config.users.get_mut(name) else {
        let known = if names.is_empty() {
            "there are none yet".to_owned()
        } else {
            names.join(", ")
        };
        return failed(&format!("there is no user {name:?}; users: {known}"), terminal);
    };
    let Some(password) = ask("New password: ", terminal) else {
        return failed("no password on standard input", terminal);
    };
    if !(SHORTEST..=LONGEST).contains(&password.len()) {
        return failed("Password must be 8 to 72 bytes", terminal);
    }
    if terminal.asks && ask("Again: ", terminal).as_deref() != Some(&password) {
        return failed("the two passwords differ", terminal);
    }
    let hash = match bcrypt(&password) {
        Ok(hash) => hash,
        Err(error) => return failed(&error, terminal),
    };
    user.password.clone_from(&hash);
    if *name == config.admin_user && !config.admin_password.is_empty() {
        config.admin_password = hash;
    }
    let code = edit::save(Store::new(loaded.document), &loaded.config, terminal);
    if code == OK {
        terminal.say(format_args!("Updated the password of {name}"));
        terminal.say("Run 'tinyice reload' to apply");
    }
    code
}

fn failed(reason: &str, terminal: &mut Terminal<'_>) -> u8 {
    terminal.complain(format_args!("Error: {reason}"));
    FAILED
}

/// A hash as the file holds it.
fn bcrypt(password: &str) -> Result<String, String> {
    let hash = bcrypt::non_truncating_hash_with_result(password, COST);
    hash.map(|hash| hash.format_for_version(bcrypt::Version::TwoA))
        .map_err(|error| format!("cannot hash the password: {error}"))
}

/// A line of the input, without echo when a person types it.
fn ask(prompt: &str, terminal: &mut Terminal<'_>) -> Option<String> {
    if !terminal.asks {
        return read_line(terminal.input);
    }
    let _ = write!(terminal.err, "{prompt}");
    let _ = terminal.err.flush();
    let quiet = Quiet::new();
    let line = read_line(terminal.input);
    drop(quiet);
    terminal.complain("");
    line
}

/// Reads up to the end of a line and not a byte further, as a second line may follow.
fn read_line(input: &mut dyn Read) -> Option<String> {
    const LONGEST_LINE: usize = 4096;
    let mut line = Vec::new();
    let mut byte = [0u8];
    let mut ended = false;
    while line.len() < LONGEST_LINE {
        match input.read(&mut byte) {
            Ok(1) if byte[0] == b'\n' => {
                ended = true;
                break;
            }
            Ok(1) => line.push(byte[0]),
            Ok(_) => break,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    let text = String::from_utf8(line).ok()?;
    (ended || !text.is_empty()).then_some(text)
}

/// The terminal without echo, for as long as this lives.
struct Quiet {
    before: Option<rustix::termios::Termios>,
}

impl Quiet {
    fn new() -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent);
        }
        Self { before }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}
