//! Running in the background: the program starts itself again, detached, and waits until that one serves.
//!
//! Contract: the parent's exit code tells whether the server is up. What the child prints until then (the
//! banner of a first run, or why it failed) appears on the parent's output.

use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

/// Tells the child what it is.
const MARK: &str = "TINYICE_DAEMON";

/// The line with which the child says that it serves.
const READY: &str = "tinyice: ready";

/// Whether this process is the background one.
pub(crate) fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts the background process and waits until it serves. Gives the exit code.
pub(crate) fn start() -> u8 {
    match spawn() {
        Ok(code) => code,
        Err(error) => {
            // Without an error output there is nobody to tell.
            let _ = writeln!(io::stderr(), "cannot start in the background: {error}");
            1
        }
    }
}

fn spawn() -> io::Result<u8> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("no output of the child"))?;
    let mut terminal = io::stdout().lock();
    for line in BufReader::new(out).lines() {
        let line = line?;
        if line == READY {
            writeln!(terminal, "TinyIce starting in background (PID: {})", child.id())?;
            return Ok(0);
        }
        writeln!(terminal, "{line}")?;
    }
    // The child ended before it served; it has said why.
    child.wait()?;
    Ok(1)
}

/// Leaves the parent's session. For the child, before it does anything else.
pub(crate) fn detach() {
    // It fails only for a process that leads a session already, which is as good.
    let _ = rustix::process::setsid();
}

/// Tells the parent that the server is up and lets go of its output.
pub(crate) fn report_ready() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()?;
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}
