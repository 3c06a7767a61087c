//! `store_down`, `store_disconnected`, `store_offline` and `low_disk_space`.

use operator_plugin_api::Severity;
use serde_json::json;

use super::{
    Findings, in_words, named,
    names::{LOW_DISK_SPACE, STORE_DISCONNECTED, STORE_DOWN, STORE_OFFLINE},
    resource,
    standing::{self, Standing},
};
use crate::{
    observation::{Data, Store, StoreState},
    thresholds::Thresholds,
};

/// What PD rounds a size by, at most, twice. Of the capacity.
const ROUNDING: f64 = 0.002;

pub(super) fn check(data: &Data, thresholds: &Thresholds, findings: &mut Findings) {
    let Some(stores) = &data.stores else {
        for invariant in [
            STORE_DOWN,
            STORE_DISCONNECTED,
            STORE_OFFLINE,
            LOW_DISK_SPACE,
        ] {
            findings.unknown(invariant, None, "PD did not tell of its stores");
        }
        return;
    };
    for store in stores {
        heard_of(store, data, findings);
        offline(store, findings);
        disk(store, thresholds, findings);
    }
}

fn heard_of(store: &Store, data: &Data, findings: &mut Findings) {
    let (invariant, how) = match standing::believed(store, data) {
        Some(Standing::Up | Standing::Gone) => return,
        Some(Standing::Down) => (STORE_DOWN, "down"),
        Some(Standing::Silent) => (STORE_DISCONNECTED, "disconnected"),
        None => {
            let reason = match store.heard_by_leader {
                Some(false) => "PD's leader is new and has not heard of it itself yet",
                _ => "its state, its last heartbeat or `max-store-down-time` is not known",
            };
            findings.unknown(STORE_DOWN, resource(store.id), reason);
            findings.unknown(STORE_DISCONNECTED, resource(store.id), reason);
            return;
        }
    };
    let age = store.heartbeat_age_ms.map(in_words);
    let since = match (store.last_heartbeat_ms, age) {
        (Some(0), _) => "it has never been heard of".to_owned(),
        (_, Some(age)) => format!("last heard of {age} ago"),
        (_, None) => "it is not known since when".to_owned(),
    };
    let message = format!("{} is {how}: {since}", named(store));
    findings.violate(invariant, resource(store.id), message, evidence(store));
}

fn offline(store: &Store, findings: &mut Findings) {
    match store.state {
        Some(StoreState::Offline) => {
            let left = store
                .region_count
                .map_or("an unknown number of".into(), |count| count.to_string());
            let message = format!(
                "{} is being taken out of the cluster, {left} peers are left on it",
                named(store)
            );
            findings.violate(STORE_OFFLINE, resource(store.id), message, evidence(store));
        }
        Some(_) => {}
        None => findings.unknown(STORE_OFFLINE, resource(store.id), "its state is not known"),
    }
}

fn disk(store: &Store, thresholds: &Thresholds, findings: &mut Findings) {
    if store.state == Some(StoreState::Tombstone) {
        return;
    }
    let Some(used) = disk_used_percent(store) else {
        let reason = "its capacity or what is available of it is not known";
        findings.unknown(LOW_DISK_SPACE, resource(store.id), reason);
        return;
    };
    let available = 100.0 - used;
    let severity = if available < thresholds.disk_available_percent {
        Severity::Critical
    } else if used > thresholds.disk_used_percent {
        Severity::Warning
    } else {
        return;
    };
    let message = format!(
        "{} has {available:.1} % of its capacity left, {:.1} % is used",
        named(store),
        used
    );
    let evidence = json!({
        "capacity_bytes": store.capacity_bytes,
        "available_bytes": store.available_bytes,
        "own_data_bytes": store.used_bytes,
        "available_percent_at_least": thresholds.disk_available_percent,
        "used_percent_at_most": thresholds.disk_used_percent,
    });
    findings.violate(LOW_DISK_SPACE, resource(store.id), message, evidence);
    findings.severity(severity);
}

/// The share of the capacity that is not available, whoever uses it. Percent. None where the two do not fit together.
#[expect(clippy::cast_precision_loss, reason = "PD tells four digits of either")]
pub(crate) fn disk_used_percent(store: &Store) -> Option<f64> {
    let capacity = store.capacity_bytes.filter(|capacity| *capacity > 0)? as f64;
    let available = store.available_bytes? as f64 / capacity;
    (available <= 1.0 + ROUNDING).then(|| 100.0 * (1.0 - available.min(1.0)))
}

fn evidence(store: &Store) -> serde_json::Value {
    json!({
        "store_id": store.id,
        "address": store.address,
        "version": store.version,
        "labels": store.labels,
        "state": store.state,
        "heartbeat_age_ms": store.heartbeat_age_ms,
        "leader_count": store.leader_count,
        "region_count": store.region_count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::{healthy, verdicts};

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        let mut data = healthy();
        change(&mut data);
        let mut findings = Findings::default();
        check(&data, &Thresholds::default(), &mut findings);
        verdicts(&findings.report())
    }

    fn first(data: &mut Data) -> &mut Store {
        &mut data.stores.as_mut().unwrap()[0]
    }

    #[test]
    fn each_state_is_one_invariant_and_no_other() {
        let state = |state| judge(|data| first(data).state = state);
        assert_eq!(state(Some(StoreState::Up)), [""; 0]);
        assert_eq!(
            state(Some(StoreState::Disconnected)),
            ["store_disconnected store-1 violated"]
        );
        assert_eq!(
            state(Some(StoreState::Down)),
            ["store_down store-1 violated"]
        );
        assert_eq!(
            state(Some(StoreState::Offline)),
            ["store_offline store-1 violated"],
            "planned and alive"
        );
        assert_eq!(
            state(None),
            [
                "store_disconnected store-1 unknown",
                "store_down store-1 unknown",
                "store_offline store-1 unknown"
            ]
        );
    }

    #[test]
    fn a_dead_store_that_is_taken_out_is_down_too() {
        let dead = judge(|data| {
            first(data).state = Some(StoreState::Offline);
            first(data).heartbeat_age_ms = Some(1_800_001);
        });
        assert_eq!(
            dead,
            [
                "store_down store-1 violated",
                "store_offline store-1 violated"
            ]
        );
    }

    #[test]
    fn a_new_leader_is_not_believed_that_a_store_is_away() {
        for heard in [Some(false), None] {
            let verdicts = judge(|data| {
                first(data).state = Some(StoreState::Disconnected);
                first(data).heard_by_leader = heard;
            });
            assert_eq!(
                verdicts,
                [
                    "store_disconnected store-1 unknown",
                    "store_down store-1 unknown"
                ]
            );
        }
        assert_eq!(
            judge(|data| first(data).heard_by_leader = Some(false)),
            [""; 0],
            "those that are up are"
        );
    }

    #[test]
    fn the_disk_is_judged_by_what_is_available() {
        let available = |available| judge(|data| first(data).available_bytes = available);
        assert_eq!(available(Some(30)), [""; 0]);
        assert_eq!(
            available(Some(29)),
            ["low_disk_space store-1 violated warning"]
        );
        assert_eq!(
            available(Some(20)),
            ["low_disk_space store-1 violated warning"]
        );
        assert_eq!(
            available(Some(19)),
            ["low_disk_space store-1 violated critical"]
        );
        for impossible in [None, Some(101), Some(u64::MAX)] {
            assert_eq!(available(impossible), ["low_disk_space store-1 unknown"]);
        }
        assert_eq!(
            judge(|data| first(data).capacity_bytes = Some(0)),
            ["low_disk_space store-1 unknown"]
        );
    }
}
