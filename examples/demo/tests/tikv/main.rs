//! Faults of a simulated TiKV cluster: the right ticket opens, no other one does, and it resolves after the repair.
//!
//! Instead of waiting, tests advance the cluster's clock. For the invariants that a test names, grace periods of a minute
//! are shortened to a second; other invariants and the plugin's own delays keep their defaults.

mod scene;

use scene::Scene;
use serde_json::Value;

#[test]
fn a_dead_store_is_disconnected_then_its_peers_are_missed_then_it_is_down() {
    let scene = Scene::new(3, &["store_disconnected", "store_down", "under_replicated"]);
    let from = scene.now();
    scene.control("stores/2/kill");
    scene.control("clock?advance=40s");
    scene.opens(from, "warning store_disconnected store-2");
    scene.assert_only_opened(from, &["store_disconnected store-2"]);
    scene.control("clock?advance=11m");
    scene.opens(from, "warning under_replicated down-peer");
    scene.control("clock?advance=20m");
    scene.opens(from, "critical store_down store-2");
    scene.resolves(from, "warning store_disconnected store-2");
    scene.control("stores/2/start");
    scene.resolves(from, "critical store_down store-2");
    scene.control("clock?advance=2m");
    scene.resolves(from, "warning under_replicated down-peer");
    scene.wait_until_healthy();
    let all = [
        "store_disconnected store-2",
        "under_replicated down-peer",
        "store_down store-2",
    ];
    scene.assert_only_opened(from, &all);
}

#[test]
fn regions_without_a_majority_are_unavailable() {
    let shortened = ["store_disconnected", "region_unavailable"];
    let tickets = [
        "warning store_disconnected store-2",
        "warning store_disconnected store-3",
        "critical region_unavailable",
    ];
    Scene::new(3, &shortened).break_and_repair(
        &tickets,
        |scene| {
            scene.control("stores/2/kill");
            scene.control("stores/3/kill");
            scene.control("clock?advance=1m");
        },
        |scene| {
            scene.control("stores/2/start");
            scene.control("stores/3/start");
            // The leaders that moved to the first store are balanced again.
            scene.control("clock?advance=3m");
        },
    );
}

#[test]
fn regions_that_elect_no_leader_are_unavailable() {
    Scene::new(3, &["region_unavailable"]).break_and_repair(
        &["critical region_unavailable"],
        |scene| scene.control("regions/lose-leader?count=3"),
        |scene| scene.control("regions/heal"),
    );
}

