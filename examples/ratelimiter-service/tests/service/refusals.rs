//! A Redis that answers and refuses the node's work: the node says so, whether anybody sends checks or not.

use serde_json::{Value, json};

use crate::support::{Node, Path, Redis, eventually};

fn await_checks(node: &Node, state: &str) -> Value {
    eventually(&format!("checks are {state}"), || {
        let health = node.get("/health").json();
        (health["checks"] == state).then_some(health)
    })
}

fn await_failing(node: &Node, reason: &str) -> Value {
    eventually(&format!("checks fail: {reason}"), || {
        let health = node.get("/health").json();
        (health["checks_failing"]["reason"] == reason).then_some(health)
    })
}

fn failed(node: &Node, reason: &str) -> u64 {
    let name = format!(
        r#"ratelimiter_checks_failed_total{{node_id="{}",reason="{reason}"}} "#,
        node.id
    );
    let metrics = node.get("/metrics").text;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

#[test]
fn checks_that_a_replica_refuses_are_told_everywhere() {
    let redis = Redis::start();
    let (a, b) = (Node::start("a", &redis, &[]), Node::start("b", &redis, &[]));
    assert_eq!(a.check("k").status, 200);
    let health = await_checks(&a, "working");
    assert_eq!(health["checks_failing"], Value::Null);
    redis.query::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    for _ in 0..20 {
        let refused = a.check("k");
        assert_eq!(
            (refused.status, refused.error_code().as_str()),
            (503, "redis_unavailable")
        );
    }
    let health = await_failing(&a, "read_only");
    assert_eq!(
        (&health["status"], &health["redis_connected"]),
        (&json!("healthy"), &json!(true)),
        "{health}"
    );
    let failing = &health["checks_failing"];
    assert_eq!(failing["message"], "redis is a read-only replica");
    assert!(failing["since"].is_string() && failing["failures"].as_u64() > Some(0));
    await_failing(&b, "read_only");
    let seen = b.seen("a");
    assert_eq!(
        (&seen["checks"], &seen["checks_failing"]["reason"]),
        (&json!("failing"), &json!("read_only")),
        "{seen}"
    );
    assert!(failed(&a, "read_only") > 0);
    assert_eq!(failed(&a, "no_permission"), 0);
    let metrics = a.get("/metrics").text;
    assert!(
        metrics.contains(r#"ratelimiter_checks_total{node_id="a"} 21"#),
        "{metrics}"
    );
    let own = a.get("/api/v1/nodes/a/metrics").json();
    assert!(own["failed_rate"].as_f64() > Some(90.0), "{own}");
    redis.query::<()>(&["REPLICAOF", "NO", "ONE"]);
    await_checks(&a, "working");
    assert_eq!(a.check("k").status, 200);
    let log = a.log();
    let lines = |of: &str| log.lines().filter(|line| line.contains(of)).count();
    assert_eq!(
        lines(r#"fails on redis work="checks" reason="read_only""#),
        1,
        "{log}"
    );
    assert_eq!(lines(r#"works again after failures work="checks""#), 1);
}

#[test]
fn every_refusal_has_its_reason_and_an_idle_node_knows_it() {
    let redis = Redis::start();
    let node = Node::start("a", &redis, &[]);
    for (refuse, reason, accept) in [
        (
            "CONFIG SET min-replicas-to-write 1",
            "no_replicas",
            "CONFIG SET min-replicas-to-write 0",
        ),
        (
            "ACL SETUSER default -zadd",
            "no_permission",
            "ACL SETUSER default +zadd",
        ),
        (
            "ACL SETUSER default -zcount",
            "no_permission",
            "ACL SETUSER default +zcount",
        ),
        (
            "ACL SETUSER default resetkeys ~ratelimiter:*",
            "no_permission",
            "ACL SETUSER default allkeys",
        ),
        ("CLIENT PAUSE 3000 WRITE", "timeout", "CLIENT UNPAUSE"),
    ] {
        let command = |line: &str| redis.query::<()>(&line.split(' ').collect::<Vec<_>>());
        command(refuse);
        let health = await_failing(&node, reason);
        assert_eq!(health["redis_connected"], true, "{refuse}: {health}");
        command(accept);
        await_checks(&node, "working");
    }
    let left: Vec<String> = redis.query(&["KEYS", "ratelimit:*"]);
    assert_eq!(left, [""; 0], "a trial leaves no counter");
}

#[test]
fn a_key_that_is_no_counter_is_told_apart_from_checks_that_fail() {
    let redis = Redis::start();
    let node = Node::start("a", &redis, &[]);
    redis.query::<()>(&["SET", "ratelimit:text", "x"]);
    assert_eq!(node.check("text").status, 503);
    assert_eq!(failed(&node, "wrong_type"), 1);
    assert_eq!(node.check("k").status, 200);
    assert_eq!(node.get("/health").json()["checks"], "working");
    assert!(node.log().contains("`text`"), "{}", node.log());
}

#[test]
fn checks_that_are_allowed_without_redis_count_as_failed() {
    let redis = Redis::start();
    let node = Node::start("a", &redis, &["--on-redis-error", "allow"]);
    redis.query::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(node.check("k").header("x-ratelimit-degraded"), "redis");
    assert_eq!(
        node.get("/health").json()["checks_failing"]["reason"],
        "read_only"
    );
    assert_eq!(failed(&node, "read_only"), 1);
}

#[test]
fn a_refused_heartbeat_is_logged_and_shown() {
    let redis = Redis::start();
    let node = Node::start("a", &redis, &[]);
    for (refuse, reason, accept) in [
        (
            "ACL SETUSER default -hset",
            "no_permission",
            "ACL SETUSER default +hset",
        ),
        // Redis lets a script go on that has begun to write, as that of a check, so only heartbeats fail.
        (
            "CONFIG SET maxmemory 1",
            "out_of_memory",
            "CONFIG SET maxmemory 0",
        ),
    ] {
        let command = |line: &str| redis.query::<()>(&line.split(' ').collect::<Vec<_>>());
        command(refuse);
        let health = eventually("heartbeats fail", || {
            let health = node.get("/health").json();
            (health["heartbeats"] == "failing").then_some(health)
        });
        assert_eq!(health["heartbeats_failing"]["reason"], reason, "{health}");
        assert_eq!(await_checks(&node, "working")["heartbeats"], "failing");
        assert_eq!(node.seen("a")["heartbeats_failing"]["reason"], reason);
        let line = format!(r#"fails on redis work="heartbeats" reason="{reason}""#);
        assert!(node.log().contains(&line), "{}", node.log());
        command(accept);
        eventually("heartbeats work", || {
            (node.get("/health").json()["heartbeats"] == "working").then_some(())
        });
    }
}

#[test]
fn a_path_to_redis_that_swallows_bytes_is_seen_by_the_node_behind_it_alone() {
    let redis = Redis::start();
    let path = Path::to(&redis);
    let url = format!("redis://127.0.0.1:{}", path.port);
    let (cut, other) = (
        Node::start_at("cut", &url, &[]),
        Node::start("other", &redis, &[]),
    );
    await_checks(&cut, "working");
    path.swallow(true);
    let health = await_failing(&cut, "timeout");
    assert_eq!(health["checks"], "failing");
    eventually("redis is away", || {
        (cut.get("/health").json()["redis_connected"] == false).then_some(())
    });
    await_checks(&other, "working");
    assert_eq!(other.seen("cut")["redis_connected"], false);
    path.swallow(false);
    await_checks(&cut, "working");
    assert_eq!(cut.check("k").status, 200);
}
