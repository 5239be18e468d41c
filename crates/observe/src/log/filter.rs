//! Which events are logged: the configured level, and a directive that an operator puts over it for a while.
//!
//! Contract: an event below every level costs one relaxed load, and without a directive so does any other. A
//! directive ends by itself, with nobody to remind it.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

pub use super::directive::BadDirective;
use super::directive::Directive;
use crate::event::Level;

crate::event! {
    struct FilterSet<'a> { directive: &'a str, lasts: Option<Duration> => "for" }
    = Info "log_filter_set": "Log filter set"

    struct FilterEnded<'a> { directive: &'a str }
    = Info "log_filter_ended": "Log filter ended"
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The directive as it was set, if there is one.
    pub directive: Option<String>,
    /// The configured level, for what the directive does not name.
    pub base: Level,
    /// When the directive ends, if it does.
    pub until: Option<Instant>,
}

/// Puts a directive in force, in place of the one before: `debug`, `fanout=debug,warn`, `source=debug`,
/// `tinyice::fanout::worker=debug`. After `ttl` the configured level alone holds again.
pub fn set(directive: &str, ttl: Option<Duration>) -> Result<(), BadDirective> {
    SWITCH.set(directive, ttl, Instant::now())?;
    crate::emit(FilterSet {
        directive,
        lasts: ttl,
    });
    Ok(())
}

/// Ends the directive, if there is one.
pub fn clear() {
    if let Some(ended) = SWITCH.clear(None) {
        crate::emit(FilterEnded {
            directive: &ended.text,
        });
    }
}

/// What is in force now.
pub fn current() -> Current {
    SWITCH.end_overdue(Instant::now);
    let set = SWITCH.set.load_full();
    Current {
        base: level_of(SWITCH.base.load(Ordering::Relaxed)),
        until: set.as_ref().and_then(|set| set.until),
        directive: set.map(|set| set.text.clone()),
    }
}

/// Whether an event of this level, kind and place is logged now.
#[inline]
pub(crate) fn enabled(level: Level, event: &str, caller: &Location<'_>) -> bool {
    let ask = || SWITCH.decide(level, event, caller.file(), Instant::now);
    SWITCH.passes(level).unwrap_or_else(ask)
}

/// The configured level.
pub(crate) fn base() -> Level {
    level_of(SWITCH.base.load(Ordering::Relaxed))
}

/// Changes the configured level; a directive stays.
pub(crate) fn set_base(level: Level) {
    SWITCH.set_base(level);
}

static SWITCH: Switch = Switch::new();

/// The bit of [`Switch::gate`] that says that there is a directive.
const DIRECTED: u8 = 0x80;

/// A directive in force.
#[derive(Debug)]
struct Set {
    text: String,
    directive: Directive,
    until: Option<Instant>,
}

impl Set {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

#[derive(Debug)]
struct Switch {
    /// The lowest level that anything is logged at, with [`DIRECTED`]; all that most events look at.
    gate: AtomicU8,
    base: AtomicU8,
    set: ArcSwapOption<Set>,
    /// Held by those who change any of the above, for a few stores.
    #[allow(
        clippy::disallowed_types,
        reason = "a wait for a named lock is an event, which asks this filter"
    )]
    changing: parking_lot::Mutex<()>,
}

impl Switch {
    const fn new() -> Self {
        Self {
            gate: AtomicU8::new(Level::Info as u8),
            base: AtomicU8::new(Level::Info as u8),
            set: ArcSwapOption::const_empty(),
            #[allow(clippy::disallowed_types, reason = "as above")]
            changing: parking_lot::Mutex::new(()),
        }
    }

    /// The answer, unless a directive has to be asked.
    #[inline]
    fn passes(&self, level: Level) -> Option<bool> {
        let gate = self.gate.load(Ordering::Relaxed);
        if (level as u8) < gate & !DIRECTED {
            Some(false)
        } else if gate & DIRECTED == 0 {
            Some(true)
        } else {
            None
        }
    }

    #[cold]
    fn decide(&self, level: Level, event: &str, file: &str, now: impl FnOnce() -> Instant) -> bool {
        self.end_overdue(now);
        let base = level_of(self.base.load(Ordering::Relaxed));
        let set = self.set.load();
        let lowest = set.as_ref().and_then(|set| set.directive.level(event, file));
        level >= lowest.unwrap_or(base)
    }

    fn set(&self, text: &str, ttl: Option<Duration>, now: Instant) -> Result<(), BadDirective> {
        let directive = text.parse()?;
        let _changing = self.changing.lock();
        self.set.store(Some(Arc::new(Set {
            text: text.trim().to_owned(),
            directive,
            // An end beyond all time is none.
            until: ttl.and_then(|ttl| now.checked_add(ttl)),
        })));
        self.open_gate();
        Ok(())
    }

    fn set_base(&self, level: Level) {
        let _changing = self.changing.lock();
        self.base.store(level as u8, Ordering::Relaxed);
        self.open_gate();
    }

