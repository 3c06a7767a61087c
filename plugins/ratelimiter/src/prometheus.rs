//! Queries of Prometheus.
//!
//! An aggregate stands for all nodes only if each node that serves is in it. So every one comes with the nodes that it is
//! of, and a node whose counters Prometheus has not read twice yet is not among them.

use std::collections::{BTreeMap, BTreeSet};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Fault, Prometheus, prometheus::Sample};

use crate::observation::Timed;

const CHECKS: &str = "rate(ratelimiter_requests_checked_total[1m])";
/// The share of checks that were blocked although their key had room; unknown, unless every node counts them.
const FALSE_BLOCKS: &str = "(100 * sum(rate(ratelimiter_false_blocks_total[1m])) \
     / sum(rate(ratelimiter_requests_checked_total[1m]))) and on () \
     (count(ratelimiter_false_blocks_total) == count(count by (instance) (ratelimiter_requests_checked_total)))";

/// A histogram, and to which of its series a query is confined.
struct Histogram {
    of: Timed,
    name: &'static str,
    only: &'static str,
}

const HISTOGRAMS: [Histogram; 2] = [
    Histogram {
        of: Timed::Checks,
        name: "ratelimiter_check_duration_seconds",
        only: "",
    },
    // Other services count their requests by this name too.
    Histogram {
        of: Timed::Requests,
        name: "http_request_duration_highr_seconds",
        only: " and on (instance, job) ratelimiter_check_duration_seconds_count",
    },
];

impl Histogram {
    fn rate(&self, part: &str) -> String {
        format!("(rate({}_{part}[1m]){})", self.name, self.only)
    }

    fn quantile(&self, quantile: &str, by: &str) -> String {
        let buckets = self.rate("bucket");
        format!("histogram_quantile({quantile}, sum by ({by}) {buckets})")
    }
}

/// The results of the queries; each can be missing by itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PrometheusView {
    pub(crate) latency: Timings,
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) block_rate_percent: Option<f64>,
    /// The nodes whose checks are counted.
    pub(crate) counted: Vec<Sample>,
    pub(crate) false_block_rate_percent: Option<f64>,
}

/// How long checks take.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Timings {
    pub(crate) of: Option<Timed>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// With the labels `node_id` and `instance`; services of the older form have no `node_id`.
    pub(crate) p99_ms_by_node: Vec<Sample>,
    /// The nodes whose times are in it.
    pub(crate) counted: Vec<Sample>,
}

impl PrometheusView {
    /// Runs one query after the other; the first that fails ends it.
    pub(crate) fn read(server: Prometheus<'_>, deadline: Deadline) -> Result<Self, Fault> {
        let by_node = format!("sum by (result, node_id, instance) ({CHECKS})");
        let counted = server.query(&by_node, deadline.remaining())?;
        let (requests_per_second, block_rate_percent) = rates(&counted);
        let mut latency = Timings::default();
        // The checks, and where they are not timed although there are some, all requests.
        for histogram in &HISTOGRAMS {
            latency = histogram.read(server, deadline)?;
            let is_empty = latency.p99_ms.is_none();
            if !is_empty || requests_per_second.is_none_or(|rate| rate <= 0.0) {
                break;
            }
        }
        Ok(Self {
            latency,
            requests_per_second,
            block_rate_percent,
            counted,
            false_block_rate_percent: server.value(FALSE_BLOCKS, deadline.remaining())?,
        })
    }
}

impl Histogram {
    fn read(&self, server: Prometheus<'_>, deadline: Deadline) -> Result<Timings, Fault> {
        let ms = |quantile: &str| {
            let query = self.quantile(quantile, "le");
            let seconds = server.value(&query, deadline.remaining())?;
            Ok::<_, Fault>(seconds.map(|seconds| seconds * 1_000.0))
        };
        let counted = format!("sum by (node_id, instance) {}", self.rate("count"));
        let counted = server.query(&counted, deadline.remaining())?;
        let p99_ms = ms("0.99")?;
        if p99_ms.is_none() {
            return Ok(Timings {
                counted,
                ..Timings::default()
            });
        }
        let by_node = self.quantile("0.99", "le, node_id, instance");
        let mut by_node = server.query(&by_node, deadline.remaining())?;
        for sample in &mut by_node {
            sample.value *= 1_000.0;
        }
        Ok(Timings {
            of: Some(self.of),
            p50_ms: ms("0.5")?,
            p99_ms,
            p99_ms_by_node: by_node,
            counted,
        })
    }
}

/// Checks a second, and the share that was blocked; a share of nothing is unknown.
fn rates(checks: &[Sample]) -> (Option<f64>, Option<f64>) {
    if checks.is_empty() {
        return (None, None);
    }
    // The sum of no floats is -0.0.
    let sum = |samples: &mut dyn Iterator<Item = &Sample>| {
        samples.fold(0.0, |sum, sample| sum + sample.value)
    };
    let all = sum(&mut checks.iter());
    let is_blocked = |sample: &&Sample| sample.label("result") == Some("blocked");
    let blocked = sum(&mut checks.iter().filter(is_blocked));
    (Some(all), (all > 0.0).then(|| 100.0 * blocked / all))
}

/// Which of the nodes that serve are not among these samples. Where names do not match, as those of pods, the number
/// decides.
pub(crate) fn missing<'a>(
    samples: &[Sample],
    serving: impl Iterator<Item = &'a str>,
    id_at: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let named = samples.iter().filter_map(|sample| name(sample, &id_at));
    let named: BTreeSet<String> = named.collect();
    let serving: BTreeSet<&str> = serving.collect();
    let missing = serving.iter().filter(|id| !named.contains(**id));
    let missing: Vec<String> = missing.map(|id| (*id).to_owned()).collect();
    let others = named.iter().filter(|name| !serving.contains(name.as_str()));
    if others.count() >= missing.len() {
        return Vec::new();
    }
    missing
}

fn name(sample: &Sample, id_at: impl Fn(&str) -> Option<String>) -> Option<String> {
    let by_instance = || {
        let instance = sample.label("instance")?;
        Some(id_at(instance).unwrap_or_else(|| instance.to_owned()))
    };
    let id = sample.label("node_id").map(str::to_owned);
    id.or_else(by_instance)
}

/// The p99 of each node, named by its id where that is known.
pub(crate) fn by_node(
    samples: &[Sample],
    id_at: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, f64> {
    let named = samples.iter();
    let named = named.filter_map(|sample| Some((name(sample, &id_at)?, sample.value)));
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
        let (_, none) = rates(&[checks("allowed", 3.0)]);
        assert!(none.is_some_and(|none| none == 0.0 && none.is_sign_positive()));
    }

    #[test]
    fn a_node_that_serves_and_is_not_in_the_sample_is_missing() {
        let at = |instance: &str| (instance == "a:1").then(|| "node-1".to_owned());
        let missing = |samples: &[Sample]| missing(samples, ["node-1", "node-2"].into_iter(), at);
        let first = sample(&[("instance", "a:1")], 1.0);
        let second = sample(&[("node_id", "node-2"), ("instance", "b:1")], 0.0);
        assert_eq!(missing(&[]), ["node-1", "node-2"]);
        assert_eq!(missing(std::slice::from_ref(&first)), ["node-2"]);
        assert_eq!(missing(&[first.clone(), second]), [""; 0]);
        let pod = sample(&[("instance", "limiter-1")], 1.0);
        assert_eq!(missing(&[first, pod]), [""; 0]);
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
