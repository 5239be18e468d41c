//! A thread of its own that looks every second whether the rest goes on, and says who does not.
//!
//! Contract: it needs no runtime and waits for no lock of others; each trouble is told once when it begins and once
//! when it ends.
//!
//! ```
//! use std::time::Duration;
//! use observe::watchdog::{self, Finding};
//!
//! // A loop that must come round; while it rests it may sleep for as long as it likes.
//! let pulse = watchdog::pulse("doc-loop", "worker 0", Duration::from_secs(5));
//! pulse.beat();
//! pulse.rest();
//!
//! // A question that the program can answer without waiting.
//! watchdog::check("doc-silent", || vec![Finding::new("/live", "the source is silent")]);
//! assert!(watchdog::trips().contains(&("doc-silent", 0)));
//! ```

mod heart;
mod ledger;
mod pulse;
mod stacks;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::event::Level;
use crate::metrics::Histogram;
use crate::task::Overdue;
use crate::{lock, task, thread};
use heart::Heart;
use ledger::{Change, Ledger};
pub use pulse::{Pulse, pulse};

/// How often the clock of the locks is turned.
const TICK: Duration = Duration::from_millis(100);
/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// Without a look for this long it counts as stuck itself.
const OWN_LIMIT: Duration = Duration::from_secs(15);
/// How long names of functions are kept after somebody has asked for some: up to 100 MB, for a while longer than who
/// takes profiles all the time waits between two.
const NAMES_KEPT: Duration = Duration::from_secs(120);
/// Findings of one check that are told at once; when one lock stops a thousand tasks, these say enough.
const MOST: usize = 8;

crate::event! {
    struct WatchdogTripped<'a> { check: &'static str, subject: &'a str, problem: &'a str, stack: Option<&'a str> }
    = Error "watchdog_tripped": "{subject}: {problem}"

    struct WatchdogWarned<'a> { check: &'static str, subject: &'a str, problem: &'a str, stack: Option<&'a str> }
    = Warn "watchdog_warned": "{subject}: {problem}"

    struct WatchdogRecovered<'a> { check: &'static str, subject: &'a str, after: Duration }
    = Info "watchdog_recovered": "{subject} has recovered"
}

/// What is too long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Without a beat of the runtime.
    pub runtime: Duration,
    /// For one poll of a task.
    pub poll: Duration,
    /// To wait for a lock.
    pub lock: Duration,
    /// To be stuck and still count as ready.
    pub ready: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            runtime: Duration::from_secs(2),
            poll: Duration::from_secs(2),
            lock: Duration::from_secs(5),
            ready: Duration::from_secs(10),
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug)]
pub struct Finding {
    subject: String,
    problem: String,
    level: Level,
    lasting: Duration,
    blocks: bool,
    threads: Vec<u32>,
}

impl Finding {
    /// A warning. The subject tells it from others of the same check; while a check finds the same subject again it is
    /// one occurrence, whatever the problem's text.
    pub fn new(subject: impl Into<String>, problem: impl Into<String>) -> Finding {
        Finding {
            subject: subject.into(),
            problem: problem.into(),
            level: Level::Warn,
            lasting: Duration::ZERO,
            blocks: false,
            threads: Vec::new(),
        }
    }

    /// Makes it an error.
    #[must_use]
    pub fn error(mut self) -> Finding {
        self.level = Level::Error;
        self
    }

    /// Says how long it has lasted when it is found.
    #[must_use]
    pub fn lasting(mut self, lasting: Duration) -> Finding {
        self.lasting = lasting;
        self
    }

    /// Makes it a reason for [`stuck`]: work that many depend on stands still.
    #[must_use]
    pub fn blocking(mut self) -> Finding {
        self.blocks = true;
        self
    }

    /// Names a thread whose stack explains it, by the kernel's id.
    #[must_use]
    pub fn thread(mut self, thread: Option<u32>) -> Finding {
        self.threads.extend(thread);
        self
    }
}

/// Has a question asked every second, on a thread that asks such questions and nothing else. It should not wait: one
/// that does holds up the others, and the watchdog says so. A check that is registered again under its name replaces
/// the one before.
pub fn check(name: &'static str, question: impl Fn() -> Vec<Finding> + Send + Sync + 'static) {
    let mut checks = CHECKS.lock();
    let trips = match checks.iter().position(|check| check.name == name) {
        Some(known) => checks.remove(known).trips.load(Ordering::Relaxed),
        None => 0,
    };
    checks.push(Arc::new(Check {
        name,
        trips: AtomicU64::new(trips),
        question: Box::new(question),
    }));
}

/// How often each check has tripped.
pub fn trips() -> Vec<(&'static str, u64)> {
    let own = OWN.iter().zip(&OWN_TRIPS);
    let mut trips: Vec<_> = own
        .map(|(name, trips)| (*name, trips.load(Ordering::Relaxed)))
        .collect();
    let checks = registered();
    trips.extend(
        checks
            .iter()
            .map(|check| (check.name, check.trips.load(Ordering::Relaxed))),
    );
    trips
}

