//! The summary of an observation: the line for people, and the service level indicators.

use std::{collections::BTreeMap, fmt::Write as _};

use operator_plugin_kit::text::{grouped, share_percent};

use crate::observation::{Data, Node, NodeMetrics};

/// Rates that the nodes measured themselves.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct OwnRates {
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) block_rate_percent: Option<f64>,
}

/// Used where Prometheus has no rates. Unknown unless every serving node reports its part.
pub(crate) fn own_rates(nodes: &[Node], metrics: &BTreeMap<String, NodeMetrics>) -> OwnRates {
    let (mut all, mut blocked) = (0.0, 0.0);
    for node in nodes.iter().filter(|node| node.answered == Some(true)) {
        let reported = metrics.get(&node.id);
        let Some(rate) = reported.and_then(|reported| reported.requests_per_second) else {
            return OwnRates::default();
        };
        all += rate;
        match reported.and_then(|reported| reported.blocked_rate) {
            Some(percent) => blocked += rate * percent / 100.0,
            // A node without checks has no share.
            None if rate > 0.0 => {
                return OwnRates {
                    requests_per_second: None,
                    block_rate_percent: None,
                };
            }
            None => {}
        }
    }
    OwnRates {
        requests_per_second: nodes
            .iter()
            .any(|node| node.answered == Some(true))
            .then_some(all),
        block_rate_percent: (all > 0.0).then(|| 100.0 * blocked / all),
    }
}

/// `3 of 3 nodes healthy, Redis connected, 1,004 checks/s, 60,240 checked, 12 keys`
pub(crate) fn line(data: &Data) -> String {
    let expected: Vec<_> = expected_to_serve(data).collect();
    let healthy = expected
        .iter()
        .filter(|node| node.answered == Some(true))
        .count();
    let mut line = format!("{healthy} of {} nodes healthy", expected.len());
    line.push_str(match data.redis_connected {
        Some(true) => ", Redis connected",
        Some(false) => ", Redis disconnected",
        None => ", Redis unknown",
    });
    if let Some(rate) = data.requests_per_second {
        let _ = write!(line, ", {} checks/s", grouped(&format!("{rate:.0}")));
    }
    if let Some(checked) = data
        .totals
        .allowed
        .map(|allowed| allowed + data.totals.blocked.unwrap_or(0))
    {
        let _ = write!(line, ", {} checked", grouped(&checked.to_string()));
    }
    if let Some(counters) = &data.counters {
        let more = if data.counters_complete == Some(false) {
            "+"
        } else {
            ""
        };
        let _ = write!(
            line,
            ", {}{more} keys",
            grouped(&counters.len().to_string())
        );
    }
    line
}

pub(crate) fn slis(data: &Data) -> BTreeMap<String, Option<f64>> {
    [
        ("latency_p50_ms", data.latency.p50_ms),
        ("latency_p99_ms", data.latency.p99_ms),
        ("block_rate_percent", data.block_rate_percent),
        ("requests_per_second", data.requests_per_second),
        ("node_availability_percent", node_availability(data)),
        ("redis_connectivity_percent", redis_connectivity(data)),
        ("false_block_rate_percent", data.false_block_rate_percent),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The nodes that neither left nor drain.
fn expected_to_serve(data: &Data) -> impl Iterator<Item = &Node> {
    data.nodes
        .iter()
        .filter(|node| !node.left && node.draining != Some(true))
}

/// The share of nodes that answer, of those that should serve; unknown while one of them could not be asked.
fn node_availability(data: &Data) -> Option<f64> {
    let answers: Option<Vec<bool>> = expected_to_serve(data).map(|node| node.answered).collect();
    share_percent(&answers?)
}

/// The share of nodes that reach Redis, of those that answer.
fn redis_connectivity(data: &Data) -> Option<f64> {
    if data.redis_connected == Some(false) {
        return Some(0.0);
    }
    let answering = data.nodes.iter().filter(|node| node.answered == Some(true));
    let connected: Option<Vec<bool>> = answering.map(|node| node.redis_connected).collect();
    share_percent(&connected?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::{healthy, node};

    #[test]
    fn the_line_counts_only_nodes_that_are_expected_to_serve() {
        let mut data = healthy();
        data.totals.allowed = Some(1_234_567);
        data.nodes.push(Node {
            left: true,
            answered: Some(false),
            ..node("node-4")
        });
        assert_eq!(
            line(&data),
            "3 of 3 nodes healthy, Redis connected, 1,000 checks/s, 1,234,568 checked, 2 keys"
        );
        data.nodes[0].answered = Some(false);
        data.redis_connected = Some(false);
        data.requests_per_second = None;
        data.counters = None;
        data.totals.allowed = None;
        assert_eq!(line(&data), "2 of 3 nodes healthy, Redis disconnected");
    }

    #[test]
    fn a_share_with_an_unknown_part_is_unknown() {
        let mut data = healthy();
        assert_eq!(slis(&data)["node_availability_percent"], Some(100.0));
        assert_eq!(slis(&data)["redis_connectivity_percent"], Some(100.0));
        data.nodes[0].redis_connected = None;
        assert_eq!(slis(&data)["redis_connectivity_percent"], None);
        data.nodes[0].answered = None;
        assert_eq!(slis(&data)["node_availability_percent"], None);
        data.nodes.clear();
        assert_eq!(slis(&data)["node_availability_percent"], None);
    }

    #[test]
    fn own_rates_need_every_serving_node() {
        let reported = |rate, blocked| NodeMetrics {
            requests_per_second: Some(rate),
            blocked_rate: blocked,
            ..NodeMetrics::default()
        };
        let nodes = [node("a"), node("b")];
        let mut metrics = BTreeMap::from([("a".to_owned(), reported(30.0, Some(10.0)))]);
        assert_eq!(own_rates(&nodes, &metrics), OwnRates::default());
        metrics.insert("b".into(), reported(10.0, Some(50.0)));
        let rates = own_rates(&nodes, &metrics);
        assert_eq!(
            (rates.requests_per_second, rates.block_rate_percent),
            (Some(40.0), Some(20.0))
        );
        metrics.insert("b".into(), reported(0.0, None));
        assert_eq!(own_rates(&nodes, &metrics).block_rate_percent, Some(10.0));
    }
}
