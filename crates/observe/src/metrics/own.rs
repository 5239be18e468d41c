//! What this crate counts and knows itself: events, log, tasks, locks, the runtime, the allocator, the process.
//!
//! Contract: the names begin with the program's prefix. What comes from outside and may shrink, such as the figures
//! of an allocator, is still never exposed as a counter that goes down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Once, OnceLock};
use std::time::Instant;

use super::{Exposition, Family, Kind, Number, collect_with, process, runtime};
use crate::watchdog;

static PREFIX: OnceLock<&'static str> = OnceLock::new();
static BUILD: OnceLock<BuildInfo> = OnceLock::new();
static ALLOCATOR: OnceLock<fn() -> Option<AllocatorStats>> = OnceLock::new();
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static PURGES: AtomicU64 = AtomicU64::new(0);

/// What the program was built from.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// The version of the program.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
    /// The version of the compiler.
    pub rustc: &'static str,
    /// The target triple.
    pub target: &'static str,
}

/// What the allocator has, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocatorStats {
    /// In live allocations.
    pub allocated: u64,
    /// In pages that hold a live allocation.
    pub active: u64,
    /// In pages that are in memory.
    pub resident: u64,
    /// In mappings in use.
    pub mapped: u64,
    /// In mappings kept for later, which cost no memory.
    pub retained: u64,
    /// For the allocator's own records.
    pub metadata: u64,
    /// How often unused pages were given back to the system.
    pub purges: u64,
}

/// Puts a prefix and an underscore before the names of this crate's own families, those of the process (`process_…`)
/// excepted. The first call counts; it belongs before the first scrape.
pub fn set_prefix(prefix: &'static str) {
    let _ = PREFIX.set(prefix);
}

/// Says what the program was built from. The first call counts.
pub fn set_build(build: BuildInfo) {
    let _ = BUILD.set(build);
}

/// Says how to ask the allocator; the function runs at each scrape. The first call counts.
pub fn set_allocator(stats: fn() -> Option<AllocatorStats>) {
    let _ = ALLOCATOR.set(stats);
}

/// Exposes the process and this crate's own families from now on; calling it again changes nothing. The uptime
/// counts from here.
pub fn register_process() {
    static REGISTERED: Once = Once::new();
    LazyLock::force(&START);
    REGISTERED.call_once(|| collect_with(expose));
}

/// A family of this crate, whose full name is known once the prefix is.
#[derive(Debug)]
pub(super) struct Own {
    suffix: &'static str,
    kind: Kind,
    help: &'static str,
    name: OnceLock<&'static str>,
}

impl Own {
    pub(super) const fn new(suffix: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            suffix,
            kind,
            help,
            name: OnceLock::new(),
        }
    }

    /// Begins the family.
    pub(super) fn open<'a>(&self, out: &'a mut Exposition) -> Family<'a> {
        let name = self.name.get_or_init(|| match PREFIX.get() {
            Some(prefix) => format!("{prefix}_{}", self.suffix).leak(),
            None => self.suffix,
        });
        out.family(name, self.kind, self.help)
    }

    /// Writes the family with its one sample.
    pub(super) fn one(&self, out: &mut Exposition, value: impl Into<Number>) {
        self.open(out).sample(&[], value);
    }
}

fn expose(out: &mut Exposition) {
    let usage = process::expose(out).unwrap_or_default();
    expose_build(out);
    expose_events(out);
    expose_locks(out);
    runtime::expose(out);
    let allocator = allocator_stats();
    if let Some(stats) = allocator {
        expose_allocator(out, &stats);
    }
    expose_watchdog(out);
    expose_familiar(out, &usage, allocator.as_ref());
}

fn expose_build(out: &mut Exposition) {
    static INFO: Own = Own::new(
        "build_info",
        Kind::Gauge,
        "What the program was built from; always 1.",
    );
    if let Some(build) = BUILD.get() {
        let labels = [
            ("version", build.version),
            ("commit", build.commit),
            ("rustc", build.rustc),
            ("target", build.target),
        ];
        INFO.open(out).sample(&labels, 1u64);
    }
}

fn expose_events(out: &mut Exposition) {
    static EVENTS: Own = Own::new("events_total", Kind::Counter, "Events by kind, logged or not.");
    static DROPPED: Own = Own::new(
        "log_dropped_lines_total",
        Kind::Counter,
        "Log lines that were lost because the log could not be written in time.",
    );
    static TASKS: Own = Own::new("tasks", Kind::Gauge, "Async tasks alive.");
    static PANICS: Own = Own::new(
        "task_panics_total",
        Kind::Counter,
        "Panics that ended a task or a thread.",
    );
    let mut family = EVENTS.open(out);
    for (event, count) in crate::event_counts() {
        family.sample(&[("event", event)], count);
    }
    drop(family);
    DROPPED.one(out, crate::log::dropped_lines());
    TASKS.one(out, crate::task::count() as u64);
    PANICS.one(out, crate::task::panic_count());
}