    /// Takes the directive away, if it is over at the given time.
    fn clear(&self, over: Option<Instant>) -> Option<Arc<Set>> {
        let _changing = self.changing.lock();
        let set = self.set.load_full()?;
        if over.is_some_and(|now| !set.is_over(now)) {
            return None;
        }
        self.set.store(None);
        self.open_gate();
        Some(set)
    }

    /// Ends the directive if its time is over; looks at the clock only if it has one.
    fn end_overdue(&self, now: impl FnOnce() -> Instant) {
        let Some(until) = self.set.load().as_ref().and_then(|set| set.until) else {
            return;
        };
        let now = now();
        if now < until {
            return;
        }
        // The event asks this filter in its turn, which has no directive any more.
        if let Some(ended) = self.clear(Some(now)) {
            crate::emit(FilterEnded {
                directive: &ended.text,
            });
        }
    }

    /// Sets the gate by the rest. The configured level counts even when the directive is above it everywhere: its
    /// events have to come by for its end to be noticed.
    fn open_gate(&self) {
        let base = level_of(self.base.load(Ordering::Relaxed));
        let gate = match &*self.set.load() {
            Some(set) => base.min(set.directive.lowest(base)) as u8 | DIRECTED,
            None => base as u8,
        };
        self.gate.store(gate, Ordering::Relaxed);
    }
}

fn level_of(number: u8) -> Level {
    match number {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Warn,
        3 => Level::Error,
        _ => Level::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "crates/fanout/src/worker.rs";

    /// Asks like [`enabled`], at a time of the test's own.
    fn ask(switch: &Switch, level: Level, now: Instant) -> bool {
        let decide = || switch.decide(level, "listener_slow", FILE, || now);
        switch.passes(level).unwrap_or_else(decide)
    }

    #[test]
    fn a_directive_ends_by_itself() {
        let switch = Switch::new();
        let start = Instant::now();
        let second = |second| start + Duration::from_secs(second);
        for (directive, level) in [("debug", Level::Debug), ("fanout=debug,error", Level::Debug)] {
            switch
                .set(directive, Some(Duration::from_secs(600)), start)
                .unwrap();
            assert!(ask(&switch, level, second(599)), "{directive}");
            assert!(!ask(&switch, level, second(600)), "{directive}");
            assert_eq!(switch.passes(level), Some(false), "one load again");
            assert_eq!(switch.passes(Level::Info), Some(true), "one load again");
        }
        // One that lets less through than the configuration ends as well.
        switch
            .set("error", Some(Duration::from_secs(600)), start)
            .unwrap();
        assert!(!ask(&switch, Level::Warn, second(599)));
        assert!(ask(&switch, Level::Info, second(601)));
        switch.set("debug", Some(Duration::MAX), start).unwrap();
        assert!(ask(&switch, Level::Debug, second(1 << 30)));
    }

    #[test]
    fn the_configured_level_changes_below_a_directive() {
        let switch = Switch::new();
        let now = Instant::now();
        switch.set("fanout=debug", None, now).unwrap();
        switch.set_base(Level::Error);
        assert!(ask(&switch, Level::Debug, now));
        assert!(!switch.decide(Level::Warn, "x", "crates/mount/src/lib.rs", || now));
        switch.clear(None).unwrap();
        assert_eq!(switch.passes(Level::Warn), Some(false));
        assert_eq!(switch.passes(Level::Error), Some(true));
        assert!(switch.clear(None).is_none());
    }

    #[test]
    fn a_refused_directive_changes_nothing() {
        let switch = Switch::new();
        let now = Instant::now();
        switch.set("debug", None, now).unwrap();
        switch.set("loud", None, now).unwrap_err();
        assert!(ask(&switch, Level::Debug, now));
    }

    /// A debug event that is off, without a directive: 0.7 ns. One that a directive has to be asked for: 120 ns.
    /// `cargo test -p observe --release -- --ignored --nocapture cost_of_asking`
    #[test]
    #[ignore = "measures"]
    fn cost_of_asking() {
        const TIMES: u32 = 10_000;
        let switch = Switch::new();
        for (directive, ttl) in [
            (None, None),
            (Some("mount=debug,warn"), None),
            (Some("mount=debug,warn"), Some(Duration::from_secs(3600))),
        ] {
            if let Some(directive) = directive {
                switch.set(directive, ttl, Instant::now()).unwrap();
            }
            let round = || {
                let begun = Instant::now();
                for _ in 0..TIMES {
                    let level = std::hint::black_box(Level::Debug);
                    let ask = || switch.decide(level, "listener_slow", FILE, Instant::now);
                    std::hint::black_box(switch.passes(level).unwrap_or_else(ask));
                }
                begun.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
            };
            let best = (0..200).map(|_| round()).fold(f64::MAX, f64::min);
            println!("{directive:?} {ttl:?}: {best:.1} ns");
        }
    }
}
