//! A second process of this same program, spoken to in lines.
//! Contract: it ends with its owner: by the end of its input, and by its id when the owner drops it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::Outcome;

/// The path by which a process reaches its own program even after the file was replaced.
pub(crate) const SELF: &str = "/proc/self/exe";

/// A running companion.
pub(crate) struct Companion {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Companion {
    /// Starts a command of this program; its errors go to our standard error.
    pub(crate) fn start(command: &str, flags: &[String]) -> Outcome<Companion> {
        let mut child = Command::new(SELF)
            .arg(command)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {command}: {error}"))?;
        let input = child.stdin.take();
        let (sender, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            // This thread ends with the companion's output.
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Companion {
            name: command.to_owned(),
            child,
            input,
            lines,
        })
    }

    /// Sends one line.
    pub(crate) fn tell(&mut self, line: &str) -> Outcome<()> {
        let input = self.input.as_mut().ok_or("companion without input")?;
        writeln!(input, "{line}").map_err(|error| format!("{} is gone: {error}", self.name).into())
    }

    /// Waits for its next line.
    pub(crate) fn hear(&mut self, patience: Duration) -> Outcome<String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => Err(format!("{} says nothing", self.name).into()),
            Err(RecvTimeoutError::Disconnected) => Err(format!("{} ended early", self.name).into()),
        }
    }

    /// Waits for the given line and fails on another one.
    pub(crate) fn expect(&mut self, line: &str, patience: Duration) -> Outcome<()> {
        match self.hear(patience)? {
            heard if heard == line => Ok(()),
            heard => Err(format!("{} said {heard:?} instead of {line:?}", self.name).into()),
        }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.input = None;
        // Both fail only when the process has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
