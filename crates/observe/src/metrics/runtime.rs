//! The workers of the main runtime.
//!
//! Contract: reading them takes no lock that a worker takes, so they can be read while all of them hang.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::runtime::{Handle, RuntimeMetrics};

use super::own::Own;
use super::{Exposition, Kind};

/// A ratio is that of at least this time.
const SHORTEST: Duration = Duration::from_secs(1);

static WATCHED: ArcSwapOption<Watched> = ArcSwapOption::const_empty();

/// Exposes the workers of this runtime from now on.
pub fn watch_runtime(runtime: Handle) {
    WATCHED.store(Some(Arc::new(Watched::new(runtime))));
}

/// Has a runtime measure how long each poll takes, for `runtime_poll_seconds`. Costs two readings of the clock for
/// each poll; does nothing in a build without tokio's unstable interfaces.
pub fn measure_polls(builder: &mut tokio::runtime::Builder) -> &mut tokio::runtime::Builder {
    // A poll that does nothing, on one worker: 275 ns with and 216 ns without.
    // `cargo test -p observe --release -- --ignored --nocapture cost_of_measuring`
    #[cfg(tokio_unstable)]
    {
        use tokio::runtime::{HistogramConfiguration, LogHistogram};
        let buckets = LogHistogram::builder()
            .precision_exact(0)
            .min_value(Duration::from_micros(10))
            .max_value(Duration::from_secs(2))
            .build();
        builder
            .enable_metrics_poll_time_histogram()
            .metrics_poll_time_histogram_configuration(HistogramConfiguration::log(buckets));
    }
    builder
}

/// Writes the families of the watched runtime.
pub(super) fn expose(out: &mut Exposition) {
    if let Some(watched) = &*WATCHED.load() {
        watched.expose(out, Instant::now());
    }
}

struct Watched {
    runtime: Handle,
    workers: Vec<Worker>,
    /// The bounds of the histogram of polls, if the runtime has one.
    #[cfg(tokio_unstable)]
    poll_bounds: Option<&'static [f64]>,
}

struct Worker {
    /// Its number, the value of the label.
    label: String,
    /// What was seen of it; held for one calculation of a scrape.
    #[allow(clippy::disallowed_types, reason = "the named locks are exposed beside this")]
    busy: parking_lot::Mutex<Busy>,
}

impl Watched {
    fn new(runtime: Handle) -> Self {
        let metrics = runtime.metrics();
        let now = Instant::now();
        let worker = |number: usize| Worker {
            label: number.to_string(),
            #[allow(clippy::disallowed_types, reason = "the named locks are exposed beside this")]
            busy: parking_lot::Mutex::new(Busy::new(Seen::of(&metrics, number, now))),
        };
        let workers = (0..metrics.num_workers()).map(worker).collect();
        Self {
            workers,
            #[cfg(tokio_unstable)]
            poll_bounds: poll_bounds(&metrics),
            runtime,
        }
    }

    fn expose(&self, out: &mut Exposition, now: Instant) {
        static WORKERS: Own = Own::new("runtime_workers", Kind::Gauge, "Threads that run async tasks.");
        static BUSY: Own = Own::new(
            "runtime_worker_busy_seconds_total",
            Kind::Counter,
            "Time that a worker spent running tasks. A task that holds its worker counts when it lets go.",
        );
        static RATIO: Own = Own::new(
            "runtime_worker_busy_ratio",
            Kind::Gauge,
            "Share of the time since an earlier scrape that a worker ran tasks; 1 for a worker that is held.",
        );
        static QUEUE: Own = Own::new(
            "runtime_global_queue_depth",
            Kind::Gauge,
            "Tasks that wait for any worker.",
        );
        let metrics = self.runtime.metrics();
        WORKERS.one(out, metrics.num_workers() as u64);
        self.each(out, &BUSY, |number, _| metrics.worker_total_busy_duration(number));
        self.each(out, &RATIO, |number, worker| {
            worker.busy.lock().ratio(Seen::of(&metrics, number, now))
        });
        QUEUE.one(out, metrics.global_queue_depth() as u64);
        #[cfg(tokio_unstable)]
        self.expose_unstable(out, &metrics);
    }

