//! `region_unavailable` and `under_replicated`.

use operator_plugin_api::Severity;
use serde_json::json;

use super::{
    Findings,
    names::{REGION_UNAVAILABLE, UNDER_REPLICATED},
    standing::{self, Standing},
};
use crate::observation::{Data, RegionCount};

/// What the official rule for miss-peer would fire at, if it could: more is critical.
const MANY_MISSING_PEERS: u64 = 100;

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

/// Regions without a leader, and those whose leader was last seen on a store that is away.
fn unavailable(data: &Data, findings: &mut Findings) {
    let lost = data.stores.as_ref().and_then(|_| led_by_nobody(data));
    let Some((leaderless, lost)) = data.regions.leaderless.zip(lost) else {
        let reason = "it is not known which regions have a leader on a store that is there";
        findings.unknown(REGION_UNAVAILABLE, None, reason);
        return;
    };
    let all = leaderless.saturating_add(lost);
    if all == 0 {
        return;
    }
    if data.pd.regions_settled != Some(true) {
        let reason =
            format!("PD's leader has just changed and knows no leader of {all} regions yet");
        findings.unknown(REGION_UNAVAILABLE, None, reason);
        return;
    }
    let message = format!(
        "{all} regions have no leader: of {leaderless} PD knows none, {lost} were led by a store that is away"
    );
    let evidence = json!({
        "leaderless": leaderless,
        "led_by_a_store_that_is_away": lost,
        "region_count": data.cluster_metrics.region_count,
        "down_peer": data.regions.down_peer,
    });
    findings.violate(REGION_UNAVAILABLE, None, message, evidence);
}

/// The leaders on stores that are not heard of: a region that still has a majority has elected another within seconds.
fn led_by_nobody(data: &Data) -> Option<u64> {
    let leaders = data.cluster_metrics.leader_count.as_ref()?;
    let mut lost: u64 = 0;
    for store in data.stores.as_ref()? {
        match standing::believed(store, data)? {
            Standing::Up => {}
            Standing::Silent | Standing::Down | Standing::Gone => {
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
    let resource = || Some(check.to_owned());
    match regions {
        None => findings.unknown(
            UNDER_REPLICATED,
            resource(),
            format!("PD did not tell its {check} regions"),
        ),
        Some(regions) if regions.count > 0 => {
            let message = format!("{} regions {how}", regions.count);
            let evidence = json!({
                "regions": regions,
                "pending_peer": data.regions.pending_peer,
                "offline_peer": data.regions.offline_peer,
                "max_replicas": data.config.max_replicas,
                "stores_by_state": data.cluster_metrics.stores_by_state,
            });
            findings.violate(UNDER_REPLICATED, resource(), message, evidence);
            if check == "miss-peer" && regions.count > MANY_MISSING_PEERS {
                findings.severity(Severity::Critical);
            }
        }
        Some(_) if data.pd.regions_settled == Some(true) => {}
        Some(_) => {
            let reason = "PD's leader has just changed and has not heard of all regions yet";
            findings.unknown(UNDER_REPLICATED, resource(), reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::samples::{healthy, verdicts},
        observation::StoreState,
    };

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        let mut data = healthy();
        change(&mut data);
        let mut findings = Findings::default();
        check(&data, &mut findings);
        verdicts(&findings.report())
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
    fn leaders_on_a_store_that_is_away_are_none() {
        let away = |state, leaders: u64| {
            judge(|data| {
                data.stores.as_mut().unwrap()[0].state = state;
                data.cluster_metrics
                    .leader_count
                    .as_mut()
                    .unwrap()
                    .insert("1".into(), leaders);
            })
        };
        assert_eq!(away(Some(StoreState::Down), 0), [""; 0]);
        assert_eq!(
            away(Some(StoreState::Down), 7),
            ["region_unavailable * violated"]
        );
        assert_eq!(
            away(Some(StoreState::Disconnected), u64::MAX),
            ["region_unavailable * violated"]
        );
        assert_eq!(away(None, 0), ["region_unavailable * unknown"]);
        assert_eq!(
            judge(|data| data.cluster_metrics.leader_count = None),
            ["region_unavailable * unknown"]
        );
    }

    #[test]
    fn peers_that_are_down_or_missing_are_told_apart() {
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
