//! Each fault is made in a simulated cluster, is detected as what it is, and is gone once it is repaired.

use operator_plugin_kit::testing::verdicts;
use serde_json::json;

use crate::{
    cluster::Watch,
    simulated::{Simulated, unmeasured, wait_for, wait_for_verdicts},
};

#[test]
fn what_prometheus_measures_of_a_store_is_reported_for_that_store() {
    let mut sim = Simulated::start(&[]);
    sim.start_prometheus();
    let watch = Watch::new(sim.config());
    let settle = |what: &str, expected: &[&str]| {
        let mut last = Vec::new();
        wait_for(what, || {
            let now = verdicts(&watch.cycle().1);
            if now != last {
                println!("{what}: {now:?}");
            }
            last = now;
            (last == expected).then_some(())
        });
    };
    settle("two scrapes of every store", &[]);
    sim.control("/stores/1/slow?ms=400");
    sim.control("/stores/2/raft-lag?entries=9000");
    sim.control("/stores/3/write-stall?us=500000");
    sim.control("/stores/3/busy?per_second=5");
    let broken = [
        "high_latency store-1 violated",
        "raft_log_lag store-2 violated",
        "server_busy store-3 violated",
        "write_stall store-3 violated",
    ];
    settle("each fault", &broken);
    sim.control("/heal");
    settle("the cluster to be healthy again", &[]);
}

#[test]
fn a_store_that_is_busy_is_never_healthy_while_prometheus_has_no_rates() {
    let mut sim = Simulated::start(&[]);
    sim.start_prometheus();
    let watch = Watch::new(sim.config());
    let busy = || -> Option<String> {
        let now = verdicts(&watch.cycle().1).into_iter();
        now.into_iter()
            .find(|verdict| verdict.starts_with("server_busy store-2 "))
    };
    let violated = Some("server_busy store-2 violated".to_owned());
    sim.control("/stores/2/busy?per_second=5");
    wait_for("the busy store", || (busy() == violated).then_some(()));

    // Prometheus loses its data: between its first and its second scrape there is no rate.
    sim.restart_prometheus_without_data("5s", "");
    let mut was_unknown = false;
    wait_for("rates of the busy store again", || {
        let (seen, report) = watch.cycle();
        let now = verdicts(&report);
        let of = |end: &str| {
            let whole = format!("server_busy * {end}");
            now.contains(&whole) || now.contains(&format!("server_busy store-2 {end}"))
        };
        assert!(of("violated") || of("unknown"), "{now:?}");
        let metrics = seen.data.store_metrics?;
        was_unknown |= metrics["2"].scraped == Some(true) && of("unknown");
        (was_unknown && of("violated")).then_some(())
    });

    // Relabelling drops the counters, while `up` is there.
    let dropped = "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: 'tikv_(scheduler_too_busy|channel_full)_total', action: drop}\n";
    sim.restart_prometheus_without_data("1s", dropped);
    wait_for("a minute of the other metrics", || {
        let (seen, report) = watch.cycle();
        let now = verdicts(&report);
        assert!(
            now.iter().any(|one| one.starts_with("server_busy ")),
            "{now:?}"
        );
        let metrics = seen.data.store_metrics?;
        metrics["2"].qps.map(drop)
    });
    assert_eq!(busy(), Some("server_busy store-2 unknown".to_owned()));
}

#[test]
fn a_store_that_dies_is_disconnected_and_then_down_and_its_peers_are_missed() {
    let sim = Simulated::start(&[]);
    let watch = Watch::new(sim.config());
    wait_for_verdicts(&watch, &[]);
    sim.control("/stores/2/kill");
    sim.control("/clock?advance=2m");
    wait_for_verdicts(&watch, &["store_disconnected store-2 violated"]);
    sim.control("/clock?advance=15m");
    wait_for_verdicts(
        &watch,
        &[
            "store_disconnected store-2 violated",
            "under_replicated down-peer violated",
        ],
    );
    sim.control("/clock?advance=20m");
    wait_for_verdicts(
        &watch,
        &[
            "store_down store-2 violated",
            "under_replicated down-peer violated",
        ],
    );
    sim.control("/stores/2/start");
    sim.control("/clock?advance=10m");
    wait_for_verdicts(&watch, &[]);
}

#[test]
fn the_loss_of_two_of_three_stores_makes_regions_unavailable() {
    let sim = Simulated::start(&[]);
    let watch = Watch::new(sim.config());
    sim.control("/stores/2/kill");
    sim.control("/stores/3/kill");
    sim.control("/clock?advance=2m");
    let expected = [
        "region_unavailable * violated",
        "store_disconnected store-2 violated",
        "store_disconnected store-3 violated",
    ];
    wait_for_verdicts(&watch, &expected);
    sim.control("/stores/2/start");
    sim.control("/stores/3/start");
    sim.control("/clock?advance=15m");
    wait_for_verdicts(&watch, &[]);
}

