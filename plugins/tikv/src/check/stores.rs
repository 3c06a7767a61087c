//! `store_down`, `store_disconnected`, `store_offline` and `low_disk_space`.

use operator_plugin_api::{Severity, Unknown, Violation};
use operator_plugin_kit::{Findings, text::decimal};
use serde_json::json;

use super::{
    duration_text, named,
    names::{LOW_DISK_SPACE, STORE_DISCONNECTED, STORE_DOWN, STORE_OFFLINE},
    no_threshold, resource,
    store_health::{self, StoreHealth},
};
use crate::observation::{Data, Store, StoreState};

/// What PD rounds a size by, at most, twice. Of the capacity.
const ROUNDING: f64 = 0.002;

pub(super) fn check(data: &Data, findings: &mut Findings) {
    let Some(stores) = &data.stores else {
        let invariants = [
            STORE_DOWN,
            STORE_DISCONNECTED,
            STORE_OFFLINE,
            LOW_DISK_SPACE,
        ];
        return findings.all_unknown(invariants, "PD did not list its stores");
    };
    for store in stores {
        heartbeat(store, data, findings);
        offline(store, findings);
    }
    disks(stores, data, findings);
}

fn heartbeat(store: &Store, data: &Data, findings: &mut Findings) {
    let resource = resource(store.id);
    let (invariant, state) = match store_health::confirmed(store, data) {
        Some(StoreHealth::Up | StoreHealth::Gone) => return,
        Some(StoreHealth::Down) => (STORE_DOWN, "down"),
        Some(StoreHealth::Silent) => (STORE_DISCONNECTED, "disconnected"),
        None => {
            let reason = match store.heard_by_leader {
                Some(false) => "PD's leader is new and has received no heartbeat of it yet",
                _ => "its state, its last heartbeat or `max-store-down-time` is unknown",
            };
            findings.unknown(Unknown::new(STORE_DOWN, reason).resource(&resource));
            findings.unknown(Unknown::new(STORE_DISCONNECTED, reason).resource(&resource));
            return;
        }
    };
    let age = store.heartbeat_age_ms.map(duration_text);
    let since = match (store.last_heartbeat_ms, age) {
        (Some(0), _) => "it has never sent a heartbeat".to_owned(),
        (_, Some(age)) => format!("its last heartbeat was {age} ago"),
        (_, None) => "the time of its last heartbeat is unknown".to_owned(),
    };
    let message = format!("{} is {state}: {since}", named(store));
    let violation = Violation::new(invariant, message);
    findings.violation(violation.resource(resource).evidence(evidence(store)));
}

fn offline(store: &Store, findings: &mut Findings) {
    let resource = resource(store.id);
    match store.state {
        Some(StoreState::Offline) => {
            let left = store.region_count.map(|count| count.to_string());
            let message = format!(
                "{} is being removed from the cluster, {} peers are left on it",
                named(store),
                left.unwrap_or_else(|| "an unknown number of".into())
            );
            let violation = Violation::new(STORE_OFFLINE, message);
            findings.violation(violation.resource(resource).evidence(evidence(store)));
        }
        Some(_) => {}
        None => {
            let unknown = Unknown::new(STORE_OFFLINE, "its state is unknown");
            findings.unknown(unknown.resource(resource));
        }
    }
}

fn disks(stores: &[Store], data: &Data, findings: &mut Findings) {
    let Some(least_available) = data.thresholds.disk_available_percent else {
        let reason = no_threshold("disk_available_percent");
        return findings.unknown(Unknown::new(LOW_DISK_SPACE, reason));
    };
    let Some(most_used) = data.thresholds.disk_used_percent else {
        let reason = no_threshold("disk_used_percent");
        return findings.unknown(Unknown::new(LOW_DISK_SPACE, reason));
    };
    let present = stores
        .iter()
        .filter(|store| store.state != Some(StoreState::Tombstone));
    for store in present {
        disk(store, least_available, most_used, findings);
    }
}

fn disk(store: &Store, least_available: f64, most_used: f64, findings: &mut Findings) {
    let Some(used) = disk_used_percent(store) else {
        let reason = "its capacity or its available space is unknown";
        let unknown = Unknown::new(LOW_DISK_SPACE, reason);
        return findings.unknown(unknown.resource(resource(store.id)));
    };
    let available = 100.0 - used;
    let severity = if available < least_available {
        Severity::Critical
    } else if used > most_used {
        Severity::Warning
    } else {
        return;
    };
    let message = format!(
        "{} has {} % of its capacity left, {} % is used",
        named(store),
        decimal(available, 1),
        decimal(used, 1)
    );
    let violation = Violation::new(LOW_DISK_SPACE, message)
        .resource(resource(store.id))
        .severity(severity)
        .evidence(json!({
            "capacity_bytes": store.capacity_bytes,
            "available_bytes": store.available_bytes,
            "own_data_bytes": store.used_bytes,
            "available_percent_at_least": least_available,
            "used_percent_at_most": most_used,
        }));
    findings.violation(violation);
}

/// The share of the capacity that is not available, whichever program uses it. Percent. None where the two numbers contradict
/// each other.
#[expect(
    clippy::cast_precision_loss,
    reason = "PD reports four digits of either"
)]
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
    use crate::check::samples;

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        samples::judge(check, change)
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
    fn a_dead_store_that_is_being_removed_is_down_too() {
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
    fn a_new_leader_does_not_decide_that_a_store_is_down() {
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
            "a store that is up is up"
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

    #[test]
    fn without_its_thresholds_no_disk_is_judged() {
        let without = |change: fn(&mut Data)| judge(change);
        let expected = ["low_disk_space * unknown"];
        assert_eq!(
            without(|data| data.thresholds.disk_available_percent = None),
            expected
        );
        assert_eq!(
            without(|data| data.thresholds.disk_used_percent = None),
            expected
        );
    }
}
