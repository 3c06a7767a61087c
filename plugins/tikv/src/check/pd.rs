//! `pd_no_leader`, `pd_member_down` and `pd_quorum_at_risk`.

use serde_json::json;

use super::{
    Findings,
    names::{PD_MEMBER_DOWN, PD_NO_LEADER, PD_QUORUM_AT_RISK},
};
use crate::observation::{Data, Member};

pub(super) fn check(data: &Data, findings: &mut Findings) {
    match data.pd.has_leader {
        Some(true) => {}
        Some(false) => {
            let message =
                "no PD that answers knows a leader: nothing is scheduled and no timestamp is given";
            let evidence = json!({"endpoints": data.pd.endpoints, "members": data.pd.members});
            findings.violate(PD_NO_LEADER, None, message.into(), evidence);
        }
        None => findings.unknown(PD_NO_LEADER, None, "no PD said whether there is a leader"),
    }
    match data.pd.members.as_deref() {
        Some(members) if !members.is_empty() => {
            for member in members {
                member_down(member, findings);
            }
            quorum(members, findings);
        }
        _ => {
            for invariant in [PD_MEMBER_DOWN, PD_QUORUM_AT_RISK] {
                findings.unknown(invariant, None, "PD did not tell of its members");
            }
        }
    }
}

fn member_down(member: &Member, findings: &mut Findings) {
    let name = || Some(member.name.clone());
    match member.healthy {
        Some(true) => {}
        Some(false) => {
            let message = format!("PD {} does not answer the other members", member.name);
            findings.violate(PD_MEMBER_DOWN, name(), message, json!(member));
        }
        None => findings.unknown(PD_MEMBER_DOWN, name(), "its health is not known"),
    }
}

/// Broken when a member is away and one more would take the majority along, or has done so already.
fn quorum(members: &[Member], findings: &mut Findings) {
    let count = |healthy| {
        members
            .iter()
            .filter(|member| member.healthy == healthy)
            .count()
    };
    let (away, unknown) = (count(Some(false)), count(None));
    let majority = members.len() / 2 + 1;
    let at_most = members.len() - away;
    if away > 0 && at_most <= majority {
        let left = if at_most < majority {
            "the majority is lost"
        } else {
            "no other may be lost"
        };
        let message = format!("{away} of {} PD members are away, {left}", members.len());
        findings.violate(
            PD_QUORUM_AT_RISK,
            None,
            message,
            json!({"members": members, "majority": majority}),
        );
    } else if unknown > 0 {
        findings.unknown(
            PD_QUORUM_AT_RISK,
            None,
            format!("the health of {unknown} members is not known"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::{healthy, verdicts};

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        let mut data = healthy();
        change(&mut data);
        let mut findings = Findings::default();
        check(&data, &mut findings);
        verdicts(&findings.report())
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
    fn a_leader_is_known_or_not_or_nobody_said() {
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
