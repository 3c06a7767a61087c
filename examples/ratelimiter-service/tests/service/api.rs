//! The formats of both API versions, and rejected input.

use serde_json::{Value, json};

use crate::support::{Node, Redis};

fn node(args: &[&str]) -> (Redis, Node) {
    let redis = Redis::start();
    let node = Node::start("a", &redis, args);
    (redis, node)
}

#[test]
fn a_check_is_answered_with_its_count_and_its_headers() {
    let (_redis, node) = node(&[]);
    let check = json!({ "key": "user:123", "limit": 2, "window_ms": 60_000 });
    let allowed = node.post("/check", &check);
    let expected =
        json!({ "allowed": true, "current_count": 1, "remaining": 1, "retry_after_seconds": 0 });
    assert_eq!((allowed.status, allowed.json()), (200, expected));
    assert_eq!(
        (
            allowed.header("x-ratelimit-limit"),
            allowed.header("x-ratelimit-remaining")
        ),
        ("2", "1")
    );
    node.post("/check", &check);
    let blocked = node.post("/check", &check);
    let expected =
        json!({ "allowed": false, "current_count": 2, "remaining": 0, "retry_after_seconds": 60 });
    assert_eq!((blocked.status, blocked.json()), (429, expected));
    assert_eq!(
        (
            blocked.header("retry-after"),
            blocked.header("x-ratelimit-reset")
        ),
        ("60", "60")
    );
    assert_eq!(blocked.header("ratelimit-policy"), "\"default\";q=2;w=60");
}

#[test]
fn invalid_checks_are_rejected() {
    let (_redis, node) = node(&[]);
    for body in [
        "",
        "no json",
        "{}",
        r#"{"key":""}"#,
        r#"{"key":"k","limit":-1}"#,
        r#"{"key":"k","window_ms":0}"#,
    ] {
        let reply = node.post("/check", body);
        assert_eq!(reply.status, 400, "{body}");
        reply.error_code();
    }
    let long = json!({ "key": "k", "more": "x".repeat(20_000) });
    assert_eq!(node.post("/check", &long).status, 413);
    assert_eq!(node.put("/api/limits/k", &long).status, 413);
    assert_eq!(node.get("/check").status, 404);
}

#[test]
fn invalid_management_calls_are_rejected() {
    let (_redis, node) = node(&[]);
    for limit in [
        json!({ "key_pattern": "", "max_requests": 1, "window_seconds": 1 }),
        json!({ "key_pattern": "k", "max_requests": -1, "window_seconds": 1 }),
        json!({ "key_pattern": "k", "max_requests": 1, "window_seconds": 0 }),
        json!({ "key_pattern": "k", "max_requests": 1, "window_second": 1 }),
    ] {
        assert_eq!(node.post("/api/v1/limits", &limit).status, 400, "{limit}");
    }
    assert_eq!(
        node.put("/api/limits/k", json!({ "limit": -1 }))
            .error_code(),
        "invalid_limit"
    );
    assert_eq!(
        node.post("/api/v1/blocks/k", json!({ "duration_seconds": 0 }))
            .status,
        400
    );
    assert_eq!(
        node.get("/api/v1/counters?limit=0").error_code(),
        "invalid_query"
    );
    assert_eq!(
        node.get("/api/v1/nodes/nobody").error_code(),
        "node_not_found"
    );
    assert_eq!(node.get("/api/v1/nothing").error_code(), "not_found");
    assert_eq!(node.delete("/health").status, 405);
    assert_eq!(node.delete("/api/v1/counters/%FF").status, 400);
}

#[test]
fn the_legacy_api_uses_its_own_format() {
    let (redis, node) = node(&["--default-limit", "7"]);
    assert_eq!(
        node.get("/api/limits").json(),
        json!({ "default_limit": 7, "default_window_ms": 60_000 })
    );
    let set = node.put("/api/limits/k", json!({ "limit": 2 }));
    assert_eq!(
        set.json(),
        json!({ "key": "k", "limit": 2, "window_ms": 60_000, "updated": true })
    );
    assert_eq!(
        (node.allowed_of(3, "k"), node.allowed_of(1, "other")),
        (2, 1)
    );
    // Keys that legacy services leave in Redis are not counters, and must not interfere.
    redis.query::<()>(&["SET", "ratelimit:k:seq", "5"]);
    redis.query::<()>(&["HSET", "ratelimit:limit:k", "limit", "2", "window_ms", "1"]);
    let counters = json!({ "counters": [
        { "key": "k", "count": 2, "limit": 2, "remaining": 0 },
        { "key": "other", "count": 1, "limit": 7, "remaining": 6 },
    ] });
    assert_eq!(node.get("/api/counters").json(), counters);
    let blocked = json!({ "blocked": [{ "key": "k", "current_count": 2, "limit": 2 }] });
    assert_eq!(node.get("/api/blocks").json(), blocked);
    let nodes = node.get("/api/nodes").json();
    assert_eq!(
        (&nodes["nodes"][0]["id"], &nodes["nodes"][0]["state"]),
        (&json!("a"), &json!("Up"))
    );
    let registered = nodes["nodes"][0]["registered_at"].as_str().unwrap();
    assert_eq!(registered.len(), "2026-01-27T01:48:37.123456".len());
    // A key with such a leftover cannot be counted, and must not affect others.
    assert_eq!(
        (node.check("limit:k").status, node.check("other").status),
        (503, 200)
    );
}

