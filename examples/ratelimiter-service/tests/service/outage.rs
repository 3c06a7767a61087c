//! Redis hangs, is killed, and comes back.

use std::time::{Duration, Instant};

use crate::support::{Node, Redis, eventually, within};

/// The nodes' Redis timeout, and the delay that a busy machine may add.
const TIMEOUT: &[&str] = &["--redis-timeout-ms", "200"];
const BOUND: Duration = Duration::from_millis(400);
/// The requirement is one second, and two for the return.
const SEEN_WITHIN: Duration = Duration::from_millis(1_500);

fn await_connected(node: &Node, connected: bool) {
    within(SEEN_WITHIN, "the node sees what became of redis", || {
        (node.get("/health").json()["redis_connected"] == connected).then_some(())
    });
}

fn assert_quick(bound: Duration, what: &str, act: impl FnOnce()) {
    let started = Instant::now();
    act();
    assert!(
        started.elapsed() < bound,
        "{what} took {:?}",
        started.elapsed()
    );
}

#[test]
fn a_frozen_redis_delays_a_check_by_at_most_the_timeout() {
    let redis = Redis::start();
    let node = Node::start("a", &redis, TIMEOUT);
    assert_eq!(node.check("k").status, 200);
    redis.freeze();
    for _ in 0..5 {
        assert_quick(BOUND, "a check", || {
            let reply = node.check("k");
            assert_eq!(
                (reply.status, reply.error_code().as_str()),
                (503, "redis_unavailable")
            );
        });
        assert_quick(Duration::from_millis(150), "/health", || {
            assert_eq!(node.get("/health").status, 200);
        });
    }
    await_connected(&node, false);
    assert_eq!(node.get("/api/v1/counters").status, 503);
    redis.thaw();
    await_connected(&node, true);
    eventually("checks are decided again", || {
        (node.check("k").status == 200).then_some(())
    });
}

#[test]
fn concurrent_checks_on_a_paused_redis_wait_no_longer_than_one() {
    let redis = Redis::start();
    let node = Node::start("a", &redis, TIMEOUT);
    assert_eq!(node.check("k").status, 200);
    redis.query::<()>(&["CLIENT", "PAUSE", "1500", "ALL"]);
    std::thread::scope(|scope| {
        for wave in 0..40 {
            let node = &node;
            scope.spawn(move || {
                // Spread out, so that some are sent while others already wait.
                std::thread::sleep(Duration::from_millis(5 * wave));
                assert_quick(BOUND, "a check", || assert_eq!(node.check("k").status, 503));
            });
        }
    });
    await_connected(&node, false);
    eventually("checks are decided again", || {
        (node.check("k").status == 200).then_some(())
    });
    await_connected(&node, true);
}

#[test]
fn with_allow_a_killed_redis_lets_checks_pass_and_they_are_counted() {
    let mut redis = Redis::start();
    let node = Node::start("a", &redis, &["--on-redis-error", "allow"]);
    assert_eq!(node.allowed_of(2, "k"), 2);
    redis.kill();
    for _ in 0..3 {
        let reply = node.check("k");
        assert_eq!(
            (reply.status, reply.header("x-ratelimit-degraded")),
            (200, "redis")
        );
    }
    assert_eq!(node.allowed_in_window("k"), Some(5));
    assert!(node.get("/metrics").text.contains(r#"result="allowed"} 5"#));
    redis.start_again();
    eventually("checks are decided again", || {
        (!node.check("k").headers.contains_key("x-ratelimit-degraded")).then_some(())
    });
}

#[test]
fn without_redis_the_nodes_are_still_listed_and_deny_denies() {
    let mut redis = Redis::start();
    let (a, mut b) = (Node::start("a", &redis, &[]), Node::start("b", &redis, &[]));
    eventually("a knows b", || {
        (a.seen("b")["state"] == "healthy").then_some(())
    });
    // Without Redis, the node serves what it last polled.
    eventually("a remembers b", || {
        let old = a.get("/api/nodes").json();
        (old["nodes"].as_array()?.len() == 2).then_some(())
    });
    redis.kill();
    assert_eq!(a.check("k").status, 503);
    await_connected(&a, false);
    let nodes = a.get("/api/v1/nodes");
    assert_eq!(nodes.status, 200);
    let nodes = nodes.json();
    assert_eq!(nodes["nodes"][0]["redis_connected"], false);
    assert_eq!(nodes["nodes"][1]["id"], "b");
    eventually("b is asked directly", || {
        let b = a.seen("b");
        (b["redis_connected"] == false && b["state"] == "healthy").then_some(())
    });
    assert_eq!(a.get("/api/nodes").status, 200);
    assert_eq!(a.get("/api/v1/cluster/state").status, 200);
    assert_eq!(a.get("/api/counters").status, 503);
    b.kill();
    redis.start_again();
    await_connected(&a, true);
    a.await_state("b", "unhealthy");
    a.await_state("a", "healthy");
}

#[test]
fn a_node_starts_without_redis_and_uses_it_once_it_is_there() {
    let mut redis = Redis::start();
    redis.kill();
    let node = Node::start_without_waiting("a", &redis, &[]);
    assert_eq!(node.get("/health").json()["redis_connected"], false);
    assert_eq!(node.check("k").status, 503);
    redis.start_again();
    eventually("checks are decided", || {
        (node.check("k").status == 200).then_some(())
    });
    node.await_state("a", "healthy");
}
