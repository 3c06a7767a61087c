//! Counts of replies, their latencies, and the summary of a run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::Reply;
use super::schedule::float;

/// One minute in µs; slower replies are recorded as this value.
const MAX_MICROS: u64 = 60_000_000;

/// Counters that all connections increment and the progress line reads.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    allowed: AtomicU64,
    blocked: AtomicU64,
    degraded: AtomicU64,
    unavailable: AtomicU64,
    unexpected: AtomicU64,
    unanswered: AtomicU64,
}

impl Counts {
    /// `None` means that no reply arrived.
    pub(crate) fn add(&self, answer: Option<Reply>) {
        let count = match answer {
            Some(Reply::Allowed) => &self.allowed,
            Some(Reply::Blocked) => &self.blocked,
            Some(Reply::Degraded) => &self.degraded,
            Some(Reply::Unavailable) => &self.unavailable,
            Some(Reply::Unexpected) => &self.unexpected,
            None => &self.unanswered,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> ReplyCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let degraded = read(&self.degraded);
        ReplyCounts {
            allowed: read(&self.allowed) + degraded,
            blocked: read(&self.blocked),
            degraded,
            unavailable: read(&self.unavailable),
            unexpected: read(&self.unexpected),
            unanswered: read(&self.unanswered),
        }
    }
}

/// How many checks had each kind of reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ReplyCounts {
    pub(crate) allowed: u64,
    pub(crate) blocked: u64,
    /// The subset of `allowed` that was allowed without Redis.
    pub(crate) degraded: u64,
    unavailable: u64,
    unexpected: u64,
    unanswered: u64,
}

impl ReplyCounts {
    pub(crate) fn answered(self) -> u64 {
        self.allowed + self.blocked + self.unavailable + self.unexpected
    }

    pub(crate) fn errors(self) -> u64 {
        self.unavailable + self.unexpected + self.unanswered
    }
}

pub(crate) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_MICROS, 3)
        .expect("the bounds and digits are constant and valid")
}

pub(crate) fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).map_or(MAX_MICROS, |micros| micros.clamp(1, MAX_MICROS))
}

/// The result of a run. Latencies are in ms, and null if there was no reply.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    seconds: f64,
    checks_per_second: f64,
    errors: u64,
    #[serde(flatten)]
    pub(crate) answers: ReplyCounts,
    latency_ms: Option<Latency>,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

impl Summary {
    pub(crate) fn new(answers: ReplyCounts, micros: &Histogram<u64>, took: Duration) -> Self {
        let ms = |quantile| float(micros.value_at_quantile(quantile)) / 1_000.0;
        let latency = || Latency {
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            p999: ms(0.999),
            max: float(micros.max()) / 1_000.0,
        };
        Self {
            seconds: took.as_secs_f64(),
            checks_per_second: float(answers.answered()) / took.as_secs_f64().max(1e-9),
            errors: answers.errors(),
            answers,
            latency_ms: (!micros.is_empty()).then(latency),
        }
    }

    pub(crate) fn to_text(&self) -> String {
        let ReplyCounts {
            allowed,
            blocked,
            degraded,
            unavailable,
            unexpected,
            unanswered,
        } = self.answers;
        let latency = self.latency_ms.as_ref().map_or_else(
            || "latency   unknown: no reply".to_owned(),
            |Latency { p50, p90, p99, p999, max }| {
                format!("latency   p50 {p50:.3} ms, p90 {p90:.3} ms, p99 {p99:.3} ms, p99.9 {p999:.3} ms, max {max:.3} ms")
            },
        );
        format!(
            "answered  {:.0} checks/s over {:.1} s\nchecks    {allowed} allowed ({degraded} of them without redis), {blocked} blocked\n\
             errors    {} ({unavailable} unavailable, {unexpected} unexpected, {unanswered} unanswered)\n{latency}",
            self.checks_per_second, self.seconds, self.errors
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_degraded_reply_is_an_allowed_one_and_no_reply_an_error() {
        let counts = Counts::default();
        for answer in [
            Some(Reply::Allowed),
            Some(Reply::Degraded),
            Some(Reply::Blocked),
            Some(Reply::Unavailable),
            None,
        ] {
            counts.add(answer);
        }
        let answers = counts.now();
        assert_eq!(
            (answers.allowed, answers.degraded, answers.blocked),
            (2, 1, 1)
        );
        assert_eq!((answers.answered(), answers.errors()), (4, 2));
    }

    #[test]
    fn without_replies_the_latency_is_unknown() {
        let summary = Summary::new(
            ReplyCounts::default(),
            &empty_histogram(),
            Duration::from_secs(1),
        );
        assert!(serde_json::json!(summary)["latency_ms"].is_null());
        assert!(summary.to_text().contains("unknown"));
    }

    #[test]
    fn latencies_are_in_ms() {
        let mut histogram = empty_histogram();
        histogram.saturating_record(micros(Duration::from_millis(20)));
        let summary = Summary::new(ReplyCounts::default(), &histogram, Duration::from_secs(1));
        let max = serde_json::json!(summary)["latency_ms"]["max"]
            .as_f64()
            .unwrap();
        assert!((max - 20.0).abs() < 0.1, "{max}");
    }
}
