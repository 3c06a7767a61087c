//! Queries of Prometheus.

use std::collections::BTreeMap;

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Fault, Prometheus, prometheus::Sample};

const BUCKETS: &str = "rate(ratelimiter_check_duration_seconds_bucket[1m])";
const CHECKS: &str = "rate(ratelimiter_requests_checked_total[1m])";
/// The share of checks that were blocked although their key had room; unknown, unless every node counts them.
const FALSE_BLOCKS: &str = "(100 * sum(rate(ratelimiter_false_blocks_total[1m])) \
     / sum(rate(ratelimiter_requests_checked_total[1m]))) and on () \
     (count(ratelimiter_false_blocks_total) == count(count by (instance) (ratelimiter_requests_checked_total)))";

/// The results of the queries; each can be missing by itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PrometheusView {
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// With the labels `node_id` and `instance`; services of the older form have no `node_id`.
    pub(crate) p99_ms_by_node: Vec<Sample>,
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) block_rate_percent: Option<f64>,
    pub(crate) false_block_rate_percent: Option<f64>,
}

impl PrometheusView {
    /// Runs one query after the other; the first that fails ends it.
    pub(crate) fn read(server: Prometheus<'_>, deadline: Deadline) -> Result<Self, Fault> {
        let quantile_ms = |quantile: &str| {
            let query = format!("histogram_quantile({quantile}, sum by (le) ({BUCKETS}))");
            let seconds = server.value(&query, deadline.remaining())?;
            Ok::<_, Fault>(seconds.map(|seconds| seconds * 1_000.0))
        };
        let p99_ms = quantile_ms("0.99")?;
        let p50_ms = quantile_ms("0.5")?;
        let by_node =
            format!("histogram_quantile(0.99, sum by (le, node_id, instance) ({BUCKETS}))");
        let mut by_node = server.query(&by_node, deadline.remaining())?;
        for sample in &mut by_node {
            sample.value *= 1_000.0;
        }
        let checks = format!("sum by (result) ({CHECKS})");
        let checks = server.query(&checks, deadline.remaining())?;
        let (requests_per_second, block_rate_percent) = rates(&checks);
        Ok(Self {
            p50_ms,
            p99_ms,
            p99_ms_by_node: by_node,
            requests_per_second,
            block_rate_percent,
            false_block_rate_percent: server.value(FALSE_BLOCKS, deadline.remaining())?,
        })
    }
}

/// Checks a second, and the share that was blocked; a share of nothing is unknown.
fn rates(checks: &[Sample]) -> (Option<f64>, Option<f64>) {
    if checks.is_empty() {
        return (None, None);
    }
    let all: f64 = checks.iter().map(|sample| sample.value).sum();
    let blocked = checks
        .iter()
        .filter(|sample| sample.label("result") == Some("blocked"));
    let blocked: f64 = blocked.map(|sample| sample.value).sum();
    (Some(all), (all > 0.0).then(|| 100.0 * blocked / all))
}

/// The p99 of each node, named by its id where that is known.
pub(crate) fn by_node(
    samples: &[Sample],
    id_at: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, f64> {
    let named = samples.iter().filter_map(|sample| {
        let by_instance = || {
            let instance = sample.label("instance")?;
            Some(id_at(instance).unwrap_or_else(|| instance.to_owned()))
        };
        let id = sample.label("node_id").map(str::to_owned);
        Some((id.or_else(by_instance)?, sample.value))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(labels: &[(&str, &str)], value: f64) -> Sample {
        let labels = labels.iter();
        let labels = labels.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Sample {
            labels: labels.collect(),
            value,
        }
    }

    #[test]
    fn the_share_of_nothing_is_unknown() {
        let checks = |result, rate| sample(&[("result", result)], rate);
        assert_eq!(rates(&[]), (None, None));
        assert_eq!(
            rates(&[checks("allowed", 0.0), checks("blocked", 0.0)]),
            (Some(0.0), None)
        );
        assert_eq!(
            rates(&[checks("allowed", 3.0), checks("blocked", 1.0)]),
            (Some(4.0), Some(25.0))
        );
        assert_eq!(rates(&[checks("allowed", 3.0)]), (Some(3.0), Some(0.0)));
    }

    #[test]
    fn a_series_without_node_id_is_joined_by_its_instance() {
        let samples = [
            sample(&[("node_id", "node-9"), ("instance", "a:1")], 1.0),
            sample(&[("instance", "a:1")], 2.0),
            sample(&[("instance", "b:1")], 3.0),
            sample(&[], 4.0),
        ];
        let named = by_node(&samples, |instance| {
            (instance == "a:1").then(|| "node-1".to_owned())
        });
        let expected = [("b:1", 3.0), ("node-1", 2.0), ("node-9", 1.0)]
            .map(|(name, value)| (name.to_owned(), value));
        assert_eq!(named, BTreeMap::from(expected));
    }
}
