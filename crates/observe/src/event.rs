//! Events: what one is, and the one call that logs, counts, records and feeds it.
//!
//! Contract: emitting never blocks and costs one atomic addition when the level is off and nobody records it.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::record::{self, Record};
use crate::value::{Fields, Value};

/// Something that happened. Define one with [`event!`](crate::event!).
pub trait Event {
    /// How much it matters.
    const LEVEL: Level;
    /// Where its line goes.
    const TRAIL: Trail;

    /// The counter of this kind of event.
    fn counter() -> &'static Counter;
    /// The line's text.
    fn message(&self) -> Cow<'static, str>;
    /// The line's fields.
    fn fields(&self) -> Fields;
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For the developer; off unless asked for.
    Debug,
    /// Ordinary course of things.
    Info,
    /// Somebody should look at it some day.
    Warn,
    /// Something failed.
    Error,
    /// The program ends because of it.
    Fatal,
}

impl Level {
    /// The upper-case name in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
            Level::Fatal => "FATAL",
        }
    }

    /// The lower-case name, for the authentication trail.
    pub fn as_lower_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Fatal => "fatal",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_lower_str())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Level, UnknownLevel> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "debug" => Level::Debug,
            "info" => Level::Info,
            "warn" | "warning" => Level::Warn,
            "error" => Level::Error,
            "fatal" => Level::Fatal,
            _ => return Err(UnknownLevel),
        })
    }
}

/// The text names no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLevel;

impl fmt::Display for UnknownLevel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("unknown log level: use debug, info, warn or error")
    }
}

impl std::error::Error for UnknownLevel {}

/// Where the line of an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trail {
    /// The main log.
    Main,
    /// The authentication log if there is one, else the main log.
    Auth,
    /// The main log, and the flight recorder even when the level is off.
    Recorder,
}

/// Counts one kind of event for the life of the process.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    count: AtomicU64,
    known: AtomicBool,
    /// Milliseconds since [`ORIGIN`] plus one of the last line that [`emit_limited`] let through; 0 is never.
    last: AtomicU64,
    suppressed: AtomicU64,
}

