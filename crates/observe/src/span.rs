//! Spans: what a source session or a request was, from its start to its end.
//!
//! Contract: a span costs a few allocations and no wait, so it is always on, for what happens per connection or
//! request; never make one per frame or write.
//!
//! ```
//! use observe::span::{self, Outcome, Span};
//! use observe::Value;
//!
//! let session = Span::start("source", [("mount", Value::text("/live"))]);
//! session.run(|| {
//!     // Every event emitted here carries the session's id as the field `span`.
//!     assert_eq!(span::current(), Some(session.context()));
//! });
//! session.end(Outcome::Ok);
//! assert_eq!(span::recent().last().unwrap().name, "source");
//! ```

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;

use crate::record::Recorder;
use crate::value::{Fields, Value};

/// How many finished spans are remembered.
const RECENT: usize = 1_024;
/// How far an exporter may fall behind before it misses spans.
const FEED: usize = 1_024;
/// Attributes that a span takes.
const MOST_FIELDS: usize = 32;

/// The id of everything that one connection or request caused; written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// The id of one span; written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl TraceId {
    /// As W3C Trace Context and OTLP have it.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    /// As W3C Trace Context and OTLP have it.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Where something belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    root: SpanId,
}

impl Context {
    /// The id of the outermost span, which is the connection or request: the field `span` of all log lines of this
    /// trace, whichever inner span they come from.
    pub fn connection(&self) -> SpanId {
        self.root
    }
}

/// How something ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody said.
    #[default]
    Unset,
    /// As it should.
    Ok,
    /// With an error, in words.
    Error(String),
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its trace and its id.
    pub context: Context,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// What it was.
    pub name: &'static str,
    /// When it began, in nanoseconds since 1970.
    pub start: u64,
    /// When it ended, in nanoseconds since 1970.
    pub end: u64,
    /// What is known about it.
    pub attributes: Fields,
    /// How it ended.
    pub outcome: Outcome,
}

/// Something that goes on. It ends when somebody says so or when its last copy is dropped.
#[derive(Clone, Debug)]
#[must_use = "a span ends when it is dropped"]
pub struct Span(Arc<Open>);

#[derive(Debug)]
struct Open {
    context: Context,
    parent: Option<SpanId>,
    name: &'static str,
    /// Nanoseconds since 1970.
    start: u64,
    begun: Instant,
    #[allow(clippy::disallowed_types, reason = "held to add one field")]
    attributes: parking_lot::Mutex<Fields>,
    ended: AtomicBool,
}

static RING: LazyLock<Recorder<Finished>> = LazyLock::new(|| Recorder::new(RECENT));
static FEED_SENDER: LazyLock<broadcast::Sender<Arc<Finished>>> = LazyLock::new(|| broadcast::channel(FEED).0);
static FINISHED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CURRENT: Cell<Option<Context>> = const { Cell::new(None) };
}

/// The span that is entered here, if any.
pub fn current() -> Option<Context> {
    CURRENT.try_with(Cell::get).unwrap_or(None)
}

/// The last 1,024 spans that ended, in the order of their ends.
pub fn recent() -> Vec<Arc<Finished>> {
    RING.snapshot()
}

/// How many spans have ended.
pub fn finished() -> u64 {
    FINISHED.load(Ordering::Relaxed)
}

/// All spans that end from now on. A subscriber that falls 1,024 behind is told how many it missed.
pub fn subscribe() -> broadcast::Receiver<Arc<Finished>> {
    FEED_SENDER.subscribe()
}

impl Span {
    /// Begins a span: a part of the one that is entered here, or the first of a new trace.
    pub fn start(name: &'static str, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Span {
        Span::begin(name, fields, current())
    }

    /// Begins a span that is a part of this one.
    pub fn child(&self, name: &'static str, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Span {
        Span::begin(name, fields, Some(self.context()))
    }

