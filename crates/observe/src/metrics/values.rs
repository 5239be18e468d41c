//! The values that are counted: a counter, a gauge, a histogram.
//!
//! Contract: every operation is wait-free; reading never disturbs counting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets that a histogram may have at most, the one without a bound included.
pub(crate) const MOST_BUCKETS: usize = 20;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Starts at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds to it.
    pub fn add(&self, count: u64) {
        if crate::ENABLED {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Starts at 0.
    #[must_use]
    pub const fn new() -> Self {
        // All bits zero is the number 0.0.
        Self(AtomicU64::new(0))
    }

    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds to it; a negative number takes away.
    pub fn add(&self, change: f64) {
        let more = |bits| Some((f64::from_bits(bits) + change).to_bits());
        // The closure always gives a value, so this cannot fail.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Counts values by size, in classic buckets. Values are whole numbers (nanoseconds, bytes); `scale` of them make
/// one of the unit that is exposed.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds in the exposed unit, rising.
    bounds: &'static [f64],
    /// Raw values per exposed unit: 1e9 for durations, 1 for bytes.
    scale: f64,
    /// One per bound and one for what is above all.
    buckets: [AtomicU64; MOST_BUCKETS],
    /// Sum of the raw values.
    sum: AtomicU64,
}

impl Histogram {
    /// Durations, exposed in seconds.
    #[must_use]
    pub const fn seconds(bounds: &'static [f64]) -> Self {
        Self::scaled(bounds, 1e9)
    }

    /// Whole numbers as they are.
    #[must_use]
    pub const fn plain(bounds: &'static [f64]) -> Self {
        Self::scaled(bounds, 1.0)
    }

    const fn scaled(bounds: &'static [f64], scale: f64) -> Self {
        assert!(bounds.len() < MOST_BUCKETS, "too many buckets");
        Self {
            bounds,
            scale,
            buckets: [const { AtomicU64::new(0) }; MOST_BUCKETS],
            sum: AtomicU64::new(0),
        }
    }

    /// Counts one duration.
    pub fn observe_duration(&self, value: Duration) {
        self.observe_durations(value, 1);
    }

    /// Counts `times` equal durations at the price of one.
    pub fn observe_durations(&self, value: Duration, times: u64) {
        self.observe_many(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX), times);
    }

    /// Counts one raw value.
    pub fn observe(&self, value: u64) {
        self.observe_many(value, 1);
    }

    /// Counts `times` equal raw values at the price of one.
    pub fn observe_many(&self, value: u64, times: u64) {
        if !crate::ENABLED || times == 0 {
            return;
        }
        #[allow(clippy::cast_precision_loss, reason = "a bucket's edge is no exact science")]
        let exposed = value as f64 / self.scale;
        let bucket = self.bounds.partition_point(|bound| *bound < exposed);
        self.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Ordering::Relaxed);
    }

    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let used = self.bounds.len() + 1;
        let counts = self.buckets[..used]
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        #[allow(clippy::cast_precision_loss, reason = "sums of seconds are not exact either")]
        let sum = self.sum.load(Ordering::Relaxed) as f64 / self.scale;
        Snapshot {
            bounds: self.bounds,
            counts,
            sum,
        }
    }
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Upper bounds, rising; one more count than bounds.
    pub bounds: &'static [f64],
    /// Values per bucket, not cumulated.
    pub counts: Vec<u64>,
    /// Sum of all values in the exposed unit.
    pub sum: f64,
}

impl Snapshot {
    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The value below which the share `q` of all values lies, such as 0.99; the position within a bucket is
    /// interpolated, as Prometheus does it. Values beyond the last bound count as that bound. NaN if there is none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        let count = self.count();
        if count == 0 || q.is_nan() {
            return f64::NAN;
        }
        #[allow(clippy::cast_precision_loss, reason = "a quantile is no exact science")]
        let rank = q.clamp(0.0, 1.0) * count as f64;
        let mut below = 0.0;
        let mut lower = 0.0;
        for (&upper, &bucket) in self.bounds.iter().zip(&self.counts) {
            #[allow(clippy::cast_precision_loss, reason = "a quantile is no exact science")]
            let bucket = bucket as f64;
            if bucket > 0.0 && below + bucket >= rank {
                // The first bucket has no lower bound but 0, unless it is itself below that.
                let lower = f64::min(lower, upper);
                return lower + (upper - lower) * ((rank - below) / bucket);
            }
            below += bucket;
            lower = upper;
        }
        self.bounds.last().copied().unwrap_or(f64::NAN)
    }

    /// Adds the values of another histogram with the same bounds.
    pub fn merge(&mut self, other: &Snapshot) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_among_threads() {
        const THREADS: u64 = 8;
        const TIMES: u64 = 20_000;
        let (counter, gauge) = (Counter::new(), Gauge::new());
        let histogram = Histogram::plain(&[1.0, 2.0, 4.0]);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for number in 0..TIMES {
                        counter.inc();
                        gauge.add(if number % 2 == 0 { 2.0 } else { -1.0 });
                        histogram.observe(number % 5);
                    }
                });
            }
        });
        assert_eq!(counter.get(), THREADS * TIMES);
        #[allow(clippy::cast_precision_loss, reason = "the number is small")]
        let half = (THREADS * TIMES / 2) as f64;
        assert!((gauge.get() - half).abs() < f64::EPSILON);
        let fifth = THREADS * TIMES / 5;
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts, [2 * fifth, fifth, 2 * fifth, 0]);
        assert_eq!(snapshot.count(), THREADS * TIMES);
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::seconds(&[0.1, 1.0]);
        for millis in [0, 100, 101, 1000, 1001] {
            histogram.observe_duration(Duration::from_millis(millis));
        }
        histogram.observe_durations(Duration::MAX, 0);
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.counts, [2, 2, 1]);
        assert!((snapshot.sum - 2.202).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_interpolated() {
        let snapshot = |counts: &[u64]| Snapshot {
            bounds: &[1.0, 2.0, 4.0],
            counts: counts.to_vec(),
            sum: 0.0,
        };
        for (counts, q, expected) in [
            ([4, 0, 0, 0], 0.5, 0.5),
            ([2, 2, 0, 0], 0.5, 1.0),
            ([2, 2, 0, 0], 0.75, 1.5),
            ([0, 0, 4, 0], 0.25, 2.5),
            ([0, 0, 4, 0], 0.0, 2.0),
            ([0, 0, 4, 0], 1.0, 4.0),
            ([1, 0, 0, 9], 0.99, 4.0),
            ([1, 0, 0, 0], 7.0, 1.0),
        ] {
            let found = snapshot(&counts).quantile(q);
            assert!((found - expected).abs() < 1e-9, "{counts:?} {q}: {found}");
        }
        assert!(snapshot(&[0; 4]).quantile(0.5).is_nan() && snapshot(&[1; 4]).quantile(f64::NAN).is_nan());
    }

    #[test]
    fn snapshots_add_up() {
        let histogram = Histogram::plain(&[1.0]);
        histogram.observe_many(1, 3);
        let mut sum = histogram.snapshot();
        histogram.observe(5);
        sum.merge(&histogram.snapshot());
        assert_eq!((sum.counts, sum.sum), (vec![6, 1], 11.0));
    }
}