/// The start of the clock of rate limits.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Counter {
    /// A counter that starts at 0; it is listed from its first event on.
    pub const fn new(name: &'static str) -> Counter {
        Counter {
            name,
            count: AtomicU64::new(0),
            known: AtomicBool::new(false),
            last: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// The stable name, as in metrics.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The events so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn add(&'static self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if !self.known.load(Ordering::Relaxed) && !self.known.swap(true, Ordering::Relaxed) {
            record::list_counter(self);
        }
    }

    /// Whether a line may go out now; the number is how many were held back before it.
    fn permit(&self, now: Duration, every: Duration) -> Option<u64> {
        let now = u64::try_from(now.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        let last = self.last.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= every;
        let taken = due
            && self
                .last
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if taken {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// Counts the event, logs it, keeps it in the flight recorder and offers it to the feed.
#[track_caller]
pub fn emit<E: Event>(event: E) {
    let caller = Location::caller();
    E::counter().add();
    hand_out(&event, caller, 0);
}

/// Like [`emit`], but at most one line of this kind of event in `every`; each event is counted, and the next line
/// says in the field `suppressed` how many were held back.
#[track_caller]
pub fn emit_limited<E: Event>(every: Duration, event: E) {
    let caller = Location::caller();
    let counter = E::counter();
    counter.add();
    if let Some(suppressed) = counter.permit(ORIGIN.elapsed(), every) {
        hand_out(&event, caller, suppressed);
    }
}

fn hand_out<E: Event>(event: &E, caller: &'static Location<'static>, suppressed: u64) {
    let logged = crate::log::enabled(E::LEVEL, E::counter().name(), caller);
    // Debug events would push the notable ones out of the recorder, so they enter it only when they are asked for.
    let recorded = logged || E::LEVEL > Level::Debug || E::TRAIL == Trail::Recorder;
    if !recorded {
        return;
    }
    let record = Arc::new(describe(event, caller, suppressed));
    record::keep(&record);
    if logged {
        crate::log::submit(record);
    }
}

/// An event for the log alone, from the log's own thread.
#[track_caller]
pub(crate) fn make_record<E: Event>(event: &E) -> Record {
    let caller = Location::caller();
    E::counter().add();
    describe(event, caller, 0)
}

fn describe<E: Event>(event: &E, caller: &'static Location<'static>, suppressed: u64) -> Record {
    let mut fields = event.fields();
    if suppressed > 0 {
        fields.push(("suppressed", Value::Unsigned(suppressed)));
    }
    let span = crate::span::current();
    if let Some(span) = span {
        fields.push(("span", Value::text(&span.connection().to_string())));
    }
    Record {
        name: E::counter().name(),
        level: E::LEVEL,
        trail: E::TRAIL,
        time: jiff::Timestamp::now(),
        caller,
        message: bounded(event.message()),
        fields,
        span,
    }
}

/// Messages may hold untrusted text; a full flight recorder still has a known size.
fn bounded(message: Cow<'static, str>) -> Cow<'static, str> {
    const MOST: usize = 4_096;
    match message {
        Cow::Owned(mut text) if text.len() > MOST => {
            let end = (0..=MOST)
                .rev()
                .find(|&at| text.is_char_boundary(at))
                .unwrap_or(0);
            text.truncate(end);
            Cow::Owned(text)
        }
        message => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Capture;
    use std::fmt::Display;
    use std::net::IpAddr;

    #[derive(Debug)]
    struct Mount(&'static str);
    impl Display for Mount {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str(self.0)
        }
    }

    crate::event! {
        /// Every kind of field.
        struct Everything<'a> {
            mount: Mount,
            other: Option<Mount>,
            nobody: Option<&'a str>,
            ip: IpAddr => "address",
            size: usize,
            change: i32,
            after: Duration,
            live: bool,
        }
        = Info "test_everything": "Everything about {mount} and {size}"

        struct Plain {} = Warn "test_plain": "Plain"

        struct Hidden {} = Debug "test_hidden": "Hidden"

        struct Kept {} = [Recorder] Debug "test_kept": "Kept"

        struct Repeated {} = Info "test_repeated": "Repeated"
    }

    #[test]
    fn event_has_typed_fields() {
        let capture = Capture::start();
        emit(Everything {
            mount: Mount("/live"),
            other: Some(Mount("/b")),
            nobody: None,
            ip: [192, 0, 2, 1].into(),
            size: 3,
            change: -4,
            after: Duration::from_millis(1500),
            live: true,
        });
        let line = line!() - 1;
        let records = capture.records();
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!(record.message, "Everything about /live and 3");
        assert_eq!(record.caller_text(), format!("observe/event.rs:{}", line - 9));
        let expected = [
            ("mount", Value::text("/live")),
            ("other", Value::text("/b")),
            ("nobody", Value::Absent),
            ("address", Value::text("192.0.2.1")),
            ("size", Value::Unsigned(3)),
            ("change", Value::Signed(-4)),
            ("after", Value::Float(1.5)),
            ("live", Value::Bool(true)),
        ];
        assert_eq!(record.fields.as_slice(), expected);
    }

    #[test]
    fn a_message_without_fields_is_not_allocated() {
        assert!(matches!(Plain {}.message(), Cow::Borrowed("Plain")));
    }

    #[test]
    fn debug_events_are_only_counted_while_the_level_is_off() {
        let before = Hidden::counter().count();
        let capture = Capture::start();
        emit(Hidden {});
        emit(Kept {});
        let names: Vec<_> = capture.records().iter().map(|record| record.name).collect();
        assert_eq!(names, ["test_kept"]);
        assert_eq!(Hidden::counter().count(), before + 1);
        assert_eq!(crate::event_counts().get("test_hidden"), Some(&(before + 1)));
    }

    #[test]
    fn repeated_lines_are_held_back_and_counted() {
        static COUNTER: Counter = Counter::new("test_limit");
        let every = Duration::from_secs(10);
        let steps = [
            (0, Some(0)),
            (1, None),
            (9, None),
            (10, Some(2)),
            (11, None),
            (20, Some(1)),
            (40, Some(0)),
        ];
        for (second, expected) in steps {
            assert_eq!(
                COUNTER.permit(Duration::from_secs(second), every),
                expected,
                "at {second} s"
            );
        }
    }

    #[test]
    fn every_repeated_event_is_counted() {
        let capture = Capture::start();
        for _ in 0..3 {
            emit_limited(Duration::from_secs(3600), Repeated {});
        }
        assert_eq!(capture.records().len(), 1);
        assert_eq!(Repeated::counter().count(), 3);
    }

    #[test]
    fn levels_have_names() {
        for (text, level) in [
            ("warn", Ok(Level::Warn)),
            ("INFO", Ok(Level::Info)),
            ("loud", Err(UnknownLevel)),
        ] {
            assert_eq!(text.parse::<Level>(), level, "{text}");
        }
        assert!(Level::Debug < Level::Info && Level::Error < Level::Fatal);
    }
}
