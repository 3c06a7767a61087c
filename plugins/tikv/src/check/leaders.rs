//! `leader_imbalance`.

use serde_json::json;

use super::{Findings, names::LEADER_IMBALANCE, standing::is_tiflash};
use crate::{
    observation::{Data, Store, StoreState},
    thresholds::Thresholds,
};

pub(super) fn check(data: &Data, thresholds: &Thresholds, findings: &mut Findings) {
    let Some(scores) = data.stores.as_deref().and_then(scores) else {
        let reason = "the leader score of a store that may have leaders is not known";
        findings.unknown(LEADER_IMBALANCE, None, reason);
        return;
    };
    let Some((mean, id, score)) = farthest(&scores) else {
        return;
    };
    let off = (score - mean).abs();
    let share = 100.0 * off / mean;
    if off <= thresholds.leader_imbalance_floor || share <= thresholds.leader_imbalance_percent {
        return;
    }
    let message = format!(
        "store {id} has a leader score of {score:.0}, {share:.0} % off the mean of {mean:.0}"
    );
    let evidence = json!({
        "leader_scores": scores.iter().map(|(id, score)| (id.to_string(), score)).collect::<std::collections::BTreeMap<_, _>>(),
        "mean": mean,
        "threshold_percent": thresholds.leader_imbalance_percent,
        "leader_schedule_limit": data.config.leader_schedule_limit,
        "paused_schedulers": data.schedulers.paused,
    });
    findings.violate(LEADER_IMBALANCE, None, message, evidence);
}

/// Of each store that PD gives leaders to. None where one of them, or whether it is one, is not known.
fn scores(stores: &[Store]) -> Option<Vec<(u64, f64)>> {
    let mut scores = Vec::new();
    for store in stores {
        if is_tiflash(store)?
            || store.state? != StoreState::Up
            || store.evicting_leaders?
            || store.leader_weight? <= 0.0
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
    use super::*;
    use crate::check::samples::{healthy, verdicts};

    fn judge(scores: [f64; 3], change: impl FnOnce(&mut [Store])) -> Vec<String> {
        let mut data = healthy();
        let stores = data.stores.as_mut().unwrap();
        for (store, score) in stores.iter_mut().zip(scores) {
            store.leader_score = Some(score);
        }
        change(stores);
        let mut findings = Findings::default();
        check(&data, &Thresholds::default(), &mut findings);
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
        let unknown = ["leader_imbalance * unknown"];
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
}
