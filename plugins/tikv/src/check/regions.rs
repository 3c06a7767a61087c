//! `region_unavailable` and `under_replicated`.

use operator_plugin_api::{Severity, Unknown, Violation};
use operator_plugin_kit::Findings;
use serde_json::json;

use super::{
    names::{REGION_UNAVAILABLE, UNDER_REPLICATED},
    store_health::{self, StoreHealth},
};
use crate::observation::{Data, RegionCount};

/// The number of the official rule for miss-peer, which cannot fire: more is critical.
const MANY_MISSING_PEERS: u64 = 100;
/// Regions elect another leader within seconds: what PD counted longer ago may precede that.
const FRESH_STATS_MS: u64 = 5_000;

pub(super) fn check(data: &Data, findings: &mut Findings) {
    unavailable(data, findings);
    let regions = &data.regions;
    replicas(
        "down-peer",
        "have a peer that has not answered for 10 minutes",
        regions.down_peer.as_ref(),
        data,
        findings,
    );
    replicas(
        "miss-peer",
        "have fewer peers than they should",
        regions.miss_peer.as_ref(),
        data,
        findings,
    );
}

/// Regions without a leader, and those whose leader was last on a store that is down.
fn unavailable(data: &Data, findings: &mut Findings) {
    let Some((leaderless, lost)) = data.regions.leaderless.zip(led_by_missing_stores(data)) else {
        let reason = "it is unknown which regions have a leader on a store that is up";
        return findings.unknown(Unknown::new(REGION_UNAVAILABLE, reason));
    };
    let all = leaderless.saturating_add(lost);
    if all == 0 {
        return;
    }
    if leaderless == 0 && data.regions.stats_age_ms > Some(FRESH_STATS_MS) {
        let reason = "PD's numbers of leaders are older than the loss of a store that had some";
        return findings.unknown(Unknown::new(REGION_UNAVAILABLE, reason));
    }
    if data.pd.regions_settled != Some(true) {
        let reason =
            format!("PD's leader has just changed and knows no leader of {all} regions yet");
        return findings.unknown(Unknown::new(REGION_UNAVAILABLE, reason));
    }
    let message = format!(
        "{all} regions have no leader: PD knows none for {leaderless}, and the leaders of {lost} were on stores that are down"
    );
    let evidence = json!({
        "leaderless": leaderless,
        "led_by_a_store_that_is_away": lost,
        "region_count": data.cluster_metrics.region_count,
        "down_peer": data.regions.down_peer,
    });
    findings.violation(Violation::new(REGION_UNAVAILABLE, message).evidence(evidence));
}

/// The leaders on stores that send no heartbeats: a region that still has a majority elects another within seconds.
fn led_by_missing_stores(data: &Data) -> Option<u64> {
    let stores = data.stores.as_ref()?;
    let leaders = data.cluster_metrics.leader_count.as_ref()?;
    let mut lost: u64 = 0;
    for store in stores {
        match store_health::confirmed(store, data)? {
            StoreHealth::Up => {}
            StoreHealth::Silent | StoreHealth::Down | StoreHealth::Gone => {
                let led = leaders.get(&store.id.to_string()).copied();
                lost = lost.saturating_add(led.unwrap_or_default());
            }
        }
    }
    Some(lost)
}

fn replicas(
    check: &str,
    how: &str,
    regions: Option<&RegionCount>,
    data: &Data,
    findings: &mut Findings,
) {
    let unknown = |reason: String| Unknown::new(UNDER_REPLICATED, reason).resource(check);
    match regions {
        None => findings.unknown(unknown(format!("PD did not list its {check} regions"))),
        Some(regions) if regions.count > 0 => {
            let message = format!("{} regions {how}", regions.count);
            let mut violation = Violation::new(UNDER_REPLICATED, message)
                .resource(check)
                .evidence(json!({
                    "regions": regions,
                    "pending_peer": data.regions.pending_peer,
                    "offline_peer": data.regions.offline_peer,
                    "max_replicas": data.config.max_replicas,
                    "stores_by_state": data.cluster_metrics.stores_by_state,
                }));
            if check == "miss-peer" && regions.count > MANY_MISSING_PEERS {
                violation = violation.severity(Severity::Critical);
            }
            findings.violation(violation);
        }
        Some(_) if data.pd.regions_settled == Some(true) => {}
        Some(_) => {
            let reason =
                "PD's leader has just changed and has not received the state of all regions yet";
            findings.unknown(unknown(reason.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::samples, observation::StoreState};

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        samples::judge(check, change)
    }

    #[test]
    fn a_region_without_a_leader_is_unavailable_unless_pd_is_new() {
        assert_eq!(
            judge(|data| data.regions.leaderless = Some(1)),
            ["region_unavailable * violated"]
        );
        assert_eq!(
            judge(|data| data.regions.leaderless = None),
            ["region_unavailable * unknown"]
        );
        let new = judge(|data| {
            data.regions.leaderless = Some(1);
            data.pd.regions_settled = Some(false);
        });
        assert_eq!(new[0], "region_unavailable * unknown");
    }

    #[test]
    fn leaders_on_a_store_that_is_down_do_not_count() {
        let on_store = |state, leaders: u64| {
            judge(|data| {
                data.stores.as_mut().unwrap()[0].state = state;
                data.cluster_metrics
                    .leader_count
                    .as_mut()
                    .unwrap()
                    .insert("1".into(), leaders);
            })
        };
        assert_eq!(on_store(Some(StoreState::Down), 0), [""; 0]);
        assert_eq!(
            on_store(Some(StoreState::Down), 7),
            ["region_unavailable * violated"]
        );
        assert_eq!(
            on_store(Some(StoreState::Disconnected), u64::MAX),
            ["region_unavailable * violated"]
        );
        assert_eq!(on_store(None, 0), ["region_unavailable * unknown"]);
        assert_eq!(
            judge(|data| data.cluster_metrics.leader_count = None),
            ["region_unavailable * unknown"]
        );
        let old = judge(|data| {
            data.stores.as_mut().unwrap()[0].state = Some(StoreState::Down);
            let leaders = data.cluster_metrics.leader_count.as_mut().unwrap();
            leaders.insert("1".into(), 7);
            data.regions.stats_age_ms = Some(20_000);
        });
        assert_eq!(old, ["region_unavailable * unknown"]);
    }

    #[test]
    fn peers_that_are_down_or_missing_are_different_resources() {
        let count = |count| {
            Some(RegionCount {
                count,
                ..RegionCount::default()
            })
        };
        assert_eq!(
            judge(|data| data.regions.down_peer = count(1)),
            ["under_replicated down-peer violated"]
        );
        assert_eq!(
            judge(|data| data.regions.miss_peer = count(100)),
            ["under_replicated miss-peer violated"]
        );
        assert_eq!(
            judge(|data| data.regions.miss_peer = count(101)),
            ["under_replicated miss-peer violated critical"]
        );
        assert_eq!(
            judge(|data| data.regions.miss_peer = None),
            ["under_replicated miss-peer unknown"]
        );
        let unsettled = judge(|data| data.pd.regions_settled = None);
        assert_eq!(
            unsettled,
            [
                "under_replicated down-peer unknown",
                "under_replicated miss-peer unknown"
            ]
        );
    }
}
