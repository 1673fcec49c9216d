//! A histogram that is counted without a lock, and that can be asked for quantiles.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Durations by buckets.
#[derive(Debug)]
pub(super) struct Histogram {
    /// Upper bounds in seconds, rising.
    bounds: &'static [f64],
    /// One for each bound, and one for what lies above the last.
    counts: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Histogram {
        Histogram { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), nanoseconds: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The duration below which this share (0 to 1) of the observations lies, estimated: within a bucket they are taken as spread evenly. None
    /// before the first one; above the last bound, the last bound.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let counts: Vec<f64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed) as f64).collect();
        let total: f64 = counts.iter().sum();
        let rank = share * total;
        let mut below = 0.0;
        for (bucket, count) in counts.iter().enumerate() {
            if *count > 0.0 && below + count >= rank {
                let from = bucket.checked_sub(1).map_or(0.0, |before| self.bounds[before]);
                let Some(to) = self.bounds.get(bucket) else { return Some(Duration::from_secs_f64(from)) };
                return Some(Duration::from_secs_f64(from + (to - from) * ((rank - below) / count).clamp(0.0, 1.0)));
            }
            below += count;
        }
        None
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.bounds.iter().copied().chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