/// What has been stuck for more than 10 s, by name; for `/readyz`. Takes no lock.
pub fn stuck() -> Option<String> {
    let status = STATUS.load();
    let status = status.as_ref()?;
    let age = status.time.elapsed();
    if age > OWN_LIMIT {
        return Some(format!("the watchdog has not looked for {} s", age.as_secs()));
    }
    status.stuck.clone()
}

/// How late the beat of the runtime was, each 100 ms.
pub fn heartbeat() -> &'static Histogram {
    &heart::LATENESS
}

/// The running watchdog; dropping it ends it.
#[derive(Debug)]
#[must_use = "the watchdog ends when this is dropped"]
pub struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Thread,
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

/// Starts it, with a task on the runtime that beats every 100 ms. There should be one in a program.
///
/// # Errors
///
/// The system gives no thread.
pub fn start(runtime: &tokio::runtime::Handle, limits: Limits) -> io::Result<Watchdog> {
    let answers = Answers::default();
    let mut rounds = Rounds::new(limits, heart::start(runtime), Arc::clone(&answers));
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, asking_stopped) = (Arc::clone(&stop), Arc::clone(&stop));
    let asking = thread::spawn("watchdog-checks", move || {
        let pulse = pulse("watchdog", "checks", OWN_LIMIT / 3);
        while !asking_stopped.load(Ordering::Relaxed) {
            pulse.beat();
            ask(&answers);
            // This thread has the time, and it is there whoever asked for names: a profile, a page, the watchdog.
            profile::symbols::forget_idle(NAMES_KEPT);
            pulse.rest();
            std::thread::park_timeout(EVERY);
        }
    })?;
    let (give, take) = std::sync::mpsc::channel();
    thread::spawn("watchdog", move || {
        // The other side waits for it.
        let _ = give.send(std::thread::current());
        let mut next = Instant::now();
        while !stopped.load(Ordering::Relaxed) {
            lock::turn_clock();
            let now = Instant::now();
            if now >= next {
                next = now + EVERY;
                rounds.look(now);
            }
            std::thread::park_timeout(TICK);
        }
        STATUS.store(None);
        asking.thread().unpark();
    })?;
    let thread = take.recv().map_err(io::Error::other)?;
    Ok(Watchdog { stop, thread })
}

/// The checks that are always there.
const OWN: [&str; 4] = ["runtime", "poll", "pulse", "lock"];
static OWN_TRIPS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
const RUNTIME: &str = OWN[0];
const POLL: &str = OWN[1];
const PULSE: &str = OWN[2];
const LOCK: &str = OWN[3];

struct Check {
    name: &'static str,
    trips: AtomicU64,
    question: Box<dyn Fn() -> Vec<Finding> + Send + Sync>,
}

/// The lock is held to add a check or to copy the references.
#[allow(clippy::disallowed_types, reason = "the named locks are watched from here")]
static CHECKS: parking_lot::Mutex<Vec<Arc<Check>>> = parking_lot::Mutex::new(Vec::new());

fn registered() -> Vec<Arc<Check>> {
    CHECKS
        .try_lock_for(Duration::from_millis(50))
        .map(|checks| checks.clone())
        .unwrap_or_default()
}

struct Status {
    time: Instant,
    stuck: Option<String>,
}

static STATUS: ArcSwapOption<Status> = ArcSwapOption::const_empty();

