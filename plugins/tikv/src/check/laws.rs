//! Laws that hold for every observation.

use operator_plugin_api::{CheckReport, Observation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{check, samples};
use crate::{
    observation::{Data, EvictLeader, PausedScheduler, Store, StoreMetrics, StoreState},
    thresholds::Thresholds,
};

fn judge(data: &Data) -> CheckReport {
    check(data, &Thresholds::default())
}

fn known<T: std::fmt::Debug + Clone + 'static>(values: Vec<T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.8, prop::sample::select(values))
}

prop_compose! {
    fn any_store()(
        id in 1_u64..4,
        state in known(vec![StoreState::Up, StoreState::Up, StoreState::Disconnected, StoreState::Down, StoreState::Offline]),
        heartbeat_age_ms in known(vec![0, 20_001, 1_800_001]),
        heard_by_leader in known(vec![true, true, false]),
        available_bytes in known(vec![60, 29, 19, 0, 101]),
        leader_score in known(vec![32.0, 0.0, 400.0]),
        evicting_leaders in known(vec![true, false]),
        engine in known(vec!["tikv", "tiflash"]),
    ) -> Store {
        let labels = engine.map(|engine| [("engine".to_owned(), engine.to_owned())].into());
        Store { labels, state, heartbeat_age_ms, heard_by_leader, available_bytes, leader_score, evicting_leaders, ..samples::store(id) }
    }
}

prop_compose! {
    fn any_metrics()(
        scraped in known(vec![true, false]),
        latency_p99_ms in known(vec![1.0, 101.0, -1.0]),
        raft_log_lag in known(vec![0.0, 5_001.0]),
        write_stall_us in known(vec![0.0, 1.0]),
        rejected_per_second in known(vec![0.0, 1.0]),
    ) -> StoreMetrics {
        StoreMetrics { scraped, latency_p99_ms, raft_log_lag, write_stall_us, rejected_per_second, ..StoreMetrics::default() }
    }
}

prop_compose! {
    fn any_data()(
        mut stores in prop::collection::vec(any_store(), 0..4),
        metrics in prop::option::weighted(0.9, prop::collection::btree_map("[1-3]", any_metrics(), 0..4)),
        leaderless in known(vec![0, 3]),
        down_peer in known(vec![0, 5]),
        leaders in known(vec![0, 7]),
        settled in known(vec![true, true, false]),
        has_leader in known(vec![true, false]),
        healthy in prop::collection::vec(known(vec![true, false]), 3),
        paused_for_ms in known(vec![1, 1_800_001]),
        seen_for_ms in known(vec![1, 1_800_001]),
        max_down in known(vec![1_800_000, 600_000]),
    ) -> Data {
        stores.sort_by_key(|store| store.id);
        stores.dedup_by_key(|store| store.id);
        let mut data = samples::healthy();
        data.cluster_metrics.leader_count = Some([("2".to_owned(), leaders.unwrap_or_default())].into());
        data.stores = Some(stores);
        data.store_metrics = metrics;
        data.regions.leaderless = leaderless;
        data.regions.down_peer.as_mut().unwrap().count = down_peer.unwrap_or_default();
        data.pd.regions_settled = settled;
        data.pd.has_leader = has_leader;
        for (member, healthy) in data.pd.members.as_mut().unwrap().iter_mut().zip(healthy) {
            member.healthy = healthy;
        }
        let name = "balance-leader-scheduler".to_owned();
        data.schedulers.paused = Some(vec![PausedScheduler { name, paused_for_ms, resumes_in_ms: None }]);
        data.schedulers.evict_leader = Some(vec![EvictLeader { store_id: 2, seen_for_ms, leaders_left: None }]);
        data.config.max_store_down_time_ms = max_down;
        data
    }
}

/// Every invariant and resource that is violated or unknown.
fn not_healthy(report: &CheckReport) -> Vec<(String, Option<String>)> {
    let violated = report
        .violations
        .iter()
        .map(|v| (v.invariant.clone(), v.resource.clone()));
    violated
        .chain(
            report
                .unknown
                .iter()
                .map(|u| (u.invariant.clone(), u.resource.clone())),
        )
        .collect()
}

