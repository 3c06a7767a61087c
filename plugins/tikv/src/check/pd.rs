//! `pd_no_leader`, `pd_member_down` and `pd_quorum_at_risk`.

use operator_plugin_api::{Unknown, Violation};
use operator_plugin_kit::Findings;
use serde_json::json;

use super::names::{PD_MEMBER_DOWN, PD_NO_LEADER, PD_QUORUM_AT_RISK};
use crate::observation::{Data, Member};

pub(super) fn check(data: &Data, findings: &mut Findings) {
    leader(data, findings);
    match data.pd.members.as_deref() {
        Some(members) if !members.is_empty() => {
            for member in members {
                member_down(member, findings);
            }
            quorum(members, findings);
        }
        _ => findings.all_unknown(
            [PD_MEMBER_DOWN, PD_QUORUM_AT_RISK],
            "PD did not list its members",
        ),
    }
}

fn leader(data: &Data, findings: &mut Findings) {
    match data.pd.has_leader {
        Some(true) => {}
        Some(false) => {
            let message = "no PD that answers knows a leader: nothing is scheduled and no timestamps are allocated";
            let evidence = json!({"endpoints": data.pd.endpoints, "members": data.pd.members});
            findings.violation(Violation::new(PD_NO_LEADER, message).evidence(evidence));
        }
        None => {
            let reason = "no PD reported whether there is a leader";
            findings.unknown(Unknown::new(PD_NO_LEADER, reason));
        }
    }
}

fn member_down(member: &Member, findings: &mut Findings) {
    let name = &member.name;
    match member.healthy {
        Some(true) => {}
        Some(false) => {
            let message = format!("PD {name} does not answer the other members");
            let violation = Violation::new(PD_MEMBER_DOWN, message);
            findings.violation(violation.resource(name).evidence(json!(member)));
        }
        None => {
            let reason = format!("the health of PD {name} is unknown");
            findings.unknown(Unknown::new(PD_MEMBER_DOWN, reason).resource(name));
        }
    }
}

/// Violated when a member is down and the loss of one more would lose the majority, or when it is lost already.
fn quorum(members: &[Member], findings: &mut Findings) {
    let count = |healthy| {
        members
            .iter()
            .filter(|member| member.healthy == healthy)
            .count()
    };
    let (down, unknown) = (count(Some(false)), count(None));
    let majority = members.len() / 2 + 1;
    let at_most = members.len() - down;
    if down > 0 && at_most <= majority {
        let consequence = if at_most < majority {
            "the majority is lost"
        } else {
            "the loss of another one loses the majority"
        };
        let message = format!(
            "{down} of {} PD members are down: {consequence}",
            members.len()
        );
        let evidence = json!({"members": members, "majority": majority});
        findings.violation(Violation::new(PD_QUORUM_AT_RISK, message).evidence(evidence));
    } else if unknown > 0 {
        let reason = format!("the health of {unknown} members is unknown");
        findings.unknown(Unknown::new(PD_QUORUM_AT_RISK, reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples;

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        samples::judge(check, change)
    }

    fn health(health: &[Option<bool>]) -> Vec<String> {
        let members = health.iter().enumerate().map(|(index, healthy)| Member {
            name: format!("pd{index}"),
            healthy: *healthy,
            ..Member::default()
        });
        let members = members.collect();
        judge(|data| data.pd.members = Some(members))
    }

    #[test]
    fn a_missing_leader_is_violated_and_no_data_is_unknown() {
        assert_eq!(judge(|_| {}), [""; 0]);
        assert_eq!(
            judge(|data| data.pd.has_leader = Some(false)),
            ["pd_no_leader * violated"]
        );
        assert_eq!(
            judge(|data| data.pd.has_leader = None),
            ["pd_no_leader * unknown"]
        );
    }

    #[test]
    fn one_of_three_is_a_risk_and_one_of_five_is_not() {
        let (up, down, unknown) = (Some(true), Some(false), None);
        assert_eq!(health(&[up]), [""; 0], "alone there is no majority to lose");
        assert_eq!(
            health(&[up, up, down]),
            [
                "pd_member_down pd2 violated",
                "pd_quorum_at_risk * violated"
            ]
        );
        assert_eq!(
            health(&[up, up, up, up, down]),
            ["pd_member_down pd4 violated"]
        );
        assert_eq!(
            health(&[up, up, up, down, down]).last().unwrap(),
            "pd_quorum_at_risk * violated"
        );
        assert_eq!(
            health(&[up, up, unknown]),
            ["pd_member_down pd2 unknown", "pd_quorum_at_risk * unknown"]
        );
        assert_eq!(
            health(&[up, down, unknown]).last().unwrap(),
            "pd_quorum_at_risk * violated"
        );
        let nobody = ["pd_member_down * unknown", "pd_quorum_at_risk * unknown"];
        assert_eq!(health(&[]), nobody);
        assert_eq!(judge(|data| data.pd.members = None), nobody);
    }
}
