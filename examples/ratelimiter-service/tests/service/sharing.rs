//! Two nodes on one Redis decide as one.

use serde_json::json;

use crate::support::{Node, Redis, load};

fn two_nodes(redis: &Redis) -> (Node, Node) {
    (Node::start("a", redis, &[]), Node::start("b", redis, &[]))
}

#[test]
fn of_20_000_concurrent_checks_through_two_nodes_exactly_the_limit_is_admitted() {
    let redis = Redis::start();
    let (a, b) = two_nodes(&redis);
    for run in ["1:", "2:", "3:"] {
        let targets = [a.url(""), b.url("")];
        let (code, summary) = load(&[
            "--target",
            &targets[0],
            "--target",
            &targets[1],
            "--count",
            "20000",
            "--duration",
            "50",
            "--connections",
            "64",
            "--limit",
            "1000",
            "--key-prefix",
            run,
        ]);
        assert_eq!(code, Some(0), "{summary}");
        assert_eq!(
            (&summary["allowed"], &summary["blocked"]),
            (&json!(1_000), &json!(19_000))
        );
        let key = format!("{run}0");
        let counted =
            a.allowed_in_window(&key).unwrap_or(0) + b.allowed_in_window(&key).unwrap_or(0);
        assert_eq!(
            counted, 1_000,
            "the sum of what the nodes report as allowed"
        );
        assert_eq!(
            redis.query::<u64>(&["ZCARD", &format!("ratelimit:{key}")]),
            1_000
        );
    }
}

#[test]
fn a_reset_is_honoured_by_the_next_check_of_each_node() {
    let redis = Redis::start();
    let (a, b) = two_nodes(&redis);
    a.put("/api/limits/k", json!({ "limit": 1 }));
    for _ in 0..20 {
        assert_eq!((a.allowed_of(2, "k"), b.allowed_of(1, "k")), (1, 0));
        assert_eq!(
            a.delete("/api/v1/counters/k").json(),
            json!({ "key": "k", "reset": true })
        );
        assert_eq!((b.allowed_of(2, "k"), a.allowed_of(1, "k")), (1, 0));
        assert_eq!(b.post("/api/counters/k/reset", "").json()["reset"], true);
    }
    assert_eq!(b.post("/api/counters/k/reset", "").json()["reset"], false);
    let counted = [&a, &b].map(|node| node.allowed_in_window("k"));
    assert_eq!(
        counted,
        [None, None],
        "a reset also restarts the counts of the nodes"
    );
}

#[test]
fn changes_take_effect_on_a_hammered_key() {
    let redis = Redis::start();
    let (a, b) = two_nodes(&redis);
    a.put("/api/limits/k", json!({ "limit": 1 }));
    for limit in 2..20 {
        // Enough in a row that the nodes answer from their caches.
        assert!(a.allowed_of(30, "k") <= 1);
        assert_eq!(b.allowed_of(30, "k"), 0);
        assert_eq!(a.delete("/api/v1/counters/k").json()["reset"], true);
        assert_eq!(
            (b.allowed_of(30, "k"), a.allowed_of(30, "k")),
            (limit - 1, 0)
        );
        b.put("/api/limits/k", json!({ "limit": limit }));
        assert_eq!((a.check("k").status, b.check("k").status), (200, 429));
        a.post("/api/v1/blocks/k", json!({ "duration_seconds": 300 }));
        assert_eq!((a.allowed_of(30, "k"), b.allowed_of(30, "k")), (0, 0));
        a.delete("/api/v1/counters/k");
        assert_eq!(b.allowed_of(30, "k"), 0, "still blocked");
        a.delete("/api/v1/blocks/k");
        assert_eq!(b.allowed_of(30, "k"), limit);
    }
}

