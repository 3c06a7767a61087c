//! Rates over all nodes, from the best source that has all of them: what stands for some does not stand for all.

use std::collections::BTreeMap;

use operator_plugin_kit::Fault;

use crate::{
    observation::{Node, NodeMetrics},
    prometheus::{self, PrometheusView},
};

/// What is known of all nodes together.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) block_rate_percent: Option<f64>,
    pub(crate) block_rate_error: Option<String>,
    pub(crate) false_block_rate_percent: Option<f64>,
}

impl Rates {
    pub(crate) fn of(
        nodes: &[Node],
        metrics: &BTreeMap<String, NodeMetrics>,
        prometheus: Result<&PrometheusView, &Fault>,
        id_at: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let serving = || nodes.iter().filter(|node| node.answered == Some(true));
        let own = own(serving(), metrics);
        let ids = serving().map(|node| node.id.as_str());
        let missing = prometheus
            .map(|view| prometheus::missing(&view.counted, ids, id_at))
            .map_err(|fault| format!("Prometheus: {fault}"));
        let (whole, error) = match missing {
            Ok(missing) if missing.is_empty() => (prometheus.ok(), None),
            Ok(missing) => {
                let missing = missing.join(", ");
                let why = format!("Prometheus has no checks of the last minute of {missing}");
                (None, Some(why))
            }
            Err(error) => (None, Some(error)),
        };
        let block_rate_percent = whole
            .and_then(|view| view.block_rate_percent)
            .or(own.block_rate_percent);
        Self {
            // A rate over a minute is too low until the minute is over.
            requests_per_second: own
                .requests_per_second
                .or_else(|| counted(serving()))
                .or(whole.and_then(|view| view.requests_per_second)),
            block_rate_percent,
            block_rate_error: error.filter(|_| block_rate_percent.is_none()),
            false_block_rate_percent: whole.and_then(|view| view.false_block_rate_percent),
        }
    }
}

/// By the counters of every node.
#[expect(
    clippy::cast_precision_loss,
    reason = "a few seconds' checks are far below 2^52"
)]
fn counted<'a>(serving: impl Iterator<Item = &'a Node>) -> Option<f64> {
    let rate = |node: &Node| {
        let checks = node.checks.as_ref()?;
        Some(checks.served? as f64 * 1_000.0 / checks.over_ms? as f64)
    };
    let rates: Option<Vec<f64>> = serving.map(rate).collect();
    let rates = rates.filter(|rates| !rates.is_empty())?;
    Some(rates.iter().fold(0.0, |sum, rate| sum + rate))
}

/// As the nodes measured them. Unknown unless every one that serves reports its part.
fn own<'a>(
    serving: impl Iterator<Item = &'a Node>,
    metrics: &BTreeMap<String, NodeMetrics>,
) -> Rates {
    let (mut all, mut blocked, mut count) = (0.0, 0.0, 0);
    for node in serving {
        count += 1;
        let reported = metrics.get(&node.id);
        let Some(rate) = reported.and_then(|reported| reported.requests_per_second) else {
            return Rates::default();
        };
        all += rate;
        match reported.and_then(|reported| reported.blocked_rate) {
            Some(percent) => blocked += rate * percent / 100.0,
            // A node without checks has no share.
            None if rate > 0.0 => return Rates::default(),
            None => {}
        }
    }
    Rates {
        requests_per_second: (count > 0).then_some(all),
        block_rate_percent: (all > 0.0).then(|| 100.0 * blocked / all),
        ..Rates::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::samples, observation::Checks};

    fn node(id: &str) -> Node {
        Node {
            checks: None,
            ..samples::node(id)
        }
    }

    fn rates(nodes: &[Node], metrics: &BTreeMap<String, NodeMetrics>) -> Rates {
        let away = Fault::NotSent("no connection".into());
        Rates::of(nodes, metrics, Err(&away), |_| None)
    }

    fn reported(rate: f64, blocked: Option<f64>) -> NodeMetrics {
        NodeMetrics {
            requests_per_second: Some(rate),
            blocked_rate: blocked,
            ..NodeMetrics::default()
        }
    }

    #[test]
    fn what_nodes_measured_needs_every_node_that_serves() {
        let nodes = [node("a"), node("b")];
        let mut metrics = BTreeMap::from([("a".to_owned(), reported(30.0, Some(10.0)))]);
        let some = rates(&nodes, &metrics);
        assert_eq!(
            (some.requests_per_second, some.block_rate_percent),
            (None, None)
        );
        assert!(some.block_rate_error.is_some());
        metrics.insert("b".into(), reported(10.0, Some(50.0)));
        let all = rates(&nodes, &metrics);
        assert_eq!(
            (all.requests_per_second, all.block_rate_percent),
            (Some(40.0), Some(20.0))
        );
        metrics.insert("b".into(), reported(0.0, None));
        assert_eq!(rates(&nodes, &metrics).block_rate_percent, Some(10.0));
    }

    #[test]
    fn checks_a_second_are_counted_where_nodes_do_not_measure_them() {
        let counted = |id: &str, served| Node {
            checks: Some(Checks {
                served: Some(served),
                failed: None,
                over_ms: Some(2_000),
            }),
            ..node(id)
        };
        let metrics = BTreeMap::new();
        let nodes = [counted("a", 500), counted("b", 100)];
        assert_eq!(rates(&nodes, &metrics).requests_per_second, Some(300.0));
        let nodes = [counted("a", 500), node("b")];
        assert_eq!(rates(&nodes, &metrics).requests_per_second, None);
    }
}
