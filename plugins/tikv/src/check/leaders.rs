//! `leader_imbalance`.

use std::collections::BTreeMap;

use operator_plugin_api::{Unknown, Violation};
use operator_plugin_kit::Findings;
use serde_json::json;

use super::{names::LEADER_IMBALANCE, no_threshold, store_health::is_tiflash};
use crate::observation::{Data, Store, StoreState};

pub(super) fn check(data: &Data, findings: &mut Findings) {
    let Some(most_percent) = data.thresholds.leader_imbalance_percent else {
        let reason = no_threshold("leader_imbalance_percent");
        return findings.unknown(Unknown::new(LEADER_IMBALANCE, reason));
    };
    let Some(floor) = data.thresholds.leader_imbalance_floor else {
        let reason = no_threshold("leader_imbalance_floor");
        return findings.unknown(Unknown::new(LEADER_IMBALANCE, reason));
    };
    let Some(scores) = data.stores.as_deref().and_then(scores) else {
        let reason = "the leader score of a store that may have leaders is unknown";
        return findings.unknown(Unknown::new(LEADER_IMBALANCE, reason));
    };
    let Some((mean, id, score)) = farthest(&scores) else {
        return;
    };
    let off = (score - mean).abs();
    let percent = 100.0 * off / mean;
    if off <= floor || percent <= most_percent {
        return;
    }
    let message = format!(
        "store {id} has a leader score of {score:.0}, {percent:.0} % off the mean of {mean:.0}"
    );
    let by_store: BTreeMap<_, _> = scores
        .iter()
        .map(|(id, score)| (id.to_string(), score))
        .collect();
    let evidence = json!({
        "leader_scores": by_store,
        "mean": mean,
        "threshold_percent": most_percent,
        "leader_schedule_limit": data.config.leader_schedule_limit,
        "paused_schedulers": data.schedulers.paused,
    });
    findings.violation(Violation::new(LEADER_IMBALANCE, message).evidence(evidence));
}

/// The score of each store that PD gives leaders to. None where one of them is unknown, or whether it is such a store.
fn scores(stores: &[Store]) -> Option<Vec<(u64, f64)>> {
    let mut scores = Vec::new();
    for store in stores {
        if is_tiflash(store)?
            || store.state? != StoreState::Up
            || store.evicting_leaders?
            || store.leader_weight? <= 0.0
            || !store.may_lead?
        {
            continue;
        }
        let score = store
            .leader_score
            .filter(|score| score.is_finite() && *score >= 0.0)?;
        scores.push((store.id, score));
    }
    Some(scores)
}

/// The mean, and the store that is farthest from it.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are far fewer than 2^52 stores"
)]
fn farthest(scores: &[(u64, f64)]) -> Option<(f64, u64, f64)> {
    // Each part by itself, so that no sum is too large.
    let mean = scores
        .iter()
        .map(|(_, score)| score / scores.len() as f64)
        .sum::<f64>();
    let off = |score: f64| (score - mean).abs();
    let (id, score) = scores.iter().max_by(|a, b| off(a.1).total_cmp(&off(b.1)))?;
    (mean > 0.0).then_some((mean, *id, *score))
}

#[cfg(test)]
mod tests {
    use operator_plugin_kit::testing::verdicts;

    use super::*;
    use crate::check::samples::{self, healthy};

    fn judge(scores: [f64; 3], change: impl FnOnce(&mut [Store])) -> Vec<String> {
        let mut data = healthy();
        let stores = data.stores.as_mut().unwrap();
        for (store, score) in stores.iter_mut().zip(scores) {
            store.leader_score = Some(score);
        }
        change(stores);
        let mut findings = Findings::default();
        check(&data, &mut findings);
        verdicts(&findings.report())
    }

    #[test]
    fn a_store_far_from_the_mean_is_an_imbalance() {
        assert_eq!(judge([41.0, 30.0, 25.0], |_| {}), [""; 0]);
        assert_eq!(
            judge([90.0, 3.0, 3.0], |_| {}),
            ["leader_imbalance * violated"]
        );
        assert_eq!(
            judge([100.0, 100.0, 10.0], |_| {}),
            ["leader_imbalance * violated"]
        );
        assert_eq!(judge([9.0, 0.0, 0.0], |_| {}), [""; 0], "too few to matter");
        assert_eq!(judge([0.0, 0.0, 0.0], |_| {}), [""; 0]);
        assert_eq!(
            judge([f64::MAX, f64::MAX, 0.0], |_| {}),
            ["leader_imbalance * violated"]
        );
    }

    #[test]
    fn only_stores_that_get_leaders_count_and_all_of_them_must_be_known() {
        assert_eq!(
            judge([60.0, 60.0, 0.0], |stores| stores[2].evicting_leaders =
                Some(true)),
            [""; 0]
        );
        assert_eq!(
            judge([60.0, 60.0, 0.0], |stores| stores[2].leader_weight =
                Some(0.0)),
            [""; 0]
        );
        assert_eq!(
            judge([60.0, 60.0, 0.0], |stores| stores[2].state =
                Some(StoreState::Offline)),
            [""; 0]
        );
        let by_rule = |may_lead| judge([60.0, 60.0, 0.0], |stores| stores[2].may_lead = may_lead);
        assert_eq!(by_rule(Some(false)), [""; 0]);
        assert_eq!(by_rule(Some(true)), ["leader_imbalance * violated"]);
        let unknown = ["leader_imbalance * unknown"];
        assert_eq!(by_rule(None), unknown);
        assert_eq!(
            judge([60.0, 60.0, 0.0], |stores| stores[2].evicting_leaders =
                None),
            unknown
        );
        assert_eq!(
            judge([60.0, 60.0, 0.0], |stores| stores[0].leader_score = None),
            unknown
        );
        assert_eq!(
            judge([60.0, 60.0, 60.0], |stores| stores[0].leader_score =
                Some(-1.0)),
            unknown
        );
    }

    #[test]
    fn without_its_thresholds_no_imbalance_is_judged() {
        let without = |change: fn(&mut Data)| samples::judge(super::check, change);
        let expected = ["leader_imbalance * unknown"];
        assert_eq!(
            without(|data| data.thresholds.leader_imbalance_percent = None),
            expected
        );
        assert_eq!(
            without(|data| data.thresholds.leader_imbalance_floor = None),
            expected
        );
    }
}