/// What the registered checks found last. They are asked on a thread of their own: one that hangs with what it looks
/// at must not keep the watchdog from saying so.
type Answers = Arc<ArcSwap<Vec<(&'static str, Finding)>>>;

/// Asks the registered checks.
fn ask(answers: &Answers) {
    let mut findings = Vec::new();
    for check in registered() {
        let found = task::guard("watchdog-check", check.name, &check.question).unwrap_or_default();
        findings.extend(found.into_iter().map(|finding| (check.name, finding)));
    }
    answers.store(Arc::new(findings));
}

/// What the thread does every second.
struct Rounds {
    limits: Limits,
    heart: Arc<Heart>,
    answers: Answers,
    ledger: Ledger,
}

impl Rounds {
    fn new(limits: Limits, heart: Arc<Heart>, answers: Answers) -> Rounds {
        Rounds {
            limits,
            heart,
            answers,
            ledger: Ledger::default(),
        }
    }

    fn look(&mut self, now: Instant) {
        let checks = registered();
        let mut findings = self.own_findings(now);
        findings.extend(self.answers.load().iter().cloned());
        let changes = self.ledger.compare(now, bounded(findings));
        let tripped = changes.iter().any(|change| matches!(change, Change::Tripped(..)));
        tell(&changes, &checks);
        STATUS.store(Some(Arc::new(Status {
            time: now,
            stuck: self.ledger.stuck(now, self.limits.ready),
        })));
        if tripped {
            crate::record::write_now("watchdog");
        }
    }

    fn own_findings(&self, now: Instant) -> Vec<(&'static str, Finding)> {
        let overdue = task::overdue(self.limits.poll);
        let mut findings = Vec::new();
        if let Some(silent) = self
            .heart
            .silent()
            .filter(|silent| *silent >= self.limits.runtime)
        {
            // Whoever holds the workers is worth naming before the limit of a single poll.
            let culprits = task::overdue(Duration::from_millis(250).min(self.limits.runtime));
            let names: Vec<_> = culprits.iter().take(MOST).map(task_name).collect();
            let problem = format!("no task was run for {silent:.1?}; running: {}", names.join(", "));
            let mut finding = Finding::new("main runtime", problem)
                .error()
                .blocking()
                .lasting(silent);
            finding.threads = culprits.iter().filter_map(|task| task.thread).take(2).collect();
            findings.push((RUNTIME, finding));
        }
        for task in overdue {
            let problem = format!("holds its worker for {:.1?} without an await", task.running);
            let finding = Finding::new(task_name(&task), problem).error().blocking();
            findings.push((POLL, finding.lasting(task.running).thread(task.thread)));
        }
        for (subject, silent, thread) in pulse::overdue(now) {
            let problem = format!("has not come round for {silent:.1?}");
            let finding = Finding::new(subject, problem).error().blocking();
            findings.push((PULSE, finding.lasting(silent).thread(thread)));
        }
        for held in lock::held_locks(self.limits.lock) {
            findings.push((LOCK, held_finding(&held)));
        }
        findings
    }
}

fn task_name(task: &Overdue) -> String {
    let subject = task
        .subject
        .as_ref()
        .map(|subject| format!(" {subject}"))
        .unwrap_or_default();
    format!("task {} {}{subject}", task.id, task.name)
}

fn held_finding(held: &lock::HeldLock) -> Finding {
    let first = &held.waiters[0];
    let name = |id: u64, name: Option<&'static str>| match name {
        Some(name) => format!("{id} {name}"),
        None => "an unnamed thread".to_owned(),
    };
    let holder = held.holder.as_ref().map_or_else(
        || "nobody that is known".to_owned(),
        |holder| {
            let since = holder
                .held
                .map(|held| format!(" for {held:.1?}"))
                .unwrap_or_default();
            let manner = if holder.reads { " (reading)" } else { "" };
            format!("{}{manner} at {}{since}", name(holder.id, holder.name), holder.at)
        },
    );
    let waiter = name(first.waiter, first.waiter_name);
    let problem = format!(
        "held by {holder}; {} wait, the first is {waiter} at {} for {:.1?}",
        held.waiters.len(),
        first.at,
        first.waiting
    );
    let culprit = held.holder.as_ref().and_then(|holder| holder.thread);
    Finding::new(format!("lock {}", held.name), problem)
        .error()
        .blocking()
        .lasting(first.waiting)
        .thread(culprit)
        .thread(first.thread)
}

/// At most so many of each check, the longest first.
fn bounded(mut findings: Vec<(&'static str, Finding)>) -> Vec<(&'static str, Finding)> {
    findings.sort_by(|a, b| a.0.cmp(b.0).then(b.1.lasting.cmp(&a.1.lasting)));
    let mut seen = ("", 0);
    findings.retain(|(check, _)| {
        seen = if seen.0 == *check {
            (seen.0, seen.1 + 1)
        } else {
            (check, 1)
        };
        seen.1 <= MOST
    });
    findings
}

fn tell(changes: &[Change], checks: &[Arc<Check>]) {
    let threads: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Tripped(_, finding) => Some(&finding.threads),
            Change::Recovered { .. } => None,
        })
        .flatten()
        .copied()
        .collect();
    let stacks = stacks::of(&threads);
    for change in changes {
        match change {
            Change::Tripped(check, finding) => {
                count(check, checks);
                let stack = finding.threads.iter().find_map(|thread| stacks.get(thread));
                let (subject, problem, stack) =
                    (&*finding.subject, &*finding.problem, stack.map(|text| &**text));
                if finding.level >= Level::Error {
                    crate::emit(WatchdogTripped {
                        check,
                        subject,
                        problem,
                        stack,
                    });
                } else {
                    crate::emit(WatchdogWarned {
                        check,
                        subject,
                        problem,
                        stack,
                    });
                }
            }
            Change::Recovered {
                check,
                subject,
                after,
            } => crate::emit(WatchdogRecovered {
                check,
                subject,
                after: *after,
            }),
        }
    }
}

fn count(name: &str, checks: &[Arc<Check>]) {
    let own = OWN.iter().position(|own| *own == name).map(|own| &OWN_TRIPS[own]);
    let registered = || {
        checks
            .iter()
            .find(|check| check.name == name)
            .map(|check| &check.trips)
    };
    if let Some(trips) = own.or_else(registered) {
        trips.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
