//! What is wrong with a file: place, key, reason and the way out.
//!
//! Contract: a message never holds the value of a secret, and each names something to do.

use std::{fmt, io, path::PathBuf};

use crate::json::{self, Node};

/// More problems than this are not kept: a file of another kind would fill the screen.
const MOST: usize = 200;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file works; the value named is not used as written.
    Warning,
}

/// One thing wrong with a configuration file.
///
/// Prints as `12:7: relays[2].burst_size: expected integer, found string "20"; write it without quotes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file is unusable.
    pub severity: Severity,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The key path, `relays[2].burst_size`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl Problem {
    /// Whether the file is unusable because of it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no such file; a first run makes one.
    #[error("config file not found: {}", path.display())]
    Missing {
        /// The path asked for.
        path: PathBuf,
    },
    /// The file is there but cannot be read.
    #[error("cannot read {}: {source}; {}", path.display(), reading_fix(source))]
    Unreadable {
        /// The path asked for.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The content has at least one error. The message shows the first one.
    #[error("{}", first_error(path, problems))]
    Invalid {
        /// The path asked for.
        path: PathBuf,
        /// Every problem found, warnings included, in file order.
        problems: Vec<Problem>,
    },
}

impl LoadError {
    /// Every problem on a line of its own, each with the file's name.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Invalid { path, problems } => problems
                .iter()
                .map(|problem| format!("{}:{problem}", path.display()))
                .collect(),
            other => vec![other.to_string()],
        }
    }
}

fn reading_fix(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "let the server's user read it (owner and mode 0600)",
        io::ErrorKind::IsADirectory => "name the file, not its directory",
        io::ErrorKind::InvalidData => "save it as UTF-8",
        _ => "check the path and the disk",
    }
}

fn first_error(path: &std::path::Path, problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let Some(first) = problems.iter().find(|problem| problem.is_error()) else {
        return format!("{}: not usable", path.display());
    };
    match errors {
        1 => format!("{}:{first}", path.display()),
        _ => format!(
            "{}:{first} (and {} more, see `tinyice check`)",
            path.display(),
            errors - 1
        ),
    }
}

/// A key path while the tree is walked.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(crate) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    pub(crate) fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The problems met so far in one text.
pub(crate) struct Notes<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    pub(crate) fn error(
        &mut self,
        at: usize,
        key: impl fmt::Display,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.note(Severity::Error, at, key.to_string(), what.into(), fix.into());
    }

    pub(crate) fn warn(
        &mut self,
        at: usize,
        key: impl fmt::Display,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.note(Severity::Warning, at, key.to_string(), what.into(), fix.into());
    }

    /// The usual complaint about a value of another type.
    pub(crate) fn wrong_type(&mut self, node: &Node, path: &Path<'_>, wanted: &str, secret: bool, fix: &str) {
        self.error(
            node.at,
            path,
            format!("expected {wanted}, found {}", node.describe(secret)),
            fix,
        );
    }

    /// All problems, in file order.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
        self.problems
    }

    fn note(&mut self, severity: Severity, at: usize, key: String, what: String, fix: String) {
        // An error always stays visible, however many warnings came first.
        let full = self.problems.len() >= MOST;
        if full && (severity == Severity::Warning || self.problems.len() >= 2 * MOST) {
            return;
        }
        let (line, column) = json::position(self.text, at);
        self.problems.push(Problem {
            severity,
            line,
            column,
            key,
            what,
            fix,
        });
    }
}