    #[cfg(tokio_unstable)]
    fn expose_unstable(&self, out: &mut Exposition, metrics: &RuntimeMetrics) {
        static STEALS: Own = Own::new(
            "runtime_worker_steals_total",
            Kind::Counter,
            "Tasks that a worker took from another one.",
        );
        static POLLS: Own = Own::new(
            "runtime_worker_polls_total",
            Kind::Counter,
            "Polls of tasks by a worker.",
        );
        static QUEUE: Own = Own::new(
            "runtime_worker_queue_depth",
            Kind::Gauge,
            "Tasks that wait for this worker.",
        );
        static THREADS: Own = Own::new(
            "runtime_blocking_threads",
            Kind::Gauge,
            "Threads for calls that block.",
        );
        static BLOCKING_QUEUE: Own = Own::new(
            "runtime_blocking_queue_depth",
            Kind::Gauge,
            "Calls that wait for such a thread.",
        );
        static POLL_TIME: Own = Own::new(
            "runtime_poll_seconds",
            Kind::Histogram,
            "Duration of polls of tasks. The sum is the workers' busy time.",
        );
        self.each(out, &STEALS, |number, _| metrics.worker_steal_count(number));
        self.each(out, &POLLS, |number, _| metrics.worker_poll_count(number));
        self.each(out, &QUEUE, |number, _| {
            metrics.worker_local_queue_depth(number) as u64
        });
        THREADS.one(out, metrics.num_blocking_threads() as u64);
        BLOCKING_QUEUE.one(out, metrics.blocking_queue_depth() as u64);
        if let Some(bounds) = self.poll_bounds {
            let workers = 0..metrics.num_workers();
            let count = |bucket| {
                let of_worker = |worker| metrics.poll_time_histogram_bucket_count(worker, bucket);
                workers.clone().map(of_worker).sum()
            };
            let busy: Duration = workers
                .clone()
                .map(|worker| metrics.worker_total_busy_duration(worker))
                .sum();
            let snapshot = super::Snapshot {
                bounds,
                counts: (0..=bounds.len()).map(count).collect(),
                sum: busy.as_secs_f64(),
            };
            POLL_TIME.open(out).histogram(&[], &snapshot);
        }
    }

    fn each<N: Into<super::Number>>(
        &self,
        out: &mut Exposition,
        family: &Own,
        value: impl Fn(usize, &Worker) -> N,
    ) {
        let mut family = family.open(out);
        for (number, worker) in self.workers.iter().enumerate() {
            family.sample(&[("worker", &worker.label)], value(number, worker));
        }
    }
}

/// The bounds live as long as the program: a runtime is watched once.
#[cfg(tokio_unstable)]
fn poll_bounds(metrics: &RuntimeMetrics) -> Option<&'static [f64]> {
    let last = metrics.poll_time_histogram_num_buckets().checked_sub(1)?;
    let bound = |bucket| metrics.poll_time_histogram_bucket_range(bucket).end.as_secs_f64();
    let enabled = metrics.poll_time_histogram_enabled();
    enabled.then(|| &*(0..last).map(bound).collect::<Vec<_>>().leak())
}

/// What tokio says of a worker at one moment.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    busy: Duration,
    /// How often it went to sleep or woke up: even while it is awake.
    turns: u64,
}

impl Seen {
    fn of(metrics: &RuntimeMetrics, worker: usize, at: Instant) -> Self {
        Self {
            at,
            busy: metrics.worker_total_busy_duration(worker),
            turns: metrics.worker_park_unpark_count(worker),
        }
    }
}

/// How busy a worker was lately.
#[derive(Debug)]
struct Busy {
    from: Seen,
    /// The ratio of the last full interval.
    last: Option<f64>,
}

impl Busy {
    fn new(seen: Seen) -> Self {
        Self {
            from: seen,
            last: None,
        }
    }

