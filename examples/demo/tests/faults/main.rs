//! Real faults on a real cluster: the right ticket opens in time, no other one does, and it resolves after the repair.
//!
//! If a grace period is a minute, the test of that fault shortens it. Unless latency is the fault, its threshold is so high
//! that a busy machine alone does not exceed it. All other settings are the defaults.

#[path = "../scene/mod.rs"]
mod scene;

use std::time::Duration;

use operator_demo::{Cluster, Options, cluster::get, redis, wait};
use rustix::process::Signal;
use serde_json::Value;

use scene::{GRACE, Latency, Moment, PATIENCE, Scene};

fn signal(cluster: &Cluster, index: usize, signal: Signal) {
    let process = cluster.nodes[index].process.as_ref().expect("a node");
    process.signal(signal).expect("a signal");
}

fn kill_node(cluster: &mut Cluster, index: usize) {
    let process = cluster.nodes[index].process.as_mut().expect("a node");
    process.kill().expect("a dead node");
}

#[test]
fn a_killed_node_is_down() {
    Scene::new(Options::default()).break_and_repair(
        "critical node_down node-2",
        Duration::ZERO,
        &["node_down node-2"],
        |cluster| kill_node(cluster, 1),
        |cluster| cluster.start_node(1).expect("a node"),
    );
}

#[test]
fn a_stopped_node_is_down() {
    Scene::new(Options::default()).break_and_repair(
        "critical node_down node-3",
        Duration::ZERO,
        &["node_down node-3"],
        |cluster| signal(cluster, 2, Signal::STOP),
        |cluster| signal(cluster, 2, Signal::CONT),
    );
}

#[test]
fn when_the_node_of_the_management_url_dies_another_one_answers() {
    Scene::new(Options::default()).break_and_repair(
        "critical node_down node-1",
        Duration::ZERO,
        &["node_down node-1"],
        |cluster| kill_node(cluster, 0),
        |cluster| cluster.start_node(0).expect("a node"),
    );
}

#[test]
fn a_killed_redis_is_disconnected_and_no_node_is_down() {
    Scene::new(Options::default()).break_and_repair(
        "critical redis_disconnected",
        Duration::ZERO,
        &["redis_disconnected"],
        |cluster| {
            cluster
                .redis
                .as_mut()
                .expect("Redis")
                .kill()
                .expect("a dead Redis");
        },
        |cluster| cluster.start_redis().expect("Redis"),
    );
}

#[test]
fn a_frozen_redis_is_disconnected() {
    Scene::new(Options::default()).break_and_repair(
        "critical redis_disconnected",
        Duration::ZERO,
        &["redis_disconnected"],
        |cluster| {
            let answer = redis::command(cluster.redis_port, "CLIENT PAUSE 8000 ALL");
            assert_eq!(answer.expect("an answer"), "+OK");
        },
        |_| {},
    );
}

