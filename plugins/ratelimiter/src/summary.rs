//! The summary of an observation: the line for people, and the service level indicators.

use std::{collections::BTreeMap, fmt::Write as _};

use operator_plugin_kit::text::{grouped, share_percent};

use crate::observation::{Data, Node};

/// `3 of 3 nodes healthy, Redis connected, 1,004 checks/s, 60,240 checked, 12 keys`
pub(crate) fn line(data: &Data) -> String {
    let expected: Vec<_> = expected_to_serve(data).collect();
    let healthy = expected
        .iter()
        .filter(|node| node.answered == Some(true))
        .count();
    let least = match data.nodes_listed {
        Some(true) => "",
        _ => "at least ",
    };
    let mut line = format!("{healthy} of {least}{} nodes healthy", expected.len());
    line.push_str(match data.redis_connected {
        Some(true) => ", Redis connected",
        Some(false) => ", Redis disconnected",
        None if data.redis.refused == Some(true) => ", Redis refuses this plugin",
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
        let read = grouped(&counters.len().to_string());
        let total = data
            .counters_total
            .filter(|total| *total > counters.len() as u64);
        match total {
            Some(total) => {
                let total = grouped(&total.to_string());
                let _ = write!(line, ", {read} of {total} keys");
            }
            None if data.counters_complete == Some(false) => {
                let _ = write!(line, ", {read}+ keys");
            }
            None => {
                let _ = write!(line, ", {read} keys");
            }
        }
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
}
