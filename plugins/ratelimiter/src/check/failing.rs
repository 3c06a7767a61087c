//! `checks_failing`: a node that answers and a Redis that answers do not show that checks are decided.

use operator_plugin_api::{Unknown, Violation};
use operator_plugin_kit::Findings;
use serde_json::json;

use super::{names::CHECKS_FAILING, nodes::redis_gone};
use crate::observation::{Checks, Data, Node};

/// The verdict on one node.
#[derive(Debug, PartialEq)]
enum Verdict {
    Holds,
    Violated(String),
    Unknown(&'static str),
    NotSupported(&'static str),
    NotApplicable(&'static str),
}

pub(super) fn check(data: &Data, findings: &mut Findings) {
    let nodes: Vec<&Node> = data.nodes.iter().filter(|node| !node.left).collect();
    if nodes.is_empty() {
        return findings.unknown(Unknown::new(CHECKS_FAILING, "no source names any node"));
    }
    let redis_is_gone = redis_gone(data) == Some(true);
    for node in nodes {
        let unknown = |why: &str| {
            Unknown::new(CHECKS_FAILING, format!("{} {why}", node.id)).resource(&node.id)
        };
        match judge(node, redis_is_gone, data.thresholds.failed_checks_percent) {
            Verdict::Holds => {}
            Verdict::Unknown(why) => findings.unknown(unknown(why)),
            Verdict::NotSupported(why) => findings.unknown(unknown(why).not_supported()),
            Verdict::NotApplicable(why) => findings.unknown(unknown(why).not_applicable()),
            Verdict::Violated(why) => {
                let violation = Violation::new(CHECKS_FAILING, format!("{} {why}", node.id))
                    .resource(&node.id)
                    .evidence(json!({"checks": node.checks, "error": node.checks_error}));
                findings.violation(violation);
            }
        }
    }
}

fn judge(node: &Node, redis_is_gone: bool, most_percent: Option<f64>) -> Verdict {
    match node.answered {
        Some(true) => {}
        // It may serve, and cannot be asked from here.
        None => return Verdict::Unknown("cannot be asked"),
        Some(false) => return Verdict::NotApplicable("does not answer, which is `node_down`"),
    }
    let Some(most_percent) = most_percent else {
        return Verdict::Unknown(
            "is judged by `thresholds.failed_checks_percent`, which the observation does not contain",
        );
    };
    let verdict = if node.checks_work == Some(false) {
        let why = node
            .checks_error
            .as_deref()
            .unwrap_or("it does not say why");
        Verdict::Violated(format!("fails checks although Redis answers: {why}"))
    } else {
        by_count(node, most_percent)
    };
    let cut_off = redis_is_gone || node.redis_connected == Some(false);
    match verdict {
        Verdict::Violated(_) if cut_off => {
            Verdict::NotApplicable("does not reach Redis, which is `redis_disconnected`")
        }
        verdict => verdict,
    }
}

fn by_count(node: &Node, most_percent: f64) -> Verdict {
    let works = node.checks_work == Some(true);
    let Some(Checks {
        served,
        failed,
        over_ms,
    }) = &node.checks
    else {
        return Verdict::Unknown("has not told its checks twice yet");
    };
    let over_s = over_ms.unwrap_or_default() / 1_000;
    match (served, failed) {
        (Some(0), Some(0)) if !works => Verdict::NotApplicable("has answered no checks lately"),
        (Some(served), Some(failed)) => {
            let percent = share(*failed, *served);
            if percent > most_percent {
                return Verdict::Violated(format!(
                    "failed {failed} checks within {over_s} s, {percent:.1} % of all; {most_percent} % are allowed"
                ));
            }
            Verdict::Holds
        }
        (_, None) => Verdict::NotSupported("does not count the checks that it fails"),
        (None, Some(_)) => Verdict::Unknown("does not tell how many checks it answers"),
    }
}

/// The share of failures. A share of nothing is none.
#[expect(
    clippy::cast_precision_loss,
    reason = "a few seconds' checks are far below 2^52"
)]
fn share(failed: u64, served: u64) -> f64 {
    let all = failed.saturating_add(served);
    if all == 0 {
        return 0.0;
    }
    100.0 * failed as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::{healthy, node};

    fn counted(served: u64, failed: u64) -> Node {
        Node {
            checks: Some(Checks {
                served: Some(served),
                failed: Some(failed),
                over_ms: Some(5_000),
            }),
            ..node("n")
        }
    }

    fn verdict(node: &Node) -> &'static str {
        match judge(node, false, Some(5.0)) {
            Verdict::Holds => "holds",
            Verdict::Violated(_) => "violated",
            Verdict::Unknown(_) => "unknown",
            Verdict::NotSupported(_) => "not supported",
            Verdict::NotApplicable(_) => "not applicable",
        }
    }

    #[test]
    fn a_share_of_failed_checks_beyond_the_threshold_is_a_fault_of_its_node() {
        assert_eq!(verdict(&counted(95, 5)), "holds");
        assert_eq!(verdict(&counted(94, 6)), "violated");
        assert_eq!(verdict(&counted(0, 1)), "violated");
        let claims = |works| Node {
            checks_work: works,
            ..counted(94, 6)
        };
        assert_eq!(verdict(&claims(Some(true))), "violated");
        let says_so = Node {
            checks_work: Some(false),
            ..counted(100, 0)
        };
        assert_eq!(verdict(&says_so), "violated");
    }

    #[test]
    fn without_checks_there_is_nothing_to_judge_unless_the_node_tries_them_itself() {
        assert_eq!(verdict(&counted(0, 0)), "not applicable");
        let tries = Node {
            checks_work: Some(true),
            ..counted(0, 0)
        };
        assert_eq!(verdict(&tries), "holds");
        let silent = Node {
            checks: None,
            ..node("n")
        };
        assert_eq!(verdict(&silent), "unknown");
        let mut older = counted(5, 0);
        older.checks.as_mut().unwrap().failed = None;
        assert_eq!(verdict(&older), "not supported");
    }

    #[test]
    fn redis_being_away_is_another_fault() {
        let cut_off = Node {
            redis_connected: Some(false),
            ..counted(0, 100)
        };
        assert_eq!(verdict(&cut_off), "not applicable");
        let mut data = healthy();
        data.nodes = vec![counted(0, 100)];
        let violated = |data: &Data| {
            let mut findings = Findings::default();
            check(data, &mut findings);
            findings.report().violations.len()
        };
        assert_eq!(violated(&data), 1);
        data.redis_connected = Some(false);
        assert_eq!(violated(&data), 0);
    }
}
