//! One destination of lines: a file or standard output.
//!
//! Contract: a failing destination costs its lines, never an error to the caller; after a failure in the middle of
//! a line the next one starts on a line of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use super::OpenError;

#[derive(Debug)]
pub(crate) struct Output {
    target: Target,
    /// The last line was cut off by an error.
    torn: bool,
    /// The running outage was reported on standard error.
    complained: bool,
}

#[derive(Debug)]
enum Target {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Output {
    pub(crate) fn stdout() -> Output {
        Output {
            target: Target::Stdout,
            torn: false,
            complained: false,
        }
    }

    pub(crate) fn open(path: &Path) -> Result<Output, OpenError> {
        let file = open(path).map_err(|source| OpenError {
            file: path.to_owned(),
            source,
        })?;
        let target = Target::File {
            path: path.to_owned(),
            file,
        };
        Ok(Output {
            target,
            torn: false,
            complained: false,
        })
    }

    /// Colour is for people: a terminal, and nobody who asked for none (<https://no-color.org>).
    pub(crate) fn wants_colour(&self) -> bool {
        matches!(self.target, Target::Stdout)
            && io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.target, Target::Stdout)
    }

    /// Opens the file anew; the old one stays when that fails.
    pub(crate) fn reopen(&mut self) -> Result<(), OpenError> {
        if let Target::File { path, file } = &mut self.target {
            *file = open(path).map_err(|source| OpenError {
                file: path.clone(),
                source,
            })?;
            self.torn = false;
        }
        Ok(())
    }

    /// Writes whole lines; the answer is how many of them were lost.
    pub(crate) fn write(&mut self, lines: &[u8]) -> u64 {
        if self.torn {
            if let Err(error) = self.target.write_some(b"\n") {
                self.complain(&error);
                return count_lines(lines);
            }
            self.torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.target.write_some(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) => {
                    let written = lines.len() - rest.len();
                    self.torn = written > 0 && lines[written - 1] != b'\n';
                    self.complain(&error);
                    return count_lines(rest);
                }
            }
        }
        self.complained = false;
        0
    }

    /// Tells the service log once for each outage: the log itself cannot.
    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            let place = match &self.target {
                Target::Stdout => "standard output".to_owned(),
                Target::File { path, .. } => path.display().to_string(),
            };
            let _ = writeln!(
                io::stderr(),
                "cannot write the log to {place}: {error}; lines are being lost"
            );
        }
    }
}

impl Target {
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let written = match self {
                Target::Stdout => {
                    let mut stdout = io::stdout().lock();
                    stdout
                        .write(bytes)
                        .and_then(|written| stdout.flush().map(|()| written))
                }
                Target::File { file, .. } => file.write(bytes),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // The group may read logs, others may not: they hold addresses.
        options.mode(0o640);
    }
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_costs_lines_only() {
        let mut output = Output::open(Path::new("/dev/full")).unwrap();
        assert_eq!(output.write(b"one\ntwo\n"), 2);
        assert_eq!(output.write(b"three\n"), 1);
        assert!(output.complained && !output.torn);
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let folder = std::env::temp_dir().join(format!("observe-torn-{}", std::process::id()));
        let _ = std::fs::remove_file(&folder);
        let mut output = Output::open(&folder).unwrap();
        output.target.write_some(b"half a li").unwrap();
        output.torn = true;
        assert_eq!(output.write(b"next\n"), 0);
        assert_eq!(std::fs::read_to_string(&folder).unwrap(), "half a li\nnext\n");
        std::fs::remove_file(&folder).unwrap();
    }
}
