//! Real faults on a real cluster: the right ticket opens in time, no wrong one does, and it resolves after the repair.
//!
//! Where a grace period is a minute, the test of that fault shortens it. Where latency is not the fault, its threshold is so high
//! that a busy machine alone does not cross it. Everything else is as a newcomer has it.

#[path = "../scene/mod.rs"]
mod scene;

use std::time::Duration;

use operator_demo::{Cluster, Options, cluster::get, redis, wait};
use rustix::process::Signal;
use serde_json::Value;

use scene::{GRACE, Latency, Moment, PATIENCE, Scene};

fn signal(cluster: &Cluster, place: usize, signal: Signal) {
    let process = cluster.nodes[place].process.as_ref().expect("a node");
    process.signal(signal).expect("a signal");
}

fn kill_node(cluster: &mut Cluster, place: usize) {
    let process = cluster.nodes[place].process.as_mut().expect("a node");
    process.kill().expect("a dead node");
}

#[test]
fn a_killed_node_is_down() {
    Scene::new(Options::default()).play(
        "critical node_down node-2",
        Duration::ZERO,
        &["node_down node-2"],
        |cluster| kill_node(cluster, 1),
        |cluster| cluster.start_node(1).expect("a node"),
    );
}

#[test]
fn a_stopped_node_is_down() {
    Scene::new(Options::default()).play(
        "critical node_down node-3",
        Duration::ZERO,
        &["node_down node-3"],
        |cluster| signal(cluster, 2, Signal::STOP),
        |cluster| signal(cluster, 2, Signal::CONT),
    );
}

#[test]
fn when_the_node_of_the_management_url_dies_another_one_answers() {
    Scene::new(Options::default()).play(
        "critical node_down node-1",
        Duration::ZERO,
        &["node_down node-1"],
        |cluster| kill_node(cluster, 0),
        |cluster| cluster.start_node(0).expect("a node"),
    );
}

#[test]
fn a_killed_redis_is_disconnected_and_no_node_is_down() {
    Scene::new(Options::default()).play(
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
    Scene::new(Options::default()).play(
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

/// Makes every check slow, and waits until that is there to be seen: Prometheus tells the p99 of the last minute.
fn slow_down(cluster: &Cluster) {
    cluster.chaos(r#"{"added_latency_ms":100}"#).expect("chaos");
    wait::until(PATIENCE, "a slow p99", || {
        (p99_seconds(cluster)? > 0.05).then_some(())
    })
    .expect("Prometheus sees it");
}

fn speed_up(cluster: &Cluster) {
    cluster.chaos("{}").expect("no chaos");
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
    Scene::with(Options::default(), Latency::Judged).play(
        "warning high_latency",
        GRACE,
        &["high_latency"],
        |cluster| slow_down(cluster),
        |cluster| speed_up(cluster),
    );
}

#[test]
fn without_prometheus_latency_is_unknown_and_nothing_resolves() {
    let mut scene = Scene::with(Options::default(), Latency::Judged);
    let from = scene.now();
    slow_down(&scene.cluster);
    scene.expect_open(from, "warning high_latency", Moment::now(), GRACE);
    let prometheus = scene.cluster.prometheus.as_mut().expect("Prometheus");
    prometheus.kill().expect("a dead Prometheus");
    speed_up(&scene.cluster);
    let unsure = |beat: &Value| beat["violated"] == 0 && beat["unknown"] == 1;
    // One cycle could be a slip.
    for _ in 0..3 {
        scene
            .operator
            .wait_for_heartbeat(scene.now(), "unknown latency", PATIENCE, unsure)
            .expect("a heartbeat");
    }
    scene.resolved_nothing(from);
    scene.cluster.start_prometheus().expect("Prometheus");
    scene.expect(from, "resolved warning high_latency");
    scene.wait_until_healthy(scene.now());
    scene.only(from, &["high_latency"]);
}

#[test]
fn checks_that_are_not_atomic_let_too_much_through() {
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
    scene.only(from, &tickets.each_ref().map(String::as_str));
}

#[test]
fn what_was_allowed_while_redis_was_away_shows_when_it_is_back() {
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
    assert_eq!(scene.drive("burst", &burst), 300, "all are allowed");
    scene.cluster.start_redis().expect("Redis");
    let ghost = "critical ghost_allowing hot:0";
    scene.expect_open(from, ghost, Moment::now(), Duration::ZERO);
    scene.expect(from, &format!("resolved {disconnected}"));
    scene.expect(from, &format!("resolved {ghost}"));
    scene.wait_until_healthy(scene.now());
    scene.only(from, &[disconnected, ghost]);
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
    let blind = |beat: &Value| beat["observed"] == false;
    for _ in 0..3 {
        let beat = scene
            .operator
            .wait_for_heartbeat(scene.now(), "blind", PATIENCE, blind);
        beat.expect("a blind heartbeat");
    }
    scene.resolved_nothing(from);
    scene.cluster.start_redis().expect("Redis");
    for place in 0..3 {
        scene.cluster.start_node(place).expect("a node");
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
