//! What Prometheus tells. An empty result and NaN are unknown.

use std::collections::BTreeMap;

use operator_plugin_api::Deadline;
use serde::Deserialize;

use crate::{
    endpoint::Endpoint,
    http::{Fault, Http},
    management::segment,
};

const BUCKETS: &str = "rate(ratelimiter_check_duration_seconds_bucket[1m])";
const CHECKS: &str = "rate(ratelimiter_requests_checked_total[1m])";
/// The share of checks that were blocked although their key had room; of nothing, unless every node tells it.
const FALSE_BLOCKS: &str = "(100 * sum(rate(ratelimiter_false_blocks_total[1m])) \
     / sum(rate(ratelimiter_requests_checked_total[1m]))) and on () \
     (count(ratelimiter_false_blocks_total) == count(count by (instance) (ratelimiter_requests_checked_total)))";

/// What the queries told; each can be missing by itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PrometheusView {
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// By the series' labels.
    pub(crate) p99_ms_by_node: Vec<(Labels, f64)>,
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) block_rate_percent: Option<f64>,
    pub(crate) false_block_rate_percent: Option<f64>,
}

/// How a series names its node: services of the older form have no `node_id`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Labels {
    pub(crate) node_id: Option<String>,
    pub(crate) instance: Option<String>,
    result: Option<String>,
}

#[derive(Deserialize)]
struct Reply {
    data: ReplyData,
}

#[derive(Deserialize)]
struct ReplyData {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    /// A time, and the number as text.
    value: (f64, String),
}

/// Asks one query after the other; the first that fails ends it.
pub(crate) fn look(
    http: &Http,
    endpoint: &Endpoint,
    deadline: Deadline,
) -> Result<PrometheusView, Fault> {
    let ask = |query: &str| query_all(http, endpoint, query, deadline);
    let quantile = |quantile: &str| {
        let series = ask(&format!(
            "histogram_quantile({quantile}, sum by (le) ({BUCKETS}))"
        ))?;
        Ok::<_, Fault>(series.first().map(|(_, seconds)| seconds * 1_000.0))
    };
    let p99_ms = quantile("0.99")?;
    let p50_ms = quantile("0.5")?;
    let by_node = ask(&format!(
        "histogram_quantile(0.99, sum by (le, node_id, instance) ({BUCKETS}))"
    ))?;
    let checks = ask(&format!("sum by (result) ({CHECKS})"))?;
    let (requests_per_second, block_rate_percent) = rates(&checks);
    let false_blocks = ask(FALSE_BLOCKS)?;
    Ok(PrometheusView {
        p50_ms,
        p99_ms,
        p99_ms_by_node: by_node
            .into_iter()
            .map(|(labels, seconds)| (labels, seconds * 1_000.0))
            .collect(),
        requests_per_second,
        block_rate_percent,
        false_block_rate_percent: false_blocks.first().map(|(_, percent)| *percent),
    })
}

fn query_all(
    http: &Http,
    endpoint: &Endpoint,
    query: &str,
    deadline: Deadline,
) -> Result<Vec<(Labels, f64)>, Fault> {
    let path = format!("/api/v1/query?query={}", segment(query));
    let reply: Reply = http.get(endpoint, &path, deadline.remaining())?.ok()?;
    let known = reply.data.result.into_iter().filter_map(|series| {
        let value: f64 = series.value.1.parse().ok()?;
        value.is_finite().then_some((series.metric, value))
    });
    Ok(known.collect())
}

/// Checks a second, and the share that was blocked; a share of nothing is unknown.
fn rates(checks: &[(Labels, f64)]) -> (Option<f64>, Option<f64>) {
    if checks.is_empty() {
        return (None, None);
    }
    let is_blocked = |labels: &Labels| labels.result.as_deref() == Some("blocked");
    let all: f64 = checks.iter().map(|(_, rate)| rate).sum();
    let blocked: f64 = checks
        .iter()
        .filter(|(labels, _)| is_blocked(labels))
        .map(|(_, rate)| rate)
        .sum();
    (Some(all), (all > 0.0).then(|| 100.0 * blocked / all))
}

/// The p99 of each node, named by its id where that is known.
pub(crate) fn by_node(
    series: Vec<(Labels, f64)>,
    id_at: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, f64> {
    let named = series.into_iter().filter_map(|(labels, value)| {
        let by_instance = || {
            labels
                .instance
                .map(|instance| id_at(&instance).unwrap_or(instance))
        };
        Some((labels.node_id.or_else(by_instance)?, value))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(result: &str, rate: f64) -> (Labels, f64) {
        (
            Labels {
                result: Some(result.into()),
                ..Labels::default()
            },
            rate,
        )
    }

    #[test]
    fn the_share_of_nothing_is_unknown() {
        assert_eq!(rates(&[]), (None, None));
        assert_eq!(
            rates(&[labelled("allowed", 0.0), labelled("blocked", 0.0)]),
            (Some(0.0), None)
        );
        assert_eq!(
            rates(&[labelled("allowed", 3.0), labelled("blocked", 1.0)]),
            (Some(4.0), Some(25.0))
        );
        assert_eq!(rates(&[labelled("allowed", 3.0)]), (Some(3.0), Some(0.0)));
    }

    #[test]
    fn a_series_without_node_id_is_joined_by_its_instance() {
        let at = |instance: &str| Labels {
            instance: Some(instance.into()),
            ..Labels::default()
        };
        let own = Labels {
            node_id: Some("node-9".into()),
            ..at("a:1")
        };
        let series = vec![
            (own, 1.0),
            (at("a:1"), 2.0),
            (at("b:1"), 3.0),
            (Labels::default(), 4.0),
        ];
        let named = by_node(series, |instance| {
            (instance == "a:1").then(|| "node-1".to_owned())
        });
        let expected = [("b:1", 3.0), ("node-1", 2.0), ("node-9", 1.0)]
            .map(|(name, value)| (name.to_owned(), value));
        assert_eq!(named, BTreeMap::from(expected));
    }
}