/// Slows every check down, and waits until the p99 of the last minute in Prometheus shows it.
fn slow_down(cluster: &Cluster) {
    cluster
        .set_faults(r#"{"added_latency_ms":100}"#)
        .expect("chaos");
    wait::until(PATIENCE, "a slow p99", || {
        (p99_seconds(cluster)? > 0.05).then_some(())
    })
    .expect("the p99 in Prometheus");
}

fn speed_up(cluster: &Cluster) {
    cluster.set_faults("{}").expect("no chaos");
}

fn p99_seconds(cluster: &Cluster) -> Option<f64> {
    let buckets = "rate(ratelimiter_check_duration_seconds_bucket%5B1m%5D)";
    let query = format!("histogram_quantile(0.99,sum%20by%20(le)({buckets}))");
    let url = cluster.prometheus_url();
    let answer = get(&format!("{url}/api/v1/query?query={query}")).ok()?;
    let answer: Value = serde_json::from_str(&answer).ok()?;
    answer["data"]["result"][0]["value"][1]
        .as_str()?
        .parse()
        .ok()
}

#[test]
fn added_latency_is_high_latency() {
    Scene::with(Options::default(), Latency::Checked).break_and_repair(
        "warning high_latency",
        GRACE,
        &["high_latency"],
        |cluster| slow_down(cluster),
        |cluster| speed_up(cluster),
    );
}

#[test]
fn without_prometheus_latency_is_unknown_and_nothing_resolves() {
    let mut scene = Scene::with(Options::default(), Latency::Checked);
    let from = scene.now();
    slow_down(&scene.cluster);
    scene.expect_open(from, "warning high_latency", Moment::now(), GRACE);
    let prometheus = scene.cluster.prometheus.as_mut().expect("Prometheus");
    prometheus.kill().expect("a dead Prometheus");
    speed_up(&scene.cluster);
    let unsure = |heartbeat: &Value| heartbeat["violated"] == 0 && heartbeat["unknown"] == 1;
    // More than one, so that it is not by chance.
    for _ in 0..3 {
        scene
            .operator
            .wait_for_heartbeat(scene.now(), "unknown latency", PATIENCE, unsure)
            .expect("a heartbeat");
    }
    scene.assert_nothing_resolved(from);
    scene.cluster.start_prometheus().expect("Prometheus");
    scene.expect(from, "resolved warning high_latency");
    scene.wait_until_healthy(scene.now());
    scene.assert_only_opened(from, &["high_latency"]);
}

#[test]
fn non_atomic_checks_allow_too_much() {
    let options = Options {
        default_limit: 50,
        default_window_ms: 20_000,
        ..Options::default()
    };
    let scene = Scene::new(options);
    let from = scene.now();
    let key = scene.overshoot();
    let broken = Moment::now();
    let tickets = [
        format!("critical ghost_allowing {key}"),
        format!("warning over_limit {key}"),
    ];
    for ticket in &tickets {
        scene.expect_open(from, ticket, broken, Duration::ZERO);
    }
    for ticket in &tickets {
        scene.expect(from, &format!("resolved {ticket}"));
    }
    scene.wait_until_healthy(scene.now());
    scene.assert_only_opened(from, &tickets.each_ref().map(String::as_str));
}

#[test]
fn checks_allowed_during_a_redis_outage_are_reported_afterwards() {
    let options = Options {
        default_limit: 50,
        default_window_ms: 20_000,
        on_redis_error: "allow",
        ..Options::default()
    };
    let mut scene = Scene::new(options);
    let from = scene.now();
    let redis = scene.cluster.redis.as_mut().expect("Redis");
    redis.kill().expect("a dead Redis");
    let disconnected = "critical redis_disconnected";
    scene.expect_open(from, disconnected, Moment::now(), Duration::ZERO);
    let burst = ["--count", "300", "--keys", "1", "--key-prefix", "hot:"];
    assert_eq!(scene.run_load("burst", &burst), 300, "all are allowed");
    scene.cluster.start_redis().expect("Redis");
    let ghost = "critical ghost_allowing hot:0";
    scene.expect_open(from, ghost, Moment::now(), Duration::ZERO);
    scene.expect(from, &format!("resolved {disconnected}"));
    scene.expect(from, &format!("resolved {ghost}"));
    scene.wait_until_healthy(scene.now());
    scene.assert_only_opened(from, &[disconnected, ghost]);
}

#[test]
fn when_everything_is_dead_the_subject_is_unobservable_and_open_tickets_stay() {
    let mut scene = Scene::new(Options::default());
    let from = scene.now();
    kill_node(&mut scene.cluster, 1);
    let down = "critical node_down node-2";
    scene.expect_open(from, down, Moment::now(), Duration::ZERO);
    for process in [&mut scene.cluster.redis, &mut scene.cluster.prometheus] {
        let server = process.as_mut().expect("a server");
        server.kill().expect("a dead server");
    }
    kill_node(&mut scene.cluster, 0);
    kill_node(&mut scene.cluster, 2);
    let unobservable = "critical operator.subject_unobservable";
    scene.expect_open(from, unobservable, Moment::now(), Duration::ZERO);
    let blind = |heartbeat: &Value| heartbeat["observed"] == false;
    for _ in 0..3 {
        let heartbeat = scene
            .operator
            .wait_for_heartbeat(scene.now(), "blind", PATIENCE, blind);
        heartbeat.expect("a blind heartbeat");
    }
    scene.assert_nothing_resolved(from);
    scene.cluster.start_redis().expect("Redis");
    for index in 0..3 {
        scene.cluster.start_node(index).expect("a node");
    }
    scene.cluster.start_prometheus().expect("Prometheus");
    scene.expect(from, &format!("resolved {unobservable}"));
    scene.expect(from, &format!("resolved {down}"));
    scene.wait_until_healthy(scene.now());
    let tickets = scene.operator.tickets().expect("tickets");
    let open = |ticket: &&Value| ticket["state"] == "open";
    assert_eq!(tickets.iter().find(open), None);
    assert!(scene.folder.join("state").exists());
}
