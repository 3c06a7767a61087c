//! Counters of a store's process since it started. They follow the wall clock, because Prometheus does.

use crate::world::Nanos;
use crate::world::store::StoreFaults;

/// Latency distribution: (share of requests, latency as a fraction of the slowest). The 99th percentile is about 0.9 of it.
const SPREAD: [(f64, f64); 3] = [(0.5, 0.125), (0.45, 0.25), (0.05, 1.0)];
/// Buckets of request histograms: from 50 µs, doubling.
pub(crate) const REQUEST_BUCKETS: usize = 22;
/// Buckets of entry histograms: from 2, doubling.
pub(crate) const LAG_BUCKETS: usize = 14;
/// How often each leader's store samples the log lag of a region. Per second.
const LAG_SAMPLES: f64 = 10.0;

/// A histogram whose bucket bounds double.
#[derive(Debug, Clone)]
pub(crate) struct Doubling {
    first: f64,
    counts: Vec<f64>,
    pub(crate) sum: f64,
}

impl Doubling {
    fn new(first: f64, buckets: usize) -> Self {
        Self {
            first,
            counts: vec![0.0; buckets + 1],
            sum: 0.0,
        }
    }

    fn observe(&mut self, value: f64, times: f64) {
        let bounds = std::iter::successors(Some(self.first), |bound| Some(bound * 2.0));
        let last = self.counts.len() - 1;
        let place = bounds.take(last).position(|bound| value <= bound);
        self.counts[place.unwrap_or(last)] += times;
        self.sum += value * times;
    }

    /// The bucket bounds with their cumulative counts.
    pub(crate) fn buckets(&self) -> Vec<(f64, f64)> {
        let mut accumulated = 0.0;
        let mut bound = self.first;
        let last = self.counts.len() - 1;
        let counts = self.counts.iter().enumerate();
        counts
            .map(|(place, count)| {
                accumulated += count;
                let here = if place == last { f64::INFINITY } else { bound };
                bound *= 2.0;
                (here, accumulated)
            })
            .collect()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Meter {
    pub(crate) started: Nanos,
    counted_to: Nanos,
    pub(crate) requests: f64,
    pub(crate) refused: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) latency: Doubling,
    pub(crate) lag: Doubling,
}

impl Meter {
    /// Both times are wall-clock times.
    pub(crate) fn new(started: Nanos, now: Nanos) -> Self {
        Self {
            started,
            counted_to: now,
            requests: 0.0,
            refused: 0.0,
            cpu_seconds: 0.0,
            latency: Doubling::new(0.000_05, REQUEST_BUCKETS),
            lag: Doubling::new(2.0, LAG_BUCKETS),
        }
    }

    /// Counts up to this time, at this number of requests per second.
    pub(crate) fn count(&mut self, now: Nanos, per_second: f64, ails: &StoreFaults) {
        #[expect(clippy::cast_precision_loss, reason = "seconds between two scrapes")]
        let seconds = ((now - self.counted_to) as f64 / 1e9).max(0.0);
        self.counted_to = now;
        let requests = per_second * seconds;
        self.requests += requests;
        self.refused += ails.busy_per_second * seconds;
        self.cpu_seconds += seconds * (0.05 + per_second / 20_000.0);
        for (share, part) in SPREAD {
            // Puts the 99th percentile at the requested latency.
            let slowest = ails.latency_ms / 1e3 / 0.9;
            self.latency.observe(slowest * part, requests * share);
        }
        self.lag.observe(ails.raft_lag, LAG_SAMPLES * seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_accumulate_to_everything() {
        let mut meter = Meter::new(0, 0);
        meter.count(10_000_000_000, 100.0, &StoreFaults::default());
        let buckets = meter.latency.buckets();
        assert_eq!(buckets.len(), REQUEST_BUCKETS + 1);
        let (bound, all) = *buckets.last().unwrap();
        assert!(bound.is_infinite() && (all - 1_000.0).abs() < 1e-6);
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    }

    #[test]
    fn a_slow_store_has_its_slow_requests_in_the_bucket_of_its_latency() {
        let slow = StoreFaults {
            latency_ms: 300.0,
            ..StoreFaults::default()
        };
        let mut meter = Meter::new(0, 0);
        meter.count(1_000_000_000, 100.0, &slow);
        let buckets = meter.latency.buckets();
        let below: f64 = buckets
            .iter()
            .filter(|(bound, _)| *bound < 0.2)
            .map(|it| it.1)
            .fold(0.0, f64::max);
        assert!((below - 95.0).abs() < 1e-6, "{below}");
    }
}