/// The paths of all fields that are known. What is in a list is as known as the list: an entry fewer is another observation.
fn removable(value: &Value, path: &str, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            let path = format!("{path}/{name}");
            removable(field, &path, paths);
            if !field.is_null() {
                paths.push(path);
            }
        }),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, item)| removable(item, &format!("{path}/{i}"), paths));
        }
        _ => {}
    }
}

/// Without the field at this path.
fn without(whole: &Value, path: &str) -> Value {
    let mut part = whole.clone();
    let (parent, name) = path.rsplit_once('/').unwrap();
    part.pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(name);
    part
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let keys = prop::sample::select(vec![
            "pd",
            "stores",
            "regions",
            "schedulers",
            "paused",
            "store_metrics",
            "1",
            "id",
            "state",
            "capacity_bytes",
            "available_bytes",
            "leader_score",
            "members",
            "count",
            "leaderless",
            "paused_for_ms",
            "name",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..4).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn taking_anything_away_never_makes_a_fault_look_healthy(data in any_data()) {
        let before = not_healthy(&judge(&data));
        let whole = serde_json::to_value(&data).unwrap();
        let mut paths = Vec::new();
        removable(&whole, "", &mut paths);
        // A map is as known as it is: an entry fewer says that a store leads nothing, or has no such label.
        let exempt = |path: &str| path.starts_with("/cluster_metrics/leader_count/") || path.contains("/labels/");
        for path in paths.iter().filter(|path| !exempt(path)) {
            // What may not be absent makes the whole observation unreadable, and the SDK then calls everything unknown.
            let Ok(part) = serde_json::from_value::<Data>(without(&whole, path)) else { continue };
            let after = not_healthy(&judge(&part));
            for (invariant, resource) in &before {
                // What was unknown as a whole may turn out broken in parts.
                let still = after.iter().any(|(name, of)| {
                    name == invariant && (of.is_none() || resource.is_none() || of == resource)
                });
                prop_assert!(still, "{invariant} on {resource:?} became healthy without {path}");
            }
        }
    }

    #[test]
    fn nothing_is_reported_twice_and_nothing_is_both(data in any_data()) {
        let mut all = not_healthy(&judge(&data));
        let count = all.len();
        all.sort();
        all.dedup();
        prop_assert_eq!(all.len(), count);
    }

    #[test]
    fn an_observation_survives_the_boundary(data in any_data()) {
        let observation = Observation {
            observed_at_ms: 1, summary: String::new(), data, slis: [].into(), sources: vec![],
        };
        let json = serde_json::to_string(&observation).unwrap();
        prop_assert_eq!(serde_json::from_str::<Observation<Data>>(&json).unwrap(), observation);
    }

    #[test]
    fn whatever_is_read_is_judged_without_a_panic_and_nothing_unseen_is_healthy(json in any_json()) {
        if let Ok(data) = serde_json::from_value::<Data>(json) {
            let report = judge(&data);
            if data.stores.is_none() {
                prop_assert!(not_healthy(&report).iter().any(|(name, _)| name == "store_down"));
            }
        }
    }

    #[test]
    fn any_number_anywhere_is_judged_without_a_panic(data in any_data(), number in any::<f64>(), at in any::<prop::sample::Index>()) {
        let mut whole = serde_json::to_value(&data).unwrap();
        let mut paths = Vec::new();
        removable(&whole, "", &mut paths);
        *whole.pointer_mut(at.get(paths.as_slice()).as_str()).unwrap() = json!(number);
        if let Ok(data) = serde_json::from_value::<Data>(whole) {
            judge(&data);
        }
    }
}

#[test]
fn a_healthy_cluster_has_neither_violations_nor_unknowns() {
    assert_eq!(judge(&samples::healthy()), CheckReport::default());
}

#[test]
fn of_nothing_everything_is_unknown() {
    let report = judge(&serde_json::from_str("{}").unwrap());
    assert_eq!(report.violations, []);
    let mut names: Vec<_> = report
        .unknown
        .iter()
        .map(|unknown| unknown.invariant.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut declared: Vec<_> = crate::describe::description()
        .invariants
        .into_iter()
        .map(|invariant| invariant.name)
        .collect();
    declared.sort();
    assert_eq!(names, declared);
}
