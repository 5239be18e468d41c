//! Events that happened: the flight recorder, the feed and the counts.
//!
//! Contract: recording into the flight recorder takes no lock, so that a hung reader of it cannot hold up the
//! media path.

mod disk;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use tokio::sync::broadcast;

use crate::event::{Counter, Level, Trail};
use crate::log::format;
use crate::span::Context;
use crate::value::{Fields, Value};

pub use disk::{set_directory, write_to};
pub(crate) use disk::{write_now, write_soon};

/// How many events the flight recorder remembers.
const RECORDED: usize = 4_096;
/// How far a subscriber may fall behind before it misses events.
const FEED: usize = 1_024;

/// One event that happened.
#[derive(Clone, Debug)]
pub struct Record {
    /// The counter name of its kind.
    pub name: &'static str,
    /// How much it matters.
    pub level: Level,
    /// Where its line goes.
    pub trail: Trail,
    /// When it happened.
    pub time: jiff::Timestamp,
    /// The line of code that emitted it.
    pub caller: &'static Location<'static>,
    /// The text.
    pub message: Cow<'static, str>,
    /// The fields, the absent ones included; the last is `span` if the event belongs to one.
    pub fields: Fields,
    /// The span that it belongs to.
    pub span: Option<Context>,
}

impl Record {
    /// The value of a field.
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|(name, value)| *name == key && *value != Value::Absent)
            .map(|(_, value)| value)
    }

    /// The event as a line of JSON without its end of line, as in the log.
    pub fn json(&self) -> String {
        format::line(self, format::Style::JSON)
    }

    /// The event as a line of text without its end of line, as in the log.
    pub fn text(&self) -> String {
        format::line(self, format::Style::TEXT)
    }

    /// The place in the code, as `crate/file.rs:line`.
    pub fn caller_text(&self) -> String {
        place(self.caller)
    }
}

/// Shortens a location to the last two parts of its path that say something: `crates/fanout/src/worker.rs` is
/// `fanout/worker.rs`.
pub(crate) fn place(at: &Location<'_>) -> String {
    let mut parts = at.file().rsplit(['/', '\\']).filter(|part| *part != "src");
    let file = parts.next().unwrap_or_default();
    match parts.next() {
        Some(folder) => format!("{folder}/{file}:{}", at.line()),
        None => format!("{file}:{}", at.line()),
    }
}

/// The last so many things of a kind.
pub(crate) struct Recorder<T> {
    /// The number of things ever recorded; the next one goes to this place modulo the length.
    next: AtomicU64,
    /// Each with its number in the order of recording.
    slots: Box<[ArcSwapOption<Numbered<T>>]>,
}

type Numbered<T> = (u64, Arc<T>);

impl<T> Recorder<T> {
    pub(crate) fn new(length: usize) -> Recorder<T> {
        Recorder {
            next: AtomicU64::new(0),
            slots: (0..length).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    pub(crate) fn push(&self, record: &Arc<T>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = (number % self.slots.len() as u64) as usize;
        self.slots[slot].store(Some(Arc::new((number, Arc::clone(record)))));
    }

    pub(crate) fn snapshot(&self) -> Vec<Arc<T>> {
        let mut kept: Vec<_> = self.slots.iter().filter_map(|slot| slot.load_full()).collect();
        kept.sort_unstable_by_key(|entry| entry.0);
        kept.into_iter().map(|entry| Arc::clone(&entry.1)).collect()
    }
}

static RECORDER: LazyLock<Recorder<Record>> = LazyLock::new(|| Recorder::new(RECORDED));
static FEED_SENDER: LazyLock<broadcast::Sender<Arc<Record>>> = LazyLock::new(|| broadcast::channel(FEED).0);
/// The counters that have counted. The lock is held for one push, once per kind of event.
#[allow(
    clippy::disallowed_types,
    reason = "the named locks are built on this crate's own registries"
)]
static COUNTERS: parking_lot::Mutex<Vec<&'static Counter>> = parking_lot::Mutex::new(Vec::new());

type Captured = Rc<RefCell<Vec<Arc<Record>>>>;

thread_local! {
    static CAPTURED: RefCell<Option<Captured>> = const { RefCell::new(None) };
}

pub(crate) fn list_counter(counter: &'static Counter) {
    COUNTERS.lock().push(counter);
}

pub(crate) fn keep(record: &Arc<Record>) {
    RECORDER.push(record);
    // An error only says that nobody listens.
    let _ = FEED_SENDER.send(Arc::clone(record));
    // A thread that is ending has no capture any more.
    let _ = CAPTURED.try_with(|captured| {
        if let Some(records) = captured.borrow().as_ref() {
            records.borrow_mut().push(Arc::clone(record));
        }
    });
}

/// The last 4,096 notable events, oldest first.
pub fn recent() -> Vec<Arc<Record>> {
    RECORDER.snapshot()
}

/// All notable events from now on. A subscriber that falls 1,024 events behind is told how many it missed.
pub fn subscribe() -> broadcast::Receiver<Arc<Record>> {
    FEED_SENDER.subscribe()
}

/// How often each kind of event happened, by counter name; a kind is listed from its first event on.
pub fn event_counts() -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for counter in COUNTERS.lock().iter() {
        *counts.entry(counter.name()).or_insert(0) += counter.count();
    }
    counts
}

/// Collects what this thread emits, for tests: other tests of the same process are not seen.
#[derive(Debug)]
pub struct Capture {
    records: Captured,
}

impl Capture {
    /// Collects until the value is dropped. There is one at a time on each thread.
    pub fn start() -> Capture {
        let records = Rc::new(RefCell::new(Vec::new()));
        CAPTURED.with(|captured| *captured.borrow_mut() = Some(Rc::clone(&records)));
        Capture { records }
    }

    /// What was emitted so far; the next call begins after it.
    pub fn records(&self) -> Vec<Arc<Record>> {
        self.records.borrow_mut().drain(..).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        CAPTURED.with(|captured| *captured.borrow_mut() = None);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(message: &str, fields: &[(&'static str, Value)]) -> Record {
        Record {
            name: "test",
            level: Level::Info,
            trail: Trail::Main,
            time: "2026-08-10T12:00:00.123Z".parse().unwrap(),
            caller: Location::caller(),
            message: message.to_owned().into(),
            fields: fields.iter().cloned().collect(),
            span: None,
        }
    }

    #[test]
    fn the_recorder_keeps_the_newest() {
        let recorder = Recorder::new(4);
        for number in 0..10 {
            recorder.push(&Arc::new(record(&number.to_string(), &[])));
        }
        let kept: Vec<_> = recorder
            .snapshot()
            .iter()
            .map(|record| record.message.to_string())
            .collect();
        assert_eq!(kept, ["6", "7", "8", "9"]);
    }

    #[test]
    fn subscribers_get_events() {
        crate::event! { struct Fed { number: u32 } = Info "test_fed": "Fed" }
        let mut feed = subscribe();
        crate::emit(Fed { number: 7 });
        let fed = std::iter::from_fn(|| feed.try_recv().ok())
            .find(|record| record.name == "test_fed")
            .unwrap();
        assert_eq!(fed.field("number"), Some(&Value::Unsigned(7)));
        assert_eq!(fed.field("nothing"), None);
        assert!(recent().iter().any(|record| record.name == "test_fed"));
    }
}