    fn begin(
        name: &'static str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
        parent: Option<Context>,
    ) -> Span {
        let span = SpanId(fresh());
        let context = match parent {
            Some(parent) => Context { span, ..parent },
            None => Context {
                trace: TraceId(u128::from(fresh()) << 64 | u128::from(fresh())),
                span,
                root: span,
            },
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Span(Arc::new(Open {
            context,
            parent: parent.map(|parent| parent.span),
            name,
            start: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            begun: Instant::now(),
            attributes: fields.into_iter().take(MOST_FIELDS).collect::<Fields>().into(),
            ended: AtomicBool::new(false),
        }))
    }

    /// Its ids.
    pub fn context(&self) -> Context {
        self.0.context
    }

    /// Adds an attribute or replaces one. A span takes 32.
    pub fn set(&self, key: &'static str, value: Value) {
        let mut attributes = self.0.attributes.lock();
        if let Some(known) = attributes.iter_mut().find(|(name, _)| *name == key) {
            known.1 = value;
        } else if attributes.len() < MOST_FIELDS {
            attributes.push((key, value));
        }
    }

    /// Makes it the current span of this thread until the value is dropped. Async code uses [`Span::within`] or
    /// [`task::spawn_in`](crate::task::spawn_in) instead, which enter it for each poll.
    #[must_use = "the span is left when the value is dropped"]
    pub fn enter(&self) -> Entered<'_> {
        Entered {
            outer: CURRENT
                .try_with(|current| current.replace(Some(self.0.context)))
                .ok(),
            span: PhantomData,
        }
    }

    /// Runs something inside it.
    pub fn run<T>(&self, run: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        run()
    }

    /// Awaits something inside it.
    pub async fn within<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|context| self.run(|| future.as_mut().poll(context))).await
    }

    /// Ends it now, whoever else still has a copy.
    pub fn end(self, outcome: Outcome) {
        self.0.finish(outcome);
    }
}

impl Open {
    fn finish(&self, outcome: Outcome) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let took = self.begun.elapsed();
        let finished = Arc::new(Finished {
            context: self.context,
            parent: self.parent,
            name: self.name,
            start: self.start,
            end: self
                .start
                .saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)),
            attributes: self.attributes.lock().clone(),
            outcome,
        });
        crate::trace::span(self.name, self.context.span, self.begun, took);
        FINISHED.fetch_add(1, Ordering::Relaxed);
        RING.push(&finished);
        // An error only says that nobody exports.
        let _ = FEED_SENDER.send(finished);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.finish(Outcome::Unset);
    }
}

/// The span is current on this thread for as long as this lives. It does not leave the thread.
#[derive(Debug)]
pub struct Entered<'a> {
    outer: Option<Option<Context>>,
    span: PhantomData<(&'a Span, *const ())>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(outer) = self.outer {
            let _ = CURRENT.try_with(|current| current.set(outer));
        }
    }
}

