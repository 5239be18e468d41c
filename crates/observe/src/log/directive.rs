//! What a filter says: which level for which part of the program.
//!
//! Contract: reading one never fails silently: what is not understood is refused with a text that says what is.

use std::cell::LazyCell;
use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

use crate::event::Level;

/// Directives longer than this are refused.
const LONGEST: usize = 1_024;
/// Parts of a directive.
const MOST: usize = 32;
/// The program's own name, before its parts: `tinyice_stream`, `tinyice::stream`.
const PROGRAM: &str = "tinyice";

/// A text is no directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadDirective {
    problem: String,
}

impl fmt::Display for BadDirective {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}; allowed: a level (debug, info, warn, error) for everything, and target=level, separated by commas, \
             such as fanout=debug,warn. A target is a crate (fanout), a crate and its file (fanout::worker) or the \
             start of an event's name (source)",
            self.problem
        )
    }
}

impl std::error::Error for BadDirective {}

/// A directive that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// For what no target fits; the level of the configuration if there is none.
    pub(super) others: Option<Level>,
    /// The longest first, so that the first that fits is the most exact one.
    targets: Vec<(Target, Level)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target(Vec<Box<str>>);

impl Directive {
    /// The level for one kind of event at one place, if the directive says one.
    pub(super) fn level(&self, event: &str, file: &str) -> Option<Level> {
        let place = LazyCell::new(|| Place::of(file));
        let fits = |(target, _): &&(Target, Level)| target.fits(event, || &*place);
        self.targets
            .iter()
            .find(fits)
            .map(|(_, level)| *level)
            .or(self.others)
    }

    /// The lowest level that anything can have; `base` is that of the configuration.
    pub(super) fn lowest(&self, base: Level) -> Level {
        let others = self.others.unwrap_or(base);
        self.targets
            .iter()
            .map(|(_, level)| *level)
            .fold(others, Level::min)
    }
}

impl FromStr for Directive {
    type Err = BadDirective;

    fn from_str(text: &str) -> Result<Self, BadDirective> {
        if text.len() > LONGEST {
            return refuse(format_args!("a filter has at most {LONGEST} characters"));
        }
        if text.trim().is_empty() {
            return refuse(format_args!("the filter is empty"));
        }
        let (mut others, mut targets) = (None, Vec::new());
        for part in text.split(',').map(str::trim) {
            let (target, name) = part
                .split_once('=')
                .map_or((None, part), |(target, name)| (Some(target.trim()), name.trim()));
            let Some(level) = level(name) else {
                return refuse(format_args!("{name:?} is no level"));
            };
            match target.map(str::parse::<Target>).transpose()? {
                // The whole program is what the program's name means.
                Some(Target(parts)) if !parts.is_empty() => targets.push((Target(parts), level)),
                _ if others.is_some() => {
                    return refuse(format_args!("the level for everything is there twice"));
                }
                _ => others = Some(level),
            }
        }
        if targets.len() > MOST {
            return refuse(format_args!("a filter has at most {MOST} parts"));
        }
        // What is said twice holds as it was said last.
        targets.reverse();
        targets.sort_by_key(|(target, _)| std::cmp::Reverse(target.length()));
        Ok(Self { others, targets })
    }
}

fn level(name: &str) -> Option<Level> {
    // The program ends after a fatal event: there is no sense in seeing only those.
    name.parse().ok().filter(|level| *level < Level::Fatal)
}

fn refuse<T>(problem: fmt::Arguments<'_>) -> Result<T, BadDirective> {
    Err(BadDirective {
        problem: problem.to_string(),
    })
}

impl Target {
    fn fits<'a, 'f: 'a>(&self, event: &str, place: impl Fn() -> &'a Place<'f>) -> bool {
        match self.0.as_slice() {
            [name] => starts_word(event, name) || place().starts_with(&self.0),
            _ => place().starts_with(&self.0) || place().ends_with(&self.0),
        }
    }

    /// How exact it is.
    fn length(&self) -> usize {
        self.0.iter().map(|part| part.len() + 1).sum()
    }
}

/// Takes `fanout`, `fanout::worker`, the `fanout/worker.rs` or `fanout/worker.rs:12` of a log line, and all of them
/// after the program's name.
impl FromStr for Target {
    type Err = BadDirective;

    fn from_str(text: &str) -> Result<Self, BadDirective> {
        let path = text.split_once(".rs:").map_or(text, |(path, _)| path);
        let path = path.strip_suffix(".rs").unwrap_or(path).replace("::", "/");
        let whole = path == PROGRAM;
        let own = path
            .strip_prefix(PROGRAM)
            .and_then(|rest| rest.strip_prefix(['/', '_']));
        let parts: Vec<Box<str>> = match own {
            _ if whole => Vec::new(),
            own => own.unwrap_or(&path).split('/').map(Into::into).collect(),
        };
        let is_word = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            !part.is_empty() && part.bytes().all(fits)
        };
        if parts.iter().all(|part| is_word(part)) {
            Ok(Self(parts))
        } else {
            refuse(format_args!("{text:?} is no target"))
        }
    }
}

/// Whether a name is `prefix` or goes on after it with an underscore.
fn starts_word(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// The crate and the modules of a source file.
#[derive(Debug)]
struct Place<'a>(SmallVec<[&'a str; 8]>);

impl<'a> Place<'a> {
    /// `crates/fanout/src/worker/send.rs` is `fanout`, `worker`, `send`.
    fn of(file: &'a str) -> Self {
        let mut parts: SmallVec<[_; 8]> = file.split(['/', '\\']).collect();
        let source = parts.iter().rposition(|part| matches!(*part, "src" | "tests"));
        if let Some(source) = source {
            parts.remove(source);
            parts.drain(..source.saturating_sub(1));
        }
        if let Some(last) = parts.last_mut() {
            *last = last.strip_suffix(".rs").unwrap_or(last);
        }
        Self(parts)
    }

