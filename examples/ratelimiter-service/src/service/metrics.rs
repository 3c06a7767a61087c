//! The metrics of `/metrics`, and recent Redis latencies.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry,
    TextEncoder,
};

use super::reason::Reason;
use super::recent::{RecentTotals, RecentWindow};
use super::registry::NodeState;

/// From 50 µs, a local Redis's latency, to one second, by which clients have timed out.
const BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25,
    0.5, 0.75, 1.0,
];

/// All metrics of one node, each labelled with its `node_id`.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) allowed: IntCounter,
    pub(crate) blocked: IntCounter,
    pub(crate) false_blocks: IntCounter,
    /// Checks that arrived and were valid, whatever became of them.
    pub(crate) checks: IntCounter,
    checks_failed: IntCounterVec,
    pub(crate) check_duration: Histogram,
    redis_latency: Histogram,
    redis_operations: IntCounterVec,
    active_counters: Gauge,
    node_state: GaugeVec,
    redis_recent: Mutex<RecentWindow>,
}

impl Metrics {
    /// # Errors
    /// Only if two metrics have the same name, which a test covers.
    pub(crate) fn new(node_id: &str) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(name, help).const_label("node_id", node_id);
        let registry = Registry::new();
        let checked = IntCounterVec::new(
            opts("ratelimiter_requests_checked_total", "Checks answered."),
            &["result"],
        )?;
        let check = opts(
            "ratelimiter_check_duration_seconds",
            "From a check's arrival to its answer.",
        );
        let redis = opts(
            "ratelimiter_redis_latency_seconds",
            "Round trips to Redis, those that ran into their timeout included.",
        );
        let up = Gauge::with_opts(opts("ratelimiter_node_up", "1 while the node runs."))?;
        up.set(1.0);
        let metrics = Self {
            allowed: checked.with_label_values(&["allowed"]),
            blocked: checked.with_label_values(&["blocked"]),
            false_blocks: IntCounter::with_opts(opts(
                "ratelimiter_false_blocks_total",
                "Checks refused from memory that Redis, asked again, may have had room for.",
            ))?,
            checks: IntCounter::with_opts(opts(
                "ratelimiter_checks_total",
                "Valid checks, those that Redis did not decide included.",
            ))?,
            checks_failed: IntCounterVec::new(
                opts(
                    "ratelimiter_checks_failed_total",
                    "Checks that Redis did not decide, denied or allowed without it.",
                ),
                &["reason"],
            )?,
            check_duration: Histogram::with_opts(buckets(check))?,
            redis_latency: Histogram::with_opts(buckets(redis))?,
            redis_operations: IntCounterVec::new(
                opts(
                    "ratelimiter_redis_operations_total",
                    "Round trips to Redis.",
                ),
                &["operation"],
            )?,
            active_counters: Gauge::with_opts(opts(
                "ratelimiter_active_counters",
                "Keys of which this node allowed a request in their window.",
            ))?,
            node_state: GaugeVec::new(
                opts("ratelimiter_node_state", "1 for the state the node is in."),
                &["state"],
            )?,
            redis_recent: Mutex::new(RecentWindow::new()),
            registry,
        };
        // All series exist from the start, so that the first failures are an increase too.
        for reason in Reason::ALL {
            let _series = metrics.checks_failed.with_label_values(&[reason.name()]);
        }
        metrics.register([Box::new(checked), Box::new(up)])?;
        Ok(metrics)
    }

    fn register(&self, others: [Box<dyn Collector>; 2]) -> prometheus::Result<()> {
        let own: [Box<dyn Collector>; 8] = [
            Box::new(self.checks.clone()),
            Box::new(self.checks_failed.clone()),
            Box::new(self.false_blocks.clone()),
            Box::new(self.check_duration.clone()),
            Box::new(self.redis_latency.clone()),
            Box::new(self.redis_operations.clone()),
            Box::new(self.active_counters.clone()),
            Box::new(self.node_state.clone()),
        ];
        own.into_iter()
            .chain(others)
            .try_for_each(|metric| self.registry.register(metric))
    }

    pub(crate) fn check_failed(&self, reason: Reason) {
        let failed = self.checks_failed.with_label_values(&[reason.name()]);
        failed.inc();
    }

    pub(crate) fn redis_operation(&self, operation: &str, took: Duration) {
        self.redis_operations.with_label_values(&[operation]).inc();
        self.redis_latency.observe(took.as_secs_f64());
        let mut recent = self
            .redis_recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        recent.record(true, took);
    }

    /// The median of the last ten seconds' round trips, in ms.
    pub(crate) fn redis_latency_ms(&self) -> Option<f64> {
        let mut recent = RecentTotals::new();
        self.redis_recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add_to(&mut recent);
        recent.quantile_ms(0.5)
    }

    /// The Prometheus text, with the gauges set to current values.
    pub(crate) fn render(&self, active_keys: f64, state: NodeState) -> prometheus::Result<String> {
        self.active_counters.set(active_keys);
        for each in NodeState::ALL {
            let is_it = f64::from(u8::from(each == state));
            self.node_state.with_label_values(&[each.name()]).set(is_it);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn buckets(common: Opts) -> HistogramOpts {
    HistogramOpts {
        common_opts: common,
        buckets: BUCKETS.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_name_and_its_node() {
        let metrics = Metrics::new("n7").unwrap();
        metrics.allowed.inc();
        metrics.check_duration.observe(0.002);
        metrics.redis_operation("check", Duration::from_micros(80));
        metrics.checks.inc();
        metrics.check_failed(Reason::ReadOnly);
        let text = metrics.render(3.0, NodeState::Draining).unwrap();
        for line in [
            r#"ratelimiter_requests_checked_total{node_id="n7",result="allowed"} 1"#,
            r#"ratelimiter_requests_checked_total{node_id="n7",result="blocked"} 0"#,
            r#"ratelimiter_false_blocks_total{node_id="n7"} 0"#,
            r#"ratelimiter_checks_total{node_id="n7"} 1"#,
            r#"ratelimiter_checks_failed_total{node_id="n7",reason="read_only"} 1"#,
            r#"ratelimiter_checks_failed_total{node_id="n7",reason="timeout"} 0"#,
            r#"ratelimiter_check_duration_seconds_bucket{node_id="n7",le="0.0025"} 1"#,
            r#"ratelimiter_redis_latency_seconds_count{node_id="n7"} 1"#,
            r#"ratelimiter_redis_operations_total{node_id="n7",operation="check"} 1"#,
            r#"ratelimiter_active_counters{node_id="n7"} 3"#,
            r#"ratelimiter_node_up{node_id="n7"} 1"#,
            r#"ratelimiter_node_state{node_id="n7",state="draining"} 1"#,
            r#"ratelimiter_node_state{node_id="n7",state="healthy"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
