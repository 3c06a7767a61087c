//! Properties that hold for every observation.

use operator_plugin_api::CheckReport;
use operator_plugin_kit::testing::properties::{
    any_json, assert_configuration_does_not_matter, assert_hidden_data_is_never_healthy,
    assert_judges_any_number, assert_reported_once, assert_survives_json, known, not_healthy,
};
use proptest::prelude::*;

use super::{check, samples};
use crate::{
    Config, Thresholds, Tikv,
    observation::{Data, EvictLeader, PausedScheduler, Store, StoreMetrics, StoreState},
};

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
        latency_p99_ms in prop::sample::select(vec![100.0, 0.5]),
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
        data.thresholds.latency_p99_ms = Some(latency_p99_ms);
        data
    }
}

/// Keys of an observation.
const KEYS: &[&str] = &[
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
    "thresholds",
    "latency_p99_ms",
];

/// An entry of these maps that is absent means that a store leads nothing, or does not have such a label.
fn is_entry_of_a_map(path: &str) -> bool {
    path.starts_with("/cluster_metrics/leader_count/") || path.contains("/labels/")
}

/// The strictest configuration, and the most tolerant.
fn configs() -> [Config; 2] {
    let strict = Thresholds {
        latency_p99_ms: 0.1,
        disk_available_percent: 100.0,
        disk_used_percent: 0.0,
        raft_log_lag_entries: 1.0,
        leader_imbalance_percent: 1.0,
        leader_imbalance_floor: 1.0,
        scheduler_paused_s: 1,
        evict_leader_s: 1,
    };
    let tolerant = Thresholds {
        latency_p99_ms: 60_000.0,
        disk_available_percent: 0.0,
        disk_used_percent: 100.0,
        raft_log_lag_entries: 1e9,
        leader_imbalance_percent: 1_000.0,
        leader_imbalance_floor: 1e6,
        scheduler_paused_s: 604_800,
        evict_leader_s: 604_800,
    };
    [strict, tolerant].map(|thresholds| Config {
        thresholds,
        ..Config::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hidden_data_are_never_healthy(data in any_data()) {
        assert_hidden_data_is_never_healthy(&data, check, is_entry_of_a_map);
    }

    #[test]
    fn nothing_is_reported_twice_and_nothing_is_both(data in any_data()) {
        assert_reported_once(&check(&data));
    }

    #[test]
    fn an_observation_survives_the_boundary(data in any_data()) {
        assert_survives_json(&data);
    }

    #[test]
    fn whatever_is_read_is_judged_and_hidden_stores_are_not_healthy(json in any_json(KEYS)) {
        if let Ok(data) = serde_json::from_value::<Data>(json) {
            let report = check(&data);
            if data.stores.is_none() {
                prop_assert!(not_healthy(&report).iter().any(|(name, _)| *name == "store_down"));
            }
        }
    }

    #[test]
    fn any_number_anywhere_is_judged(data in any_data(), number: f64, at: prop::sample::Index) {
        assert_judges_any_number(&data, check, number, at);
    }

    #[test]
    fn two_configurations_judge_an_observation_the_same(data in any_data()) {
        assert_configuration_does_not_matter::<Tikv>(data, configs());
    }
}

#[test]
fn a_healthy_cluster_has_neither_violations_nor_unknowns() {
    assert_eq!(check(&samples::healthy()), CheckReport::default());
}

#[test]
fn of_nothing_everything_is_unknown() {
    let report = check(&serde_json::from_str("{}").unwrap());
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
