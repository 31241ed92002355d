//! Durations counted by size: two additions a duration, read at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: from what loopback takes to a gate's timeout.
pub const BOUNDS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// Counts of durations, by [`BOUNDS`].
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one is for what is longer than all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistogramCounts {
    /// Durations in each bucket alone, not in those before it; the last is for what is longer than all bounds.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// All of them together, in microseconds.
    pub sum_micros: u64,
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The counts now. While durations are counted, the sum may be of a few more or fewer of them.
    #[must_use]
    pub fn counts(&self) -> HistogramCounts {
        let buckets = std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed));
        HistogramCounts { buckets, sum_micros: self.sum_micros.load(Ordering::Relaxed) }
    }
}

impl HistogramCounts {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 30_000_000, 30_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let counts = histogram.counts();
        assert_eq!((counts.buckets[0], counts.buckets[1]), (2, 1));
        assert_eq!((counts.buckets[14], counts.buckets[15]), (1, 1));
        assert_eq!((counts.count(), counts.sum_micros), (5, 60_001_002));
    }

    proptest! {
        #[test]
        fn every_duration_is_in_one_bucket_and_no_larger_than_its_bound(all in prop::collection::vec(0..60_000_000_u64, 0..50)) {
            let histogram = Histogram::default();
            for micros in &all {
                histogram.record(Duration::from_micros(*micros));
            }
            let counts = histogram.counts();
            let mut upto = 0;
            for (bound, count) in BOUNDS.iter().zip(counts.buckets) {
                upto += count;
                prop_assert_eq!(upto, all.iter().filter(|micros| *micros <= bound).count() as u64);
            }
            prop_assert_eq!(counts.count(), all.len() as u64);
        }
    }
}
