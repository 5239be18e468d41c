//! Where processor time goes: samples of every thread while it runs.
//!
//! Contract: one recording at a time; costs nothing while none runs. A thread is interrupted once per tick of the time
//! that it spends on a processor, wherever it is, and goes on after a copy of its stack was taken; one that sleeps is
//! not interrupted. Everything else happens on the thread that records.
//!
//! A tick is `1 / hz` seconds of a thread's processor time. Where the kernel's own tick is coarser, one signal stands
//! for several, and they all count. A thread that is younger than [`SURVEY`] may be missed.
//!
//! Five seconds at 99 Hz cost 0.2 % to 0.4 % of a core with two busy threads, most of it on the recording thread, where
//! reading the unwind tables takes 10 ms once (`cargo test --release -p profile --test costs -- --ignored --nocapture`).
//! Each profile says in a comment what it cost: `go tool pprof -comments FILE`.
//!
//! ```no_run
//! let options = profile::cpu::Options { duration: std::time::Duration::from_secs(5), hz: 99 };
//! let profile = profile::cpu::record(options, &|| false)?;
//! std::fs::write("cpu.pb.gz", profile::encode::pprof(&profile))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::Profile;
use std::time::Duration;

/// How often new threads are looked for.
pub const SURVEY: Duration = Duration::from_millis(100);

/// The longest recording.
pub const LONGEST: Duration = Duration::from_secs(600);

/// How to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// For how long; at most [`LONGEST`].
    pub duration: Duration,
    /// How many samples a thread gives per second of its processor time; brought into 1 to 1000.
    pub hz: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(30),
            // Not a divisor of what programs do at regular times.
            hz: 99,
        }
    }
}

/// Why there is no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Another one is being recorded: try again when it has ended.
    #[error("a CPU profile is being recorded already; try again when it has ended")]
    Busy,
    /// This platform has no sampler: do without.
    #[error("CPU profiles are not supported on this platform")]
    Unsupported,
    /// The system, or another part of the program, keeps what the sampler needs: trying again does not help.
    #[error("cannot sample: {0}")]
    Impossible(&'static str),
}