#[test]
fn every_refusal_is_counted_including_cached_ones() {
    let redis = Redis::start();
    let a = Node::start("a", &redis, &[]);
    let target = a.url("");
    let (_, summary) = load(&["--target", &target, "--count", "20000", "--limit", "1"]);
    assert_eq!(summary["blocked"], 19_999, "{summary}");
    let metrics = a.get("/metrics").text;
    for line in [
        r#"ratelimiter_requests_checked_total{node_id="a",result="blocked"} 19999"#,
        r#"ratelimiter_check_duration_seconds_count{node_id="a"} 20000"#,
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    let rate = &a.get("/api/v1/nodes/a/metrics").json()["blocked_rate"];
    assert!(rate.as_f64() > Some(99.9), "{rate}");
}

#[test]
fn a_refusal_that_redis_contradicts_is_counted() {
    let redis = Redis::start();
    let a = Node::start("a", &redis, &["--default-limit", "1", "--workers", "1"]);
    let none = r#"ratelimiter_false_blocks_total{node_id="a"} 0"#;
    assert!(a.get("/metrics").text.contains(none));
    crate::support::eventually("a refusal from before the loss", || {
        a.allowed_of(30, "k");
        redis.query::<()>(&["DEL", "ratelimit:k"]);
        a.allowed_of(30, "k");
        (!a.get("/metrics").text.contains(none)).then_some(())
    });
}

#[test]
fn a_new_limit_is_honoured_by_the_next_check_of_each_node() {
    let redis = Redis::start();
    let (a, b) = two_nodes(&redis);
    a.put("/api/limits/k", json!({ "limit": 0 }));
    for limit in 1..20 {
        assert_eq!((a.check("k").status, b.check("k").status), (429, 429));
        a.put("/api/limits/k", json!({ "limit": limit }));
        assert_eq!(b.check("k").status, 200);
    }
    assert_eq!(
        a.delete("/api/v1/limits/k").json(),
        json!({ "key_pattern": "k", "deleted": true })
    );
    assert_eq!(
        b.check("k").header("x-ratelimit-limit"),
        "100",
        "back to the default"
    );
}

#[test]
fn after_a_flushall_nothing_is_blocked_and_the_nodes_are_listed_again() {
    let redis = Redis::start();
    let (a, b) = two_nodes(&redis);
    a.put("/api/limits/k", json!({ "limit": 1 }));
    assert_eq!((a.allowed_of(2, "k"), b.allowed_of(1, "k")), (1, 0));
    redis.query::<()>(&["FLUSHALL"]);
    for node in [&a, &b] {
        let reply = node.check("k");
        assert_eq!(
            (reply.status, reply.header("x-ratelimit-limit")),
            (200, "100")
        );
    }
    a.await_state("b", "healthy");
}

#[test]
fn limits_of_prefixes_are_enforced_and_the_longest_match_wins() {
    let redis = Redis::start();
    let (a, b) = two_nodes(&redis);
    for (pattern, max) in [("user:*", 3), ("user:vip:*", 5), ("user:vip:1", 1)] {
        let limit = json!({ "key_pattern": pattern, "max_requests": max, "window_seconds": 60 });
        assert_eq!(a.post("/api/v1/limits", limit).status, 200);
    }
    for (key, max) in [("user:9", 3), ("user:vip:9", 5), ("user:vip:1", 1)] {
        assert_eq!(b.allowed_of(max + 2, key), max, "{key}");
    }
}

#[test]
fn a_block_refuses_a_key_outright_on_every_node() {
    let redis = Redis::start();
    let (a, b) = two_nodes(&redis);
    let block = a.post("/api/v1/blocks/k", json!({ "duration_seconds": 300 }));
    assert_eq!((block.status, &block.json()["key"]), (200, &json!("k")));
    let refused = b.check("k");
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, "300")
    );
    assert_eq!(b.get("/api/v1/blocks").json()["blocks"][0]["key"], "k");
    assert_eq!(
        b.delete("/api/v1/blocks/k").json(),
        json!({ "key": "k", "unblocked": true })
    );
    assert_eq!(a.check("k").status, 200);
}

#[test]
fn a_short_window_keeps_the_entries_of_a_long_one() {
    let redis = Redis::start();
    let a = Node::start("a", &redis, &[]);
    let long = json!({ "key": "k", "limit": 2, "window_ms": 60_000 });
    let short = json!({ "key": "k", "limit": 100, "window_ms": 1 });
    assert_eq!(
        [
            a.post("/check", &long).status,
            a.post("/check", &long).status
        ],
        [200, 200]
    );
    assert_eq!(a.post("/check", &short).status, 200);
    assert_eq!(a.post("/check", &long).status, 429);
}

#[test]
fn a_window_moves_on_and_the_counter_goes_away() {
    let redis = Redis::start();
    let a = Node::start("a", &redis, &[]);
    let check = json!({ "key": "k", "limit": 1, "window_ms": 300 });
    assert_eq!(
        [
            a.post("/check", &check).status,
            a.post("/check", &check).status
        ],
        [200, 429]
    );
    crate::support::eventually("the window moves on", || {
        (a.post("/check", &check).status == 200).then_some(())
    });
    crate::support::eventually("the counter expires", || {
        (!redis.query::<bool>(&["EXISTS", "ratelimit:k"])).then_some(())
    });
}