#[test]
fn counters_are_listed_page_by_page_with_their_true_limits() {
    let (_redis, node) = node(&[]);
    node.put("/api/limits/user:2", json!({ "limit": 9 }));
    for key in ["user:1", "user:2", "user:3", "else"] {
        node.check(key);
    }
    node.post(
        "/check",
        json!({ "key": "user:3", "limit": 5, "window_ms": 30_000 }),
    );
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = node
            .get(&format!(
                "/api/v1/counters?prefix=user:&limit=2&cursor={cursor}"
            ))
            .json();
        seen.extend(page["counters"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        next.clone_into(&mut cursor);
    }
    let counter = |key, count, limit: u64, window: u64| json!({ "key": key, "count": count, "limit": limit, "remaining": limit - count, "window_seconds": window });
    let expected = [
        counter("user:1", 1, 100, 60),
        counter("user:2", 1, 9, 60),
        counter("user:3", 2, 5, 30),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn limits_are_listed_with_their_times() {
    let (_redis, node) = node(&[]);
    let limit = json!({ "key_pattern": "user:*", "max_requests": 50, "window_seconds": 60 });
    let set = node.post("/api/v1/limits", limit).json();
    let limits = node.get("/api/v1/limits").json();
    assert_eq!(
        limits["default"],
        json!({ "max_requests": 100, "window_seconds": 60 })
    );
    assert_eq!(limits["limits"], json!([set]));
    assert!(set["created_at"].as_str().unwrap().ends_with('Z'), "{set}");
    assert_eq!(node.delete("/api/v1/limits/user:*").json()["deleted"], true);
    assert_eq!(node.get("/api/v1/limits").json()["limits"], json!([]));
}

#[test]
fn keys_can_contain_any_character() {
    let (_redis, node) = node(&[]);
    for (key, path) in [
        ("a/b", "a%2Fb"),
        ("a/b", "a/b"),
        ("a/reset/reset", "a%2Freset%2Freset"),
        ("ключ 🔑", "%D0%BA%D0%BB%D1%8E%D1%87%20%F0%9F%94%91"),
        ("100%?#{}*", "100%25%3F%23%7B%7D%2A"),
    ] {
        let set = node.put(&format!("/api/limits/{path}"), json!({ "limit": 1 }));
        assert_eq!(set.json()["key"], key);
        assert_eq!(node.allowed_of(2, key), 1, "{key}");
        let reset = json!({ "key": key, "reset": true });
        assert_eq!(
            node.post(&format!("/api/counters/{path}/reset"), "").json(),
            reset
        );
        assert_eq!(node.allowed_of(2, key), 1, "{key}");
        assert_eq!(
            node.delete(&format!("/api/v1/counters/{path}")).json(),
            reset
        );
    }
}

#[test]
fn chaos_needs_its_flag() {
    let (_redis, node) = node(&[]);
    assert_eq!(node.get("/api/v1/chaos").status, 404);
    assert_eq!(
        node.put("/api/v1/chaos", json!({ "redis_hang": true }))
            .status,
        404
    );
}

#[test]
fn with_a_token_everything_that_changes_state_needs_it() {
    let (redis, node) = node(&["--admin-token", "s3cret", "--enable-chaos"]);
    let block = json!({ "duration_seconds": 60 });
    for refused in [
        node.post("/api/v1/blocks/k", &block),
        node.post_with_token("/api/v1/blocks/k", &block, "s3cre"),
        node.put("/api/limits/k", json!({ "limit": 1 })),
        node.delete("/api/v1/counters/k"),
        node.post("/api/v1/nodes/a/drain", ""),
        node.put("/api/v1/chaos", json!({})),
    ] {
        assert_eq!(
            (refused.status, refused.error_code().as_str()),
            (401, "unauthorized")
        );
    }
    assert_eq!(
        (node.check("k").status, node.get("/api/v1/nodes").status),
        (200, 200)
    );
    assert_eq!(
        node.post_with_token("/api/v1/blocks/k", &block, "s3cret")
            .status,
        200
    );
    assert_eq!(node.check("k").status, 429);
    let other = Node::start("b", &redis, &["--admin-token", "s3cret"]);
    let drained = other.post_with_token("/api/v1/nodes/a/drain", "", "s3cret");
    assert_eq!((drained.status, node.get("/health").status), (200, 503));
}

#[test]
fn metrics_are_recorded_with_the_node_id() {
    let (_redis, node) = node(&["--default-limit", "1"]);
    assert_eq!(node.allowed_of(3, "k"), 1);
    let metrics = node.get("/metrics");
    assert!(metrics.header("content-type").starts_with("text/plain"));
    for line in [
        r#"ratelimiter_requests_checked_total{node_id="a",result="allowed"} 1"#,
        r#"ratelimiter_requests_checked_total{node_id="a",result="blocked"} 2"#,
        r#"ratelimiter_check_duration_seconds_count{node_id="a"} 3"#,
        r#"ratelimiter_redis_operations_total{node_id="a",operation="check"} "#,
        r#"ratelimiter_redis_latency_seconds_bucket{node_id="a",le="0.001"} "#,
        r#"ratelimiter_active_counters{node_id="a"} 1"#,
        r#"ratelimiter_node_up{node_id="a"} 1"#,
        r#"ratelimiter_node_state{node_id="a",state="healthy"} 1"#,
    ] {
        assert!(
            metrics.text.contains(line),
            "{line} is missing in\n{}",
            metrics.text
        );
    }
}

#[test]
fn health_names_the_node() {
    let (_redis, node) = node(&[]);
    let mut health = node.get("/health").json();
    let version = health.as_object_mut().unwrap().remove("version");
    assert!(matches!(version, Some(Value::String(_))));
    // Not known before the first check or trial.
    let checks = health.as_object_mut().unwrap().remove("checks");
    assert!(checks.is_some());
    let expected = json!({
        "status": "healthy", "node_id": "a", "redis_connected": true, "draining": false,
        "checks_failing": null, "heartbeats": "working", "heartbeats_failing": null,
    });
    assert_eq!(health, expected);
}