#[test]
fn faults_of_disks_and_regions_and_planned_removals_are_distinguished() {
    let sim = Simulated::start(&["--stores", "4"]);
    let watch = Watch::new(sim.config());
    wait_for_verdicts(&watch, &[]);
    sim.control("/stores/1/fill?available=0.1");
    sim.control("/clock?advance=30s");
    wait_for_verdicts(&watch, &["low_disk_space store-1 violated critical"]);
    sim.control("/stores/1/heal");
    sim.control("/clock?advance=30s");
    wait_for_verdicts(&watch, &[]);

    sim.control("/regions/lose-leader?count=3");
    wait_for_verdicts(&watch, &["region_unavailable * violated"]);
    sim.control("/regions/heal");
    sim.control("/clock?advance=2m");
    wait_for_verdicts(&watch, &[]);

    sim.control("/stores/4/decommission");
    let planned = unmeasured(&watch);
    assert_eq!(
        planned,
        ["store_offline store-4 violated"],
        "a planned one is not an alarm"
    );
}

#[test]
fn what_was_left_paused_or_evicted_is_found() {
    let sim = Simulated::start(&[]);
    let watch = Watch::new(sim.config());
    sim.pd_post(
        "/schedulers/balance-leader-scheduler",
        &json!({"delay": 3_600}),
    );
    wait_for_verdicts(&watch, &[]);
    sim.control("/stores/1/lead?share=0.9");
    sim.control("/clock?advance=31m");
    wait_for_verdicts(
        &watch,
        &[
            "leader_imbalance * violated",
            "scheduler_paused_too_long balance-leader-scheduler violated",
        ],
    );
    sim.pd_post("/schedulers/balance-leader-scheduler", &json!({"delay": 0}));
    sim.control("/clock?advance=20m");
    wait_for_verdicts(&watch, &[]);
    sim.pd_post(
        "/schedulers",
        &json!({"name": "evict-leader-scheduler", "store_id": 2}),
    );
    wait_for_verdicts(&watch, &["evict_leader_left_behind store-2 violated"]);
}

fn pd_that(sim: &Simulated, leads: bool) -> String {
    let state = sim.state();
    let pd = state["pds"]
        .as_array()
        .unwrap()
        .iter()
        .find(|pd| pd["leads"] == leads && pd["runs"] == true);
    pd.unwrap()["name"].as_str().unwrap().to_owned()
}

#[test]
fn a_pd_that_dies_is_reported_and_without_a_majority_the_rest_is_unknown() {
    let sim = Simulated::start(&[]);
    let watch = Watch::new(sim.config());
    wait_for_verdicts(&watch, &[]);
    let first = pd_that(&sim, false);
    sim.control(&format!("/pds/{first}/kill"));
    let one = [
        format!("pd_member_down {first} violated"),
        "pd_quorum_at_risk * violated".into(),
    ];
    wait_for_verdicts(&watch, &one.each_ref().map(String::as_str));
    let second = pd_that(&sim, false);
    sim.control(&format!("/pds/{second}/kill"));
    wait_for("PD to have no leader", || {
        let (seen, report) = watch.cycle();
        let now = verdicts(&report);
        assert!(
            !now.iter()
                .any(|verdict| verdict.starts_with("store") && verdict.ends_with("violated")),
            "{now:?}"
        );
        (now.contains(&"pd_no_leader * violated".to_owned())
            && now.contains(&"store_down * unknown".to_owned())
            && seen.data.pd.members.is_some())
        .then_some(())
    });
    sim.control(&format!("/pds/{first}/start"));
    sim.control(&format!("/pds/{second}/start"));
    wait_for("a leader again", || {
        let (_, report) = watch.cycle();
        report.violations.is_empty().then_some(())
    });
}

#[test]
fn a_new_pd_leader_that_hears_of_nobody_opens_no_store_ticket() {
    let sim = Simulated::start(&[]);
    let watch = Watch::new(sim.config());
    wait_for_verdicts(&watch, &[]);
    let next = pd_that(&sim, false);
    sim.control(&format!("/pds/{next}/lead?deaf_for=5m"));
    sim.control("/clock?rate=30");
    let mut was_deaf = false;
    wait_for("the new leader to hear of every store", || {
        let (seen, report) = watch.cycle();
        let violated: Vec<_> = report
            .violations
            .iter()
            .map(|violation| &violation.invariant)
            .collect();
        assert!(violated.is_empty(), "{violated:?}");
        let stores = seen.data.stores?;
        was_deaf |= stores
            .iter()
            .any(|store| store.state == Some(tikv::StoreState::Disconnected));
        (was_deaf
            && stores
                .iter()
                .all(|store| store.heard_by_leader == Some(true)))
        .then_some(())
    });
}
