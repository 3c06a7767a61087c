//! `node_down` and `redis_disconnected`.

use operator_plugin_api::CheckReport;
use serde_json::json;

use super::{
    names::{NODE_DOWN, REDIS_DISCONNECTED},
    unknown, violate,
};
use crate::observation::{Data, Listed, Node};

/// What is to be made of one node.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Fine,
    Down(&'static str),
    Unknown(&'static str),
}

pub(super) fn node_down(data: &Data, report: &mut CheckReport) {
    if data.nodes.is_empty() {
        unknown(report, NODE_DOWN, None, "no source tells of any node");
    }
    for node in &data.nodes {
        match standing(node, data.redis_connected) {
            Standing::Fine => {}
            Standing::Down(why) => {
                let evidence = json!({
                    "address": node.address,
                    "error": node.error,
                    "listed": node.listed,
                    "last_heartbeat_at_ms": node.last_heartbeat_at_ms,
                });
                let error = node
                    .error
                    .as_deref()
                    .map(|error| format!(" ({error})"))
                    .unwrap_or_default();
                violate(
                    report,
                    NODE_DOWN,
                    Some(&node.id),
                    format!("{} {why}{error}", node.id),
                    evidence,
                );
            }
            Standing::Unknown(why) => unknown(
                report,
                NODE_DOWN,
                Some(&node.id),
                format!("{} {why}", node.id),
            ),
        }
    }
}

/// The node's own answer comes first. Its heartbeat decides only where it cannot be asked, and not while Redis, through
/// which heartbeats go, is away itself.
fn standing(node: &Node, redis_connected: Option<bool>) -> Standing {
    match (node.answered, node.listed) {
        (Some(true), _) => Standing::Fine,
        _ if node.left => Standing::Fine,
        (_, Some(Listed::Draining)) => Standing::Fine,
        (answered, Some(Listed::Unhealthy)) => match (answered, redis_connected) {
            (Some(false), _) if node.reached_before => Standing::Down("does not answer"),
            (_, Some(true)) => Standing::Down("sends no heartbeat"),
            _ => Standing::Unknown(
                "cannot be asked, and heartbeats go through Redis, which is not there",
            ),
        },
        (_, Some(_)) if node.draining == Some(true) => Standing::Fine,
        (_, None) if node.draining == Some(true) => {
            Standing::Unknown("was draining, and no other node can be asked what became of it")
        }
        (Some(false), _) if node.reached_before => Standing::Down("does not answer"),
        (_, Some(Listed::Absent)) if node.expected => {
            Standing::Down("is expected and is not there")
        }
        (Some(false), _) => Standing::Unknown(
            "has never answered at its address; name its URL in `more_management_urls`",
        ),
        (None, _) => Standing::Unknown("cannot be asked: no source tells its address"),
    }
}

/// Whether Redis is away for everyone; none when that is not known.
pub(super) fn redis_gone(data: &Data) -> Option<bool> {
    // A node that does not answer has no say; of one that was not asked, the word is missing.
    let alive = data
        .nodes
        .iter()
        .filter(|node| node.answered != Some(false));
    let words: Vec<Option<bool>> = alive
        .map(|node| node.redis_connected.filter(|_| node.answered.is_some()))
        .collect();
    if data.redis_connected == Some(false) {
        return Some(true);
    }
    if !words.is_empty() && words.iter().all(|word| *word == Some(false)) {
        return Some(true);
    }
    let reached = words.contains(&Some(true));
    match data.redis_connected {
        Some(_) if reached || words.is_empty() => Some(false),
        None if reached && data.redis.refused == Some(true) => Some(false),
        _ => None,
    }
}

fn answering(data: &Data) -> impl Iterator<Item = &Node> {
    data.nodes.iter().filter(|node| node.answered == Some(true))
}

pub(super) fn redis_disconnected(data: &Data, report: &mut CheckReport) {
    match redis_gone(data) {
        Some(true) => violate_everywhere(data, report),
        Some(false) => each_node(data, report),
        None => {
            let why =
                "no node says that it reaches Redis, and this plugin's own word is not enough";
            unknown(report, REDIS_DISCONNECTED, None, why);
        }
    }
}

fn violate_everywhere(data: &Data, report: &mut CheckReport) {
    let words: Vec<_> = answering(data)
        .map(|node| json!({"node": node.id, "redis_connected": node.redis_connected}))
        .collect();
    let message = match (&data.redis.error, data.redis_connected) {
        (Some(error), Some(false)) => format!("Redis does not answer this plugin ({error})"),
        (None, Some(false)) => "Redis does not answer this plugin".to_owned(),
        _ => "no node reaches Redis".to_owned(),
    };
    let evidence = json!({"plugin_connected": data.redis_connected, "nodes": words});
    violate(report, REDIS_DISCONNECTED, None, message, evidence);
}

/// A node that does not answer is `node_down`'s.
fn each_node(data: &Data, report: &mut CheckReport) {
    for node in data
        .nodes
        .iter()
        .filter(|node| node.answered != Some(false))
    {
        match (node.answered, node.redis_connected) {
            (Some(true), Some(true)) => {}
            (Some(true), Some(false)) => {
                let message = format!("{} does not reach Redis, others do", node.id);
                violate(
                    report,
                    REDIS_DISCONNECTED,
                    Some(&node.id),
                    message,
                    json!({"redis_connected": false}),
                );
            }
            _ => {
                let why = format!("{} does not say whether it reaches Redis", node.id);
                unknown(report, REDIS_DISCONNECTED, Some(&node.id), why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::{healthy, node};

    fn down(change: impl FnOnce(&mut Node)) -> Standing {
        let mut node = Node {
            answered: Some(false),
            ..node("n")
        };
        change(&mut node);
        standing(&node, Some(true))
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
                Standing::Down("does not answer"),
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
            assert_eq!(standing(&node, Some(true)), Standing::Fine, "{listed:?}");
        }
    }

    #[test]
    fn a_node_that_drains_or_has_left_is_not_down() {
        assert_eq!(down(|node| node.draining = Some(true)), Standing::Fine);
        assert_eq!(
            down(|node| node.listed = Some(Listed::Draining)),
            Standing::Fine
        );
        assert_eq!(down(|node| node.left = true), Standing::Fine);
    }

    #[test]
    fn a_node_that_died_while_draining_is_down() {
        let died = down(|node| {
            node.draining = Some(true);
            node.listed = Some(Listed::Unhealthy);
        });
        assert_eq!(died, Standing::Down("does not answer"));
    }

    #[test]
    fn a_node_that_was_never_reached_is_judged_by_its_heartbeat() {
        let unreachable = |listed| Node {
            answered: Some(false),
            reached_before: false,
            listed,
            ..node("n")
        };
        let judge = |listed, redis| standing(&unreachable(listed), redis);
        assert_eq!(
            judge(Some(Listed::Unhealthy), Some(true)),
            Standing::Down("sends no heartbeat")
        );
        assert!(matches!(
            judge(Some(Listed::Unhealthy), Some(false)),
            Standing::Unknown(_)
        ));
        assert!(matches!(
            judge(Some(Listed::Unhealthy), None),
            Standing::Unknown(_)
        ));
        assert!(matches!(
            judge(Some(Listed::Healthy), Some(true)),
            Standing::Unknown(_)
        ));
        assert!(matches!(judge(None, Some(true)), Standing::Unknown(_)));
    }

    #[test]
    fn an_expected_node_that_nobody_lists_is_down() {
        let judge = |listed| {
            let missing = Node {
                answered: None,
                reached_before: false,
                expected: true,
                listed,
                ..node("n")
            };
            standing(&missing, Some(true))
        };
        assert_eq!(
            judge(Some(Listed::Absent)),
            Standing::Down("is expected and is not there")
        );
        assert!(matches!(judge(None), Standing::Unknown(_)));
    }

    fn redis_report(change: impl FnOnce(&mut Data)) -> (Vec<Option<String>>, Vec<Option<String>>) {
        let mut data = healthy();
        change(&mut data);
        let mut report = CheckReport::default();
        redis_disconnected(&data, &mut report);
        let broken = report
            .violations
            .into_iter()
            .map(|violation| violation.resource)
            .collect();
        (
            broken,
            report
                .unknown
                .into_iter()
                .map(|unknown| unknown.resource)
                .collect(),
        )
    }

    #[test]
    fn redis_holds_when_everyone_reaches_it() {
        assert_eq!(redis_report(|_| {}), (vec![], vec![]));
    }

    #[test]
    fn redis_that_is_away_for_this_plugin_or_for_all_nodes_is_one_violation() {
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
    fn a_node_that_does_not_say_is_unknown_and_a_dead_one_is_not_asked() {
        let silent = |data: &mut Data| data.nodes[1].redis_connected = None;
        assert_eq!(redis_report(silent), (vec![], vec![Some("node-2".into())]));
        let dead = |data: &mut Data| {
            data.nodes[1].redis_connected = None;
            data.nodes[1].answered = Some(false);
        };
        assert_eq!(redis_report(dead), (vec![], vec![]));
    }

    #[test]
    fn where_redis_refuses_this_plugin_the_nodes_have_the_word() {
        let refused = |data: &mut Data| {
            data.redis_connected = None;
            data.redis.refused = Some(true);
        };
        assert_eq!(redis_report(refused), (vec![], vec![]));
        assert_eq!(
            redis_report(|data| data.redis_connected = None),
            (vec![], vec![None])
        );
        let nobody = |data: &mut Data| {
            refused(data);
            data.nodes.clear();
        };
        assert_eq!(redis_report(nobody), (vec![], vec![None]));
    }
}