/// Samples every thread. Blocks for the duration, or until `cancelled` says yes, which is asked every ten milliseconds;
/// then the profile holds what there is so far.
///
/// # Errors
/// See [`Refused`].
pub fn record(options: Options, cancelled: &dyn Fn() -> bool) -> Result<Profile, Refused> {
    let options = Options {
        duration: options.duration.min(LONGEST),
        hz: options.hz.clamp(1, 1000),
    };
    native::record(options, cancelled)
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod native {
    pub(super) fn record(_: super::Options, _: &dyn Fn() -> bool) -> Result<crate::Profile, super::Refused> {
        Err(super::Refused::Unsupported)
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod native {
    use super::{Options, Refused, SURVEY};
    use crate::linux::signal::{Copied, TICKS, own_processor_time};
    use crate::linux::task;
    use crate::linux::timer::Timer;
    use crate::linux::unwind::Unwinder;
    use crate::{Frame, Profile, Sample, ValueType};
    use std::collections::hash_map::Entry;
    use std::collections::{HashMap, HashSet};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::{Duration, Instant, SystemTime};

    /// How often copies are taken from the slots and the caller is asked whether to go on.
    const DRAIN: Duration = Duration::from_millis(10);

    /// How long a thread's name is believed.
    const BELIEVED: Duration = Duration::from_secs(1);

    /// How long a new thread's name is not believed: it begins with that of its parent and then takes its own.
    const NEW: Duration = Duration::from_millis(200);

    /// Different stacks at most; of those beyond only the innermost frame is kept.
    const STACKS: usize = 50_000;

    static BUSY: AtomicBool = AtomicBool::new(false);

    /// Tells a recording from those before it.
    static TOKEN: AtomicU32 = AtomicU32::new(0);

    struct Ticket;

    impl Ticket {
        fn take() -> Option<Self> {
            (!BUSY.swap(true, Ordering::Acquire)).then_some(Self)
        }
    }

    impl Drop for Ticket {
        fn drop(&mut self) {
            TICKS.close();
            BUSY.store(false, Ordering::Release);
        }
    }

    pub(super) fn record(options: Options, cancelled: &dyn Fn() -> bool) -> Result<Profile, Refused> {
        // Dropped last, after the timers.
        let _ticket = Ticket::take().ok_or(Refused::Busy)?;
        let token = TOKEN.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        TICKS.open(token).map_err(Refused::Impossible)?;
        let (time, begun, own) = (SystemTime::now(), Instant::now(), own_processor_time());
        let period = Duration::from_secs(1) / options.hz;
        let mut tasks = Tasks::new(token, period);
        let mut samples = Samples::new();
        let mut surveyed = None::<Instant>;
        loop {
            if surveyed.is_none_or(|at| at.elapsed() >= SURVEY) {
                tasks.survey();
                surveyed = Some(Instant::now());
            }
            let left = options.duration.saturating_sub(begun.elapsed());
            if left.is_zero() || cancelled() {
                break;
            }
            std::thread::sleep(left.min(DRAIN));
            TICKS.take_all(|copy| samples.add(&copy, &mut tasks));
        }
        let duration = begun.elapsed();
        tasks.timers.clear();
        TICKS.close();
        TICKS.take_all(|copy| samples.add(&copy, &mut tasks));
        let spent = Spent {
            handler: Duration::from_nanos(TICKS.nanoseconds()),
            recorder: own_processor_time().saturating_sub(own),
        };
        let comments = comments(TICKS.take_lost(), &tasks, &samples, spent, duration);
        Ok(samples.into_profile(period, time, duration, comments))
    }

    /// The threads that have timers.
    struct Tasks {
        token: u32,
        period: Duration,
        timers: HashMap<u32, Timer>,
        /// Of ended threads too, as long as their samples may come.
        names: HashMap<u32, Name>,
        /// Threads for which the system gave no timer.
        refused: usize,
    }

    struct Name {
        name: Arc<str>,
        /// When the thread was first seen.
        seen: Instant,
        /// When its name was last read.
        read: Instant,
    }

    impl Name {
        /// Reads a thread's name; if it has ended, what was known before has to do.
        fn read(tid: u32, before: Option<&Self>) -> Self {
            let now = Instant::now();
            Self {
                name: match (task::name(tid), before) {
                    (Some(name), _) => name.into(),
                    (None, Some(before)) => before.name.clone(),
                    (None, None) => "?".into(),
                },
                seen: before.map_or(now, |before| before.seen),
                read: now,
            }
        }

        fn believed(&self) -> bool {
            self.read.elapsed() < BELIEVED && self.read - self.seen > NEW
        }
    }

    impl Tasks {
        fn new(token: u32, period: Duration) -> Self {
            Self {
                token,
                period,
                timers: HashMap::new(),
                names: HashMap::new(),
                refused: 0,
            }
        }

        /// Gives timers to new threads and takes those of ended ones away.
        fn survey(&mut self) {
            let tasks = task::list();
            self.refused = 0;
            for tid in &tasks {
                if let Entry::Vacant(place) = self.timers.entry(*tid) {
                    // Somewhere within a period, so that threads with less work than that are seen as often as they
                    // should be.
                    let first = self
                        .period
                        .mul_f64(fraction(self.token, *tid))
                        .max(Duration::from_micros(1));
                    match Timer::start(*tid, self.token, first, self.period) {
                        Ok(timer) => _ = place.insert(timer),
                        // No such thread (any more); otherwise there are too many timers (RLIMIT_SIGPENDING).
                        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => continue,
                        Err(_) => self.refused += 1,
                    }
                }
                self.names.entry(*tid).or_insert_with(|| Name::read(*tid, None));
            }
            let alive: HashSet<u32> = tasks.into_iter().collect();
            self.timers.retain(|tid, _| alive.contains(tid));
            self.names
                .retain(|tid, name| alive.contains(tid) || name.read.elapsed() < 2 * BELIEVED);
        }

        fn name(&mut self, tid: u32) -> Arc<str> {
            let before = self.names.get(&tid);
            if let Some(before) = before
                && before.believed()
            {
                return before.name.clone();
            }
            let name = Name::read(tid, before);
            let text = name.name.clone();
            self.names.insert(tid, name);
            text
        }
    }

    /// A number between 0 and 1 that differs from thread to thread and from recording to recording.
    fn fraction(token: u32, tid: u32) -> f64 {
        use std::hash::BuildHasher as _;
        let hash = std::hash::RandomState::new().hash_one((token, tid));
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Ticks by thread name and stack.
    struct Samples {
        unwinder: Unwinder,
        ticks: HashMap<(Arc<str>, Vec<u64>), u64>,
        /// Ticks whose stack was cut because there were too many different ones.
        cut: u64,
    }

    impl Samples {
        fn new() -> Self {
            Self {
                unwinder: Unwinder::new(),
                ticks: HashMap::new(),
                cut: 0,
            }
        }

        fn add(&mut self, copy: &Copied<'_>, tasks: &mut Tasks) {
            let mut key = (
                tasks.name(copy.tid),
                self.unwinder.frames(&copy.registers, copy.stack),
            );
            if self.ticks.len() >= STACKS && !self.ticks.contains_key(&key) {
                key.1.truncate(1);
                self.cut += u64::from(copy.weight);
            }
            *self.ticks.entry(key).or_default() += u64::from(copy.weight);
        }

        fn into_profile(
            self,
            period: Duration,
            time: SystemTime,
            duration: Duration,
            comments: Vec<String>,
        ) -> Profile {
            let period = i64::try_from(period.as_nanos()).unwrap_or(i64::MAX);
            let nanoseconds = ValueType {
                kind: "cpu",
                unit: "nanoseconds",
            };
            let count = ValueType {
                kind: "samples",
                unit: "count",
            };
            let samples = self.ticks.into_iter().map(|((name, frames), ticks)| {
                let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
                Sample {
                    stack: frames.into_iter().map(Frame::Address).collect(),
                    values: vec![ticks, ticks.saturating_mul(period)],
                    labels: vec![("thread", name.to_string())],
                }
            });
            Profile {
                value_types: vec![count, nanoseconds],
                default_type: 1,
                period: Some((nanoseconds, period)),
                time,
                duration,
                samples: samples.collect(),
                comments,
            }
        }
    }

    /// What the recording itself took.
    struct Spent {
        handler: Duration,
        recorder: Duration,
    }

    fn comments(
        lost: u64,
        tasks: &Tasks,
        samples: &Samples,
        spent: Spent,
        duration: Duration,
    ) -> Vec<String> {
        let share = |part: Duration| 100.0 * part.as_secs_f64() / duration.as_secs_f64().max(0.001);
        let mut comments = vec![format!(
            "sampling took {:.1} ms of the sampled threads and {:.1} ms of the recording one: {:.2} % of a core",
            spent.handler.as_secs_f64() * 1e3,
            spent.recorder.as_secs_f64() * 1e3,
            share(spent.handler + spent.recorder),
        )];
        if lost > 0 {
            comments.push(format!(
                "{lost} samples were lost because they came faster than they could be unwound"
            ));
        }
        if samples.cut > 0 {
            comments.push(format!(
                "{} samples have no callers because there were too many different stacks",
                samples.cut
            ));
        }
        if tasks.refused > 0 {
            comments.push(format!(
                "{} threads were not sampled: the limit of pending signals (ulimit -i) allows no more timers",
                tasks.refused
            ));
        }
        comments
    }
}