    /// The ratio of the time since a scrape that is at least a second ago.
    fn ratio(&mut self, now: Seen) -> f64 {
        let elapsed = now.at.saturating_duration_since(self.from.at);
        if elapsed < SHORTEST
            && let Some(last) = self.last
        {
            return last;
        }
        // tokio adds up the time when a worker goes to sleep, or after many polls: one that was awake all the time
        // and added nothing is held by a task.
        let awake = now.turns == self.from.turns && now.turns.is_multiple_of(2);
        let busy = now.busy.saturating_sub(self.from.busy);
        let ratio = match (awake && busy.is_zero(), elapsed.is_zero()) {
            (_, true) => 0.0,
            (true, false) => 1.0,
            (false, false) => (busy.as_secs_f64() / elapsed.as_secs_f64()).min(1.0),
        };
        if elapsed >= SHORTEST {
            *self = Self {
                from: now,
                last: Some(ratio),
            };
        }
        ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;

    #[test]
    fn the_busy_ratio_has_a_memory() {
        let start = Instant::now();
        let seen = |millis: u64, busy: u64, turns| Seen {
            at: start + Duration::from_millis(millis),
            busy: Duration::from_millis(busy),
            turns,
        };
        let mut busy = Busy::new(seen(0, 100, 1));
        for (now, expected) in [
            (seen(0, 100, 1), 0.0),
            // Too early, but there is nothing better yet.
            (seen(500, 350, 3), 0.5),
            (seen(2_000, 600, 5), 0.25),
            // Too early: the last ratio holds.
            (seen(2_900, 1_500, 7), 0.25),
            (seen(4_000, 2_600, 8), 1.0),
            // Awake since and nothing added up: held by a task.
            (seen(6_000, 2_600, 8), 1.0),
            // It let go.
            (seen(8_000, 6_600, 9), 1.0),
            (seen(18_000, 6_600, 9), 0.0),
        ] {
            let found = busy.ratio(now);
            assert!((found - expected).abs() < 1e-9, "{now:?}: {found}");
        }
    }

    #[test]
    fn workers_are_exposed_while_all_are_held() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = measure_polls(&mut builder).worker_threads(2).build().unwrap();
        let watched = Watched::new(runtime.handle().clone());
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (began, begun) = std::sync::mpsc::channel();
        let wait = Arc::new(crate::Mutex::new("test-held", wait));
        for _ in 0..2 {
            let (began, wait) = (began.clone(), Arc::clone(&wait));
            crate::task::spawn_on(runtime.handle(), "test-held", (), async move {
                began.send(()).unwrap();
                let _ = wait.lock().recv();
            })
            .detach();
        }
        for _ in 0..2 {
            begun.recv().unwrap();
        }
        let mut out = Exposition::new(Format::Text);
        watched.expose(&mut out, Instant::now());
        // The second look is an hour later by its clock and finds the workers where they were.
        let mut out = Exposition::new(Format::Text);
        for worker in &watched.workers {
            let number = worker.label.parse().unwrap();
            let now = Seen::of(&runtime.metrics(), number, Instant::now());
            *worker.busy.lock() = Busy::new(now);
        }
        watched.expose(&mut out, Instant::now() + Duration::from_secs(3600));
        let text = out.finish();
        let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        has("runtime_workers 2");
        has("runtime_worker_busy_ratio{worker=\"0\"} 1");
        has("runtime_worker_busy_ratio{worker=\"1\"} 1");
        has("runtime_global_queue_depth 0");
        if cfg!(tokio_unstable) {
            has("runtime_worker_queue_depth{worker=\"1\"} 0");
            has("runtime_blocking_queue_depth 0");
            assert!(
                text.contains("runtime_poll_seconds_bucket{le=\"+Inf\"} "),
                "{text}"
            );
        }
        drop(release);
    }

    #[test]
    #[ignore = "measures"]
    fn cost_of_measuring_polls() {
        const TIMES: u32 = 20_000;
        let mut best = [f64::MAX; 2];
        for round in 0..200 {
            let measured = round % 2;
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1);
            if measured == 1 {
                measure_polls(&mut builder);
            }
            let runtime = builder.build().unwrap();
            #[allow(clippy::disallowed_methods, reason = "the bare task is what is measured")]
            let task = runtime.spawn(async {
                let begun = Instant::now();
                for _ in 0..TIMES {
                    tokio::task::yield_now().await;
                }
                begun.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES)
            });
            best[measured] = best[measured].min(runtime.block_on(task).unwrap());
        }
        println!(
            "not measured: {:.0} ns a poll, measured: {:.0} ns",
            best[0], best[1]
        );
    }
}
