//! A histogram of durations or counts with a relative error below two per cent.
//! Contract: two histograms of different processes add up exactly, so their quantiles are those of the union.

use serde::{Deserialize, Serialize};

/// Values below this are exact; above, each power of two has this many buckets.
const STEPS: u64 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Counts by logarithmic bucket.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Sparse", into = "Sparse")]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

/// The form on the wire: bucket and count of each bucket in use.
#[derive(Serialize, Deserialize)]
struct Sparse(Vec<(usize, u64)>);

impl Histogram {
    /// Adds one value.
    pub(crate) fn add(&mut self, value: u64) {
        self.add_many(bucket(value), 1);
    }

    /// Adds all values of another histogram.
    pub(crate) fn absorb(&mut self, other: &Histogram) {
        for (index, &count) in other.counts.iter().enumerate() {
            if count > 0 {
                self.add_many(index, count);
            }
        }
    }

    /// How many values there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The value that the given share of all values does not exceed; nothing when empty.
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        if self.total == 0 {
            return None;
        }
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(middle(index));
            }
        }
        None
    }

    fn add_many(&mut self, index: usize, count: u64) {
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += count;
        self.total += count;
    }
}

impl From<Sparse> for Histogram {
    fn from(sparse: Sparse) -> Histogram {
        let mut histogram = Histogram::default();
        let last = bucket(u64::MAX);
        for (index, count) in sparse.0 {
            histogram.add_many(index.min(last), count);
        }
        histogram
    }
}

impl From<Histogram> for Sparse {
    fn from(histogram: Histogram) -> Sparse {
        Sparse(
            histogram
                .counts
                .into_iter()
                .enumerate()
                .filter(|&(_, count)| count > 0)
                .collect(),
        )
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let power = value.ilog2();
    let step = (value >> (power - STEP_BITS)) & (STEPS - 1);
    ((u64::from(power - STEP_BITS) + 1) * STEPS + step) as usize
}

fn middle(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let low = (STEPS + index % STEPS) << shift;
    low + ((1u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, middle};

    #[test]
    fn a_bucket_stands_for_its_values_within_two_per_cent() {
        for value in [
            0,
            1,
            63,
            64,
            65,
            127,
            128,
            1_000,
            999_999,
            123_456_789_012,
            u64::MAX / 3,
            u64::MAX,
        ] {
            let error = middle(bucket(value)).abs_diff(value) as f64;
            assert!(
                error <= value as f64 * 0.02,
                "{value} became {}",
                middle(bucket(value))
            );
        }
    }

    #[test]
    fn quantiles_of_a_union_and_after_the_wire() {
        let (mut low, mut high) = (Histogram::default(), Histogram::default());
        (1..=50).for_each(|value| low.add(value));
        (51..=100).for_each(|value| high.add(value));
        low.absorb(&high);
        let wire = serde_json::to_string(&low).unwrap();
        let back: Histogram = serde_json::from_str(&wire).unwrap();
        assert_eq!(back.total(), 100);
        assert_eq!(back.quantile(0.5), Some(50));
        assert_eq!(back.quantile(0.99), Some(middle(bucket(99))));
        assert_eq!(back.quantile(0.0), Some(1));
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