fn expose_locks(out: &mut Exposition) {
    static CONTENTIONS: Own = Own::new(
        "lock_contentions_total",
        Kind::Counter,
        "How often a named lock was not free at once.",
    );
    static WAITED: Own = Own::new(
        "lock_wait_seconds_total",
        Kind::Counter,
        "Time spent waiting for a named lock.",
    );
    static WAITERS: Own = Own::new("lock_waiters", Kind::Gauge, "How many wait for a named lock now.");
    let locks = crate::lock_totals();
    let mut family = CONTENTIONS.open(out);
    for (lock, contentions, _, _) in &locks {
        family.sample(&[("lock", lock)], *contentions);
    }
    drop(family);
    let mut family = WAITED.open(out);
    for (lock, _, waited, _) in &locks {
        family.sample(&[("lock", lock)], *waited);
    }
    drop(family);
    let mut family = WAITERS.open(out);
    for (lock, _, _, waiting) in &locks {
        family.sample(&[("lock", lock)], *waiting);
    }
}

fn expose_allocator(out: &mut Exposition, stats: &AllocatorStats) {
    macro_rules! sizes {
        ($($field:ident: $help:literal,)+) => {$({
            static SIZE: Own =
                Own::new(concat!("allocator_", stringify!($field), "_bytes"), Kind::Gauge, $help);
            SIZE.one(out, stats.$field);
        })+};
    }
    sizes! {
        allocated: "Memory in live allocations.",
        active: "Memory in pages that hold a live allocation.",
        resident: "Memory of the allocator that is in memory now.",
        mapped: "Address space of the allocator that is in use.",
        retained: "Address space that the allocator keeps for later; it costs no memory.",
        metadata: "Memory for the allocator's own records.",
    }
}

fn expose_watchdog(out: &mut Exposition) {
    static TRIPS: Own = Own::new(
        "watchdog_trips_total",
        Kind::Counter,
        "How often a check of the watchdog found something stuck.",
    );
    static LATENESS: Own = Own::new(
        "runtime_heartbeat_seconds",
        Kind::Histogram,
        "How late a task of the main runtime ran that is due at fixed times.",
    );
    let mut family = TRIPS.open(out);
    for (check, trips) in watchdog::trips() {
        family.sample(&[("check", check)], trips);
    }
    drop(family);
    LATENESS
        .open(out)
        .histogram(&[], &watchdog::heartbeat().snapshot());
}

/// The names that dashboards of TinyIce (Go) know. They are not ours to change.
fn expose_familiar(out: &mut Exposition, usage: &process::Usage, allocator: Option<&AllocatorStats>) {
    static OBTAINED: Own = Own::new(
        "mem_sys_bytes",
        Kind::Gauge,
        "Memory obtained from the system: what the process has in memory or swapped out.",
    );
    static LIVE: Own = Own::new(
        "heap_alloc_bytes",
        Kind::Gauge,
        "Memory in live allocations; all private memory where the allocator does not tell.",
    );
    static STACKS: Own = Own::new(
        "stack_sys_bytes",
        Kind::Gauge,
        "Address space set aside for the stacks of threads; pages never used cost no memory.",
    );
    static RECLAIMED: Own = Own::new(
        "num_gc",
        Kind::Counter,
        "How often the allocator gave unused pages back to the system; there is no garbage collector.",
    );
    static ALIVE: Own = Own::new("goroutines", Kind::Gauge, "Async tasks and threads alive.");
    static UPTIME: Own = Own::new(
        "server_uptime_seconds",
        Kind::Gauge,
        "Time since the server started.",
    );
    let totals = totals(usage, allocator);
    OBTAINED.one(out, totals.obtained);
    LIVE.one(out, totals.live);
    STACKS.one(out, totals.stacks);
    RECLAIMED.one(out, totals.reclaimed);
    ALIVE.one(out, totals.alive);
    UPTIME.one(out, START.elapsed());
}

/// The process in a few numbers, the same that the metrics have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessTotals {
    /// Async tasks and threads alive.
    pub alive: u64,
    /// Bytes of memory obtained from the system.
    pub obtained: u64,
    /// Bytes in live allocations.
    pub live: u64,
    /// Bytes of address space set aside for stacks.
    pub stacks: u64,
    /// How often the allocator gave unused pages back.
    pub reclaimed: u64,
}

/// The process now.
#[must_use]
pub fn process_totals() -> ProcessTotals {
    let usage = process::usage().unwrap_or_default();
    totals(&usage, allocator_stats().as_ref())
}

fn allocator_stats() -> Option<AllocatorStats> {
    ALLOCATOR.get().and_then(|stats| stats())
}

fn totals(usage: &process::Usage, allocator: Option<&AllocatorStats>) -> ProcessTotals {
    let obtained = match usage.resident + usage.swapped {
        0 => allocator.map_or(0, |stats| stats.resident),
        obtained => obtained,
    };
    let purges = allocator.map_or(0, |stats| stats.purges);
    ProcessTotals {
        alive: crate::task::count() as u64 + usage.threads,
        obtained,
        live: allocator.map_or(usage.anonymous, |stats| stats.allocated),
        stacks: stacks(usage),
        reclaimed: PURGES.fetch_max(purges, Ordering::Relaxed).max(purges),
    }
}

/// The first thread's stack as the kernel says, and for each other thread what the standard library asks for: to find
/// the real mappings, all mappings of the process would have to be read.
fn stacks(usage: &process::Usage) -> u64 {
    static EACH: LazyLock<u64> = LazyLock::new(|| {
        let asked = std::env::var("RUST_MIN_STACK").ok();
        asked.and_then(|text| text.parse().ok()).unwrap_or(2 << 20)
    });
    let others = usage.threads.saturating_sub(1);
    usage.first_stack.saturating_add(others.saturating_mul(*EACH))
}