/// A number that this process gives once and another process almost surely never: SplitMix64 over a count, which maps
/// no two counts to one number, from a random start. Zero is no valid id.
fn fresh() -> u64 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static COUNT: AtomicU64 = AtomicU64::new(1);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut mixed = SEED.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        if mixed != 0 {
            return mixed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Capture;
    use crate::task;

    crate::event! { struct Said {} = Info "test_said_in_span": "Said" }

    fn find(context: Context) -> Option<Arc<Finished>> {
        recent().into_iter().find(|span| span.context == context)
    }

    fn id_of(record: &crate::Record) -> Option<String> {
        record.field("span").and_then(Value::as_str).map(str::to_owned)
    }

    #[test]
    fn ids_are_hexadecimal_and_differ() {
        let (one, two) = (Span::start("one", []), Span::start("two", []));
        let (one, two) = (one.context(), two.context());
        assert_ne!((one.trace, one.span), (two.trace, two.span));
        assert_eq!(
            (one.trace.to_string().len(), one.span.to_string().len()),
            (32, 16)
        );
        assert_eq!(u64::from_be_bytes(one.span.to_bytes()), one.span.0);
        assert_eq!(u128::from_be_bytes(one.trace.to_bytes()), one.trace.0);
    }

    #[test]
    fn records_carry_the_id_of_the_outermost_span() {
        let capture = Capture::start();
        let outer = Span::start("outer", []);
        crate::emit(Said {});
        outer.run(|| {
            crate::emit(Said {});
            let inner = Span::start("inner", []);
            assert_eq!(inner.context().trace, outer.context().trace);
            inner.run(|| crate::emit(Said {}));
            crate::emit(Said {});
        });
        crate::emit(Said {});
        let own = Some(outer.context().span.to_string());
        let records = capture.records();
        let ids: Vec<_> = records.iter().map(|record| id_of(record)).collect();
        assert_eq!(ids, [None, own.clone(), own.clone(), own, None]);
        assert_ne!(records[2].span.unwrap().span, outer.context().span);
        assert!(
            records[1]
                .json()
                .contains(&format!(r#""span":"{}""#, outer.context().span))
        );
    }

    #[test]
    fn a_span_ends_once_with_what_is_known() {
        let mut feed = subscribe();
        let parent = Span::start("parent", []);
        let span = parent.child("child", [("mount", Value::text("/live"))]);
        span.set("bytes", Value::Unsigned(1));
        span.set("bytes", Value::Unsigned(2));
        let (context, copy) = (span.context(), span.clone());
        assert!(find(context).is_none());
        span.end(Outcome::Error("gone".into()));
        drop(copy);
        let found: Vec<_> = recent()
            .into_iter()
            .filter(|span| span.context == context)
            .collect();
        assert_eq!(found.len(), 1);
        let ended = &found[0];
        assert_eq!((ended.name, ended.parent), ("child", Some(parent.context().span)));
        assert_eq!(ended.outcome, Outcome::Error("gone".into()));
        assert_eq!(
            ended.attributes.as_slice(),
            [("mount", Value::text("/live")), ("bytes", Value::Unsigned(2))]
        );
        assert!(ended.start > 1_600_000_000_000_000_000 && ended.end >= ended.start);
        let fed = std::iter::from_fn(|| feed.try_recv().ok()).find(|span| span.context == context);
        assert!(fed.is_some());
        let context = parent.context();
        drop(parent);
        assert_eq!(find(context).unwrap().outcome, Outcome::Unset);
    }

    #[test]
    fn attributes_are_bounded() {
        let span = Span::start("many", (0..100).map(|number| ("key", Value::Unsigned(number))));
        span.set("one more", Value::Bool(true));
        assert_eq!(span.0.attributes.lock().len(), MOST_FIELDS);
    }

    #[tokio::test]
    async fn a_task_keeps_its_span_across_awaits_and_from_its_neighbours() {
        let capture = Capture::start();
        let spans = [Span::start("first", []), Span::start("second", [])];
        let tasks = spans.each_ref().map(|span| {
            task::spawn_in(span, "test-span", (), async {
                for _ in 0..3 {
                    crate::emit(Said {});
                    tokio::task::yield_now().await;
                }
                current()
            })
        });
        assert_eq!(current(), None);
        for (task, span) in tasks.iter().zip(&spans) {
            let info = task::list().into_iter().find(|info| info.id == task.id());
            assert_eq!(info.unwrap().span, Some(span.context().span.to_string()));
        }
        for (task, span) in tasks.into_iter().zip(&spans) {
            assert_eq!(task.await, Ok(Some(span.context())));
        }
        let ids: Vec<_> = capture
            .records()
            .iter()
            .filter_map(|record| id_of(record))
            .collect();
        for span in &spans {
            let own = span.context().span.to_string();
            assert_eq!(ids.iter().filter(|id| **id == own).count(), 3);
        }
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn a_future_is_awaited_within_a_span() {
        let span = Span::start("within", []);
        let seen = span.within(async {
            tokio::task::yield_now().await;
            current()
        });
        assert_eq!((seen.await, current()), (Some(span.context()), None));
    }
}
