//! `node_down` and `redis_disconnected`.

use operator_plugin_api::{Unknown, Violation};
use operator_plugin_kit::Findings;
use serde_json::json;

use super::names::{NODE_DOWN, REDIS_DISCONNECTED};
use crate::observation::{Data, Listed, Node};

/// The state of one node.
#[derive(Debug, PartialEq, Eq)]
enum NodeState {
    Fine,
    Down(&'static str),
    Unknown(&'static str),
}

pub(super) fn node_down(data: &Data, findings: &mut Findings) {
    if data.nodes.is_empty() {
        findings.unknown(Unknown::new(NODE_DOWN, "no source names any node"));
    } else if data.nodes_listed != Some(true) {
        let reason = "no list of the nodes was read to its end yet: some may be missing of which nothing is known";
        findings.unknown(Unknown::new(NODE_DOWN, reason));
    }
    for node in &data.nodes {
        match state(node, data.redis_connected) {
            NodeState::Fine => {}
            NodeState::Down(why) => {
                let error = node.error.as_ref().map(|error| format!(" ({error})"));
                let message = format!("{} {why}{}", node.id, error.unwrap_or_default());
                let violation = Violation::new(NODE_DOWN, message)
                    .resource(&node.id)
                    .evidence(json!({
                        "address": node.address,
                        "error": node.error,
                        "listed": node.listed,
                        "last_heartbeat_at_ms": node.last_heartbeat_at_ms,
                    }));
                findings.violation(violation);
            }
            NodeState::Unknown(why) => {
                let reason = format!("{} {why}", node.id);
                findings.unknown(Unknown::new(NODE_DOWN, reason).resource(&node.id));
            }
        }
    }
}

/// The node's own answer comes first. Its heartbeat decides only where the node cannot be reached from here, and not while
/// Redis, which carries the heartbeats, is unavailable.
fn state(node: &Node, redis_connected: Option<bool>) -> NodeState {
    match (node.answered, node.listed) {
        (Some(true), _) => NodeState::Fine,
        _ if node.left => NodeState::Fine,
        (_, Some(Listed::Draining)) => NodeState::Fine,
        (answered, Some(Listed::Unhealthy)) => match (answered, redis_connected) {
            (Some(false), _) if node.reached_before => NodeState::Down("does not answer"),
            (_, Some(true)) => NodeState::Down("sends no heartbeat"),
            _ => NodeState::Unknown(
                "cannot be reached from here, and its heartbeats go through Redis, which is unavailable",
            ),
        },
        (_, Some(_)) if node.draining == Some(true) => NodeState::Fine,
        (_, None) if node.draining == Some(true) => {
            NodeState::Unknown("was draining, and no other node can tell whether it has left")
        }
        (Some(false), _) if node.reached_before => NodeState::Down("does not answer"),
        (_, Some(Listed::Absent)) if node.expected => {
            NodeState::Down("is expected and no source names it")
        }
        (Some(false), _) => NodeState::Unknown(
            "has never answered at its address; add its URL to `more_management_urls`",
        ),
        (None, _) => NodeState::Unknown("cannot be reached: no source names its address"),
    }
}

/// Whether Redis is unavailable for everyone; none when that is unknown.
pub(super) fn redis_gone(data: &Data) -> Option<bool> {
    // A node that does not answer does not count; one that could not be asked is unknown.
    let alive = data
        .nodes
        .iter()
        .filter(|node| node.answered != Some(false));
    let reports: Vec<Option<bool>> = alive
        .map(|node| node.redis_connected.filter(|_| node.answered.is_some()))
        .collect();
    if data.redis_connected == Some(false) {
        return Some(true);
    }
    if !reports.is_empty() && reports.iter().all(|report| *report == Some(false)) {
        return Some(true);
    }
    let reached = reports.contains(&Some(true));
    match data.redis_connected {
        Some(_) if reached || reports.is_empty() => Some(false),
        None if reached && data.redis.refused == Some(true) => Some(false),
        _ => None,
    }
}

fn answering(data: &Data) -> impl Iterator<Item = &Node> {
    data.nodes.iter().filter(|node| node.answered == Some(true))
}

pub(super) fn redis_disconnected(data: &Data, findings: &mut Findings) {
    match redis_gone(data) {
        Some(true) => findings.violation(disconnected_everywhere(data)),
        Some(false) => each_node(data, findings),
        None => {
            let mut reason = "no node reports that it reaches Redis, and this plugin's own connection does not decide".to_owned();
            if let Some(error) = &data.redis.error {
                reason = format!("{reason} ({error})");
            }
            findings.unknown(Unknown::new(REDIS_DISCONNECTED, reason));
        }
    }
}

fn disconnected_everywhere(data: &Data) -> Violation {
    let nodes: Vec<_> = answering(data)
        .map(|node| json!({"node": node.id, "redis_connected": node.redis_connected}))
        .collect();
    let message = match (&data.redis.error, data.redis_connected) {
        (Some(error), Some(false)) => format!("Redis does not answer this plugin ({error})"),
        (None, Some(false)) => "Redis does not answer this plugin".to_owned(),
        _ => "no node reaches Redis".to_owned(),
    };
    Violation::new(REDIS_DISCONNECTED, message)
        .evidence(json!({"plugin_connected": data.redis_connected, "nodes": nodes}))
}

/// A node that does not answer belongs to `node_down`.
fn each_node(data: &Data, findings: &mut Findings) {
    for node in data
        .nodes
        .iter()
        .filter(|node| node.answered != Some(false))
    {
        match (node.answered, node.redis_connected) {
            (Some(true), Some(true)) => {}
            (Some(true), Some(false)) => {
                let message = format!("{} does not reach Redis, other nodes do", node.id);
                let violation = Violation::new(REDIS_DISCONNECTED, message)
                    .resource(&node.id)
                    .evidence(json!({"redis_connected": false}));
                findings.violation(violation);
            }
            _ => {
                let reason = format!("{} does not report whether it reaches Redis", node.id);
                findings.unknown(Unknown::new(REDIS_DISCONNECTED, reason).resource(&node.id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::{healthy, node};

    fn down(change: impl FnOnce(&mut Node)) -> NodeState {
        let mut node = Node {
            answered: Some(false),
            ..node("n")
        };
        change(&mut node);
        state(&node, Some(true))
    }

    #[test]
    fn a_node_that_answered_before_and_no_longer_does_is_down_whatever_the_list_says() {
        for listed in [
            None,
            Some(Listed::Healthy),
            Some(Listed::Unhealthy),
            Some(Listed::Absent),
        ] {
            assert_eq!(
                down(|node| node.listed = listed),
                NodeState::Down("does not answer"),
                "{listed:?}"
            );
        }
    }

    #[test]
    fn a_node_that_answers_is_fine_whatever_the_list_says() {
        for listed in [None, Some(Listed::Unhealthy), Some(Listed::Absent)] {
            let node = Node {
                listed,
                ..node("n")
            };
            assert_eq!(state(&node, Some(true)), NodeState::Fine, "{listed:?}");
        }
    }

    #[test]
    fn a_node_that_drains_or_has_left_is_not_down() {
        assert_eq!(down(|node| node.draining = Some(true)), NodeState::Fine);
        assert_eq!(
            down(|node| node.listed = Some(Listed::Draining)),
            NodeState::Fine
        );
        assert_eq!(down(|node| node.left = true), NodeState::Fine);
    }

    #[test]
    fn a_node_that_died_while_draining_is_down() {
        let died = down(|node| {
            node.draining = Some(true);
            node.listed = Some(Listed::Unhealthy);
        });
        assert_eq!(died, NodeState::Down("does not answer"));
    }

    #[test]
    fn a_node_that_was_never_reached_is_judged_by_its_heartbeat() {
        let unreachable = |listed| Node {
            answered: Some(false),
            reached_before: false,
            listed,
            ..node("n")
        };
        let judge = |listed, redis| state(&unreachable(listed), redis);
        assert_eq!(
            judge(Some(Listed::Unhealthy), Some(true)),
            NodeState::Down("sends no heartbeat")
        );
        assert!(matches!(
            judge(Some(Listed::Unhealthy), Some(false)),
            NodeState::Unknown(_)
        ));
        assert!(matches!(
            judge(Some(Listed::Unhealthy), None),
            NodeState::Unknown(_)
        ));
        assert!(matches!(
            judge(Some(Listed::Healthy), Some(true)),
            NodeState::Unknown(_)
        ));
        assert!(matches!(judge(None, Some(true)), NodeState::Unknown(_)));
    }

    #[test]
    fn an_expected_node_that_no_source_lists_is_down() {
        let judge = |listed| {
            let missing = Node {
                answered: None,
                reached_before: false,
                expected: true,
                listed,
                ..node("n")
            };
            state(&missing, Some(true))
        };
        assert_eq!(
            judge(Some(Listed::Absent)),
            NodeState::Down("is expected and no source names it")
        );
        assert!(matches!(judge(None), NodeState::Unknown(_)));
    }

    fn redis_report(change: impl FnOnce(&mut Data)) -> (Vec<Option<String>>, Vec<Option<String>>) {
        let mut data = healthy();
        change(&mut data);
        let mut findings = Findings::default();
        redis_disconnected(&data, &mut findings);
        let report = findings.report();
        let violated = report.violations.into_iter().map(|v| v.resource);
        let unknown = report.unknown.into_iter().map(|u| u.resource);
        (violated.collect(), unknown.collect())
    }

    #[test]
    fn redis_holds_when_everyone_reaches_it() {
        assert_eq!(redis_report(|_| {}), (vec![], vec![]));
    }

    #[test]
    fn redis_that_is_unavailable_for_this_plugin_or_for_all_nodes_is_one_violation() {
        assert_eq!(
            redis_report(|data| data.redis_connected = Some(false)),
            (vec![None], vec![])
        );
        let all_nodes = |data: &mut Data| {
            data.nodes
                .iter_mut()
                .for_each(|node| node.redis_connected = Some(false));
        };
        assert_eq!(redis_report(all_nodes), (vec![None], vec![]));
    }

    #[test]
    fn one_node_without_redis_is_named() {
        let one = |data: &mut Data| data.nodes[1].redis_connected = Some(false);
        assert_eq!(redis_report(one), (vec![Some("node-2".into())], vec![]));
    }

    #[test]
    fn a_node_that_does_not_report_is_unknown_and_a_dead_one_is_not_asked() {
        let silent = |data: &mut Data| data.nodes[1].redis_connected = None;
        assert_eq!(redis_report(silent), (vec![], vec![Some("node-2".into())]));
        let dead = |data: &mut Data| {
            data.nodes[1].redis_connected = None;
            data.nodes[1].answered = Some(false);
        };
        assert_eq!(redis_report(dead), (vec![], vec![]));
    }

    #[test]
    fn where_redis_refuses_this_plugin_the_nodes_decide() {
        let refused = |data: &mut Data| {
            data.redis_connected = None;
            data.redis.refused = Some(true);
        };
        assert_eq!(redis_report(refused), (vec![], vec![]));
        assert_eq!(
            redis_report(|data| data.redis_connected = None),
            (vec![], vec![None])
        );
        let no_nodes = |data: &mut Data| {
            refused(data);
            data.nodes.clear();
        };
        assert_eq!(redis_report(no_nodes), (vec![], vec![None]));
    }
}