    fn starts_with(&self, target: &[Box<str>]) -> bool {
        self.0.get(..target.len()).is_some_and(|head| same(head, target))
    }

    fn ends_with(&self, target: &[Box<str>]) -> bool {
        let start = self.0.len().checked_sub(target.len());
        start.is_some_and(|start| same(&self.0[start..], target))
    }
}

/// Whether two lists of the same length are equal.
fn same(parts: &[&str], target: &[Box<str>]) -> bool {
    parts.iter().zip(target).all(|(part, wanted)| **part == **wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Level::{Debug, Error, Info, Warn};

    const WORKER: &str = "crates/fanout/src/worker.rs";
    const SEND: &str = "/build/crates/fanout/src/worker/send.rs";
    const MOUNT: &str = "crates/mount/src/lib.rs";

    #[test]
    fn the_most_exact_target_counts() {
        for (text, event, file, expected) in [
            ("debug", "source_lost", MOUNT, Some(Debug)),
            ("WARN", "source_lost", MOUNT, Some(Warn)),
            ("fanout=debug", "listener_slow", WORKER, Some(Debug)),
            ("fanout=debug", "listener_slow", SEND, Some(Debug)),
            ("fanout=debug", "listener_slow", MOUNT, None),
            ("fanout=debug,warn", "listener_slow", MOUNT, Some(Warn)),
            ("warn,fanout=debug", "listener_slow", WORKER, Some(Debug)),
            (" fanout = debug , warn ", "listener_slow", WORKER, Some(Debug)),
            ("fan=debug", "listener_slow", WORKER, None),
            ("listener=debug", "listener_slow", WORKER, Some(Debug)),
            ("listener_slow=debug", "listener_slow", WORKER, Some(Debug)),
            ("listener=debug", "listeners_many", WORKER, None),
            ("fanout::worker=debug,fanout=error", "x", WORKER, Some(Debug)),
            ("fanout=error,fanout::worker=debug", "x", SEND, Some(Debug)),
            (
                "fanout::worker=debug,fanout=error",
                "x",
                "crates/fanout/src/lib.rs",
                Some(Error),
            ),
            ("fanout::worker::send=debug", "x", SEND, Some(Debug)),
            ("fanout::worker::send=debug", "x", WORKER, None),
            // As a log line says it, which leaves out the crate of a nested module.
            ("worker/send.rs=debug", "x", SEND, Some(Debug)),
            ("fanout/worker.rs:120=debug", "x", WORKER, Some(Debug)),
            ("tinyice_stream=debug,info", "stream_silent", MOUNT, Some(Debug)),
            ("tinyice_stream=debug,info", "other", MOUNT, Some(Info)),
            ("tinyice::fanout::worker=debug", "x", WORKER, Some(Debug)),
            ("tinyice=debug,fanout=error", "x", MOUNT, Some(Debug)),
            ("tinyice=debug,fanout=error", "x", WORKER, Some(Error)),
            ("fanout=debug,fanout=warn", "x", WORKER, Some(Warn)),
            ("start_log=debug", "x", "tests/start_log.rs", Some(Debug)),
            (
                "observe=debug",
                "x",
                "crates/observe/tests/start_log.rs",
                Some(Debug),
            ),
            ("mount=debug", "x", "crates\\mount\\src\\lib.rs", Some(Debug)),
        ] {
            let directive: Directive = text.parse().unwrap();
            assert_eq!(directive.level(event, file), expected, "{text} {event} {file}");
        }
    }

    #[test]
    fn the_lowest_level_lets_all_through() {
        for (text, base, expected) in [
            ("error", Info, Error),
            ("fanout=debug,error", Info, Debug),
            ("fanout=error", Info, Info),
            ("fanout=error", Debug, Debug),
            ("fanout=warn,error", Debug, Warn),
        ] {
            let directive: Directive = text.parse().unwrap();
            assert_eq!(directive.lowest(base), expected, "{text}");
        }
    }

    #[test]
    fn junk_is_refused() {
        for (text, problem) in [
            ("", "the filter is empty"),
            (" ", "the filter is empty"),
            ("loud", "\"loud\" is no level"),
            ("fatal", "\"fatal\" is no level"),
            ("fanout", "\"fanout\" is no level"),
            ("fanout=", "\"\" is no level"),
            ("fanout=debug=warn", "\"debug=warn\" is no level"),
            ("=debug", "\"\" is no target"),
            ("a b=debug", "\"a b\" is no target"),
            ("a::=debug", "\"a::\" is no target"),
            ("\u{1b}[31m=debug", "\"\\u{1b}[31m\" is no target"),
            ("debug,", "\"\" is no level"),
            ("debug,info", "the level for everything is there twice"),
            ("debug,tinyice=info", "the level for everything is there twice"),
            (&"a=warn,".repeat(200), "a filter has at most 1024 characters"),
            (&["a=warn"; 33].join(","), "a filter has at most 32 parts"),
        ] {
            let error = text.parse::<Directive>().unwrap_err();
            assert_eq!(error.problem, problem, "{text:?}");
            let said = error.to_string();
            assert!(
                said.contains("debug, info, warn, error") && said.contains("fanout=debug,warn"),
                "{said}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s)([a-z_:=,/.]|.){0,40}", file in ".{0,20}") {
            if let Ok(directive) = text.parse::<Directive>() {
                let _ = directive.level("source_lost", &file);
            }
        }
    }
}
