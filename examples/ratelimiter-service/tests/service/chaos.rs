//! Each fault takes effect, and ends when it is switched off.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Node, Redis, eventually, load};

fn node() -> (Redis, Node) {
    let redis = Redis::start();
    let node = Node::start("a", &redis, &["--enable-chaos", "--default-limit", "5"]);
    (redis, node)
}

#[test]
fn ignored_limits_refuse_nothing_and_still_count() {
    let (_redis, node) = node();
    node.faults(&json!({ "ignore_limits": true }));
    assert_eq!(node.get("/api/v1/chaos").json()["ignore_limits"], true);
    assert_eq!(node.allowed_of(8, "k"), 8);
    let counters = node.get("/api/counters").json();
    assert_eq!(
        counters["counters"][0],
        json!({ "key": "k", "count": 8, "limit": 5, "remaining": 0 })
    );
    node.faults(&json!({}));
    assert_eq!(node.allowed_of(1, "k"), 0);
}

#[test]
fn non_atomic_checks_overshoot() {
    let (_redis, node) = node();
    node.faults(&json!({ "non_atomic": true }));
    let target = node.url("");
    let mut tries = 0..;
    // The race is not hit every time: each attempt has its own key.
    let (key, allowed) = eventually("more is admitted than the limit", || {
        let prefix = format!("race{}-", tries.next()?);
        let (_, summary) = load(&[
            "--target",
            &target,
            "--count",
            "500",
            "--key-prefix",
            &prefix,
        ]);
        let allowed = summary["allowed"].as_u64()?;
        (allowed > 5).then(|| (format!("{prefix}0"), allowed))
    });
    assert_eq!(node.allowed_in_window(&key), Some(allowed));
    node.faults(&json!({}));
    let (_, summary) = load(&[
        "--target",
        &target,
        "--count",
        "2000",
        "--key-prefix",
        "atomic",
    ]);
    assert_eq!(summary["allowed"], 5);
}

#[test]
fn a_skewed_clock_drops_entries_that_others_still_count() {
    let (redis, skewed) = node();
    let correct = Node::start("b", &redis, &["--default-limit", "5"]);
    assert_eq!(correct.allowed_of(6, "k"), 5);
    skewed.faults(&json!({ "clock_skew_ms": 120_000 }));
    assert_eq!(skewed.allowed_of(6, "k"), 5);
}

#[test]
fn added_latency_is_waited_for_and_observed() {
    let (_redis, node) = node();
    node.faults(&json!({ "added_latency_ms": 300 }));
    let started = Instant::now();
    assert_eq!(node.check("k").status, 200);
    assert!(started.elapsed() >= Duration::from_millis(300));
    let p99 = node.get("/api/v1/nodes/a/metrics").json()["latency_p99_ms"].clone();
    assert!(p99.as_f64().unwrap() >= 295.0, "{p99}");
}

#[test]
fn a_hanging_redis_is_reported_and_recovers() {
    let (redis, node) = node();
    let other = Node::start("b", &redis, &[]);
    node.faults(&json!({ "redis_hang": true }));
    assert_eq!(node.check("k").status, 503);
    eventually("the node reports it", || {
        (node.get("/health").json()["redis_connected"] == false).then_some(())
    });
    assert_eq!(
        other.seen("a")["redis_connected"],
        false,
        "as seen by the other"
    );
    assert_eq!(other.check("k").status, 200);
    node.faults(&json!({}));
    eventually("checks are decided again", || {
        (node.check("k").status == 200).then_some(())
    });
}

#[test]
fn unknown_faults_are_refused() {
    let (_redis, node) = node();
    assert_eq!(
        node.put("/api/v1/chaos", json!({ "redis_hangs": true }))
            .status,
        400
    );
    assert_eq!(
        node.put("/api/v1/chaos", json!({ "added_latency_ms": 600_000 }))
            .status,
        400
    );
}