#[test]
fn a_lost_peer_is_reported_as_missing() {
    Scene::new(3, &["under_replicated"]).break_and_repair(
        &["warning under_replicated miss-peer"],
        |scene| {
            scene.pd("config", r#"{"replica-schedule-limit":0}"#);
            scene.control("regions/lose-peer?count=3");
        },
        |scene| {
            scene.pd("config", r#"{"replica-schedule-limit":64}"#);
            scene.control("clock?advance=2m");
        },
    );
}

#[test]
fn a_full_disk_is_low_disk_space_regardless_of_the_files() {
    let scene = Scene::new(3, &["low_disk_space"]);
    let from = scene.now();
    scene.control("stores/1/fill?used=0.75");
    scene.opens(from, "warning low_disk_space store-1");
    // Files that are not TiKV's, which its own size does not include.
    scene.control("stores/3/fill?available=0.1");
    scene.opens(from, "critical low_disk_space store-3");
    scene.control("heal");
    scene.resolves(from, "warning low_disk_space store-1");
    scene.resolves(from, "critical low_disk_space store-3");
    scene.wait_until_healthy();
    scene.assert_only_opened(from, &["low_disk_space store-1", "low_disk_space store-3"]);
}

#[test]
fn each_faulty_store_has_the_ticket_of_its_fault() {
    let shortened = ["high_latency", "raft_log_lag", "write_stall", "server_busy"];
    Scene::new(4, &shortened).break_and_repair(
        &[
            "warning high_latency store-1",
            "critical raft_log_lag store-2",
            "critical write_stall store-3",
            "critical server_busy store-4",
        ],
        |scene| {
            scene.control("stores/1/slow?ms=1500");
            scene.control("stores/2/raft-lag?entries=9000");
            scene.control("stores/3/write-stall?us=500000");
            scene.control("stores/4/busy?per_second=5");
        },
        |scene| scene.control("heal"),
    );
}

#[test]
fn leaders_on_one_store_are_an_imbalance_as_long_as_pd_may_not_move_them() {
    Scene::new(3, &["leader_imbalance"]).break_and_repair(
        &["warning leader_imbalance"],
        |scene| {
            scene.pd("config", r#"{"leader-schedule-limit":0}"#);
            scene.control("stores/1/lead?share=1");
        },
        |scene| {
            scene.pd("config", r#"{"leader-schedule-limit":4}"#);
            scene.control("clock?advance=2m");
        },
    );
}

#[test]
fn a_lost_pd_puts_the_quorum_at_risk_and_everything_else_stays_known() {
    let scene = Scene::new(3, &["pd_member_down", "pd_quorum_at_risk"]);
    let from = scene.now();
    scene.control("pds/pd1/kill");
    let tickets = ["warning pd_member_down pd1", "critical pd_quorum_at_risk"];
    for ticket in tickets {
        scene.opens(from, ticket);
    }
    scene.wait_for_heartbeat("the rest is known", |heartbeat| {
        heartbeat["observed"] == true && heartbeat["violated"] == 2 && heartbeat["unknown"] == 0
    });
    scene.control("pds/pd1/start");
    for ticket in tickets {
        scene.resolves(from, ticket);
    }
    scene.wait_until_healthy();
    scene.assert_only_opened(from, &["pd_member_down pd1", "pd_quorum_at_risk"]);
}

#[test]
fn without_a_quorum_there_is_no_leader_and_nothing_of_the_stores_is_known_or_resolved() {
    let shortened = [
        "pd_no_leader",
        "pd_member_down",
        "pd_quorum_at_risk",
        "low_disk_space",
    ];
    let scene = Scene::new(3, &shortened);
    let from = scene.now();
    scene.control("stores/1/fill?used=0.75");
    scene.opens(from, "warning low_disk_space store-1");
    scene.control("pds/pd1/kill");
    scene.control("pds/pd2/kill");
    scene.opens(from, "critical pd_no_leader");
    scene.control("stores/1/heal");
    let is_blind = |heartbeat: &Value| {
        heartbeat["observed"] == true && heartbeat["unknown"].as_u64() > Some(5)
    };
    for _ in 0..3 {
        scene.wait_for_heartbeat("unknown", is_blind);
    }
    let events = scene.operator.ticket_events_since(from);
    assert!(
        !events.iter().any(|line| line.starts_with("resolved")),
        "{events:#?}"
    );
    scene.control("heal");
    scene.resolves(from, "critical pd_no_leader");
    scene.resolves(from, "warning low_disk_space store-1");
    scene.wait_until_healthy();
    let of_pd = [
        "pd_no_leader",
        "pd_member_down pd1",
        "pd_member_down pd2",
        "pd_quorum_at_risk",
    ];
    scene.assert_only_opened(from, &[&of_pd[..], &["low_disk_space store-1"]].concat());
}

#[test]
fn without_prometheus_the_metrics_are_unknown_and_the_rest_is_not() {
    let mut scene = Scene::new(3, &["low_disk_space"]);
    let from = scene.now();
    let prometheus = scene.cluster.prometheus.as_mut().expect("Prometheus");
    prometheus.kill().expect("a dead Prometheus");
    let unsure = |heartbeat: &Value| {
        heartbeat["observed"] == true && heartbeat["unknown"].as_u64() > Some(0)
    };
    scene.wait_for_heartbeat("unknown metrics", unsure);
    scene.control("stores/1/fill?used=0.75");
    scene.opens(from, "warning low_disk_space store-1");
    scene.control("stores/1/heal");
    scene.resolves(from, "warning low_disk_space store-1");
    scene.cluster.start_prometheus().expect("Prometheus");
    scene.wait_until_healthy();
    scene.assert_only_opened(from, &["low_disk_space store-1"]);
}

#[test]
fn a_prometheus_that_lost_its_data_resolves_no_ticket() {
    let mut scene = Scene::new(3, &["server_busy"]);
    let from = scene.now();
    scene.control("stores/2/busy?per_second=5");
    let ticket = "critical server_busy store-2";
    scene.opens(from, ticket);
    let lost = scene.now();
    scene.restart_prometheus_without_data();
    let unsure = |heartbeat: &Value| heartbeat["unknown"].as_u64() > Some(0);
    scene.wait_for_heartbeat("unknown metrics", unsure);
    let sure = |heartbeat: &Value| heartbeat["observed"] == true && heartbeat["unknown"] == 0;
    scene.wait_for_heartbeat("metrics of half a minute", sure);
    assert_eq!(scene.operator.ticket_events_since(lost), [""; 0]);
    scene.control("heal");
    scene.resolves(lost, ticket);
}

#[test]
fn a_new_leader_of_pd_with_old_heartbeats_opens_no_ticket() {
    // Only the plugin's own delays remain.
    let shortened = [
        "store_down",
        "store_disconnected",
        "region_unavailable",
        "under_replicated",
    ];
    let scene = Scene::new(3, &shortened);
    let from = scene.now();
    // Five minutes pass within fifteen seconds, without heartbeats of any store.
    scene.control("clock?rate=20");
    scene.control("pds/pd1/lead?deaf_for=5m");
    let silent = |heartbeat: &Value| {
        heartbeat["observed"] == true && heartbeat["unknown"].as_u64() > Some(0)
    };
    scene.wait_for_heartbeat("stores that are not heard of", silent);
    scene.wait_until_healthy();
    scene.assert_only_opened(from, &[]);
}

#[test]
fn a_planned_decommission_is_no_alarm() {
    let shortened = [
        "store_down",
        "store_disconnected",
        "under_replicated",
        "low_disk_space",
    ];
    let scene = Scene::new(4, &shortened);
    let from = scene.now();
    scene.control("stores/4/decommission");
    scene.opens(from, "info store_offline store-4");
    scene.control("clock?rate=60");
    scene.resolves(from, "info store_offline store-4");
    scene.wait_until_healthy();
    scene.assert_only_opened(from, &["info store_offline store-4"]);
}

#[test]
fn temporary_settings_that_stay_are_reported() {
    // PD does not report when an eviction began, so the plugin measures it: 2 seconds instead of half an hour.
    let scene = Scene::with(3, &[], "thresholds = { evict_leader_s = 2 }\n");
    let from = scene.now();
    scene.pd("schedulers/balance-region-scheduler", r#"{"delay":7200}"#);
    scene.control("clock?advance=20m");
    scene.pd(
        "schedulers",
        r#"{"name":"evict-leader-scheduler","store_id":3}"#,
    );
    scene.opens(from, "warning evict_leader_left_behind store-3");
    scene.assert_only_opened(from, &["evict_leader_left_behind store-3"]);
    scene.control("clock?advance=11m");
    let paused = "warning scheduler_paused_too_long balance-region-scheduler";
    scene.opens(from, paused);
    scene.pd("schedulers/balance-region-scheduler", r#"{"delay":0}"#);
    scene.resolves(from, paused);
    scene.cluster.stop_evicting(3).expect("an end of it");
    scene.resolves(from, "warning evict_leader_left_behind store-3");
    scene.control("clock?advance=2m");
    scene.wait_until_healthy();
    scene.assert_only_opened(from, &["evict_leader_left_behind store-3", paused]);
}
