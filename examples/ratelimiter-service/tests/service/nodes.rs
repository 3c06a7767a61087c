//! Dead nodes, leaving nodes and draining nodes.

use serde_json::json;

use crate::support::{Node, Redis, eventually};

#[test]
fn a_dead_node_stays_listed_as_unhealthy_and_one_that_leaves_is_gone() {
    let redis = Redis::start();
    let a = Node::start("a", &redis, &[]);
    let (mut dead, mut leaving) = (
        Node::start("dead", &redis, &[]),
        Node::start("leaving", &redis, &[]),
    );
    let ids = || -> Vec<String> {
        let nodes = a.get("/api/v1/nodes").json();
        let nodes = nodes["nodes"].as_array().unwrap().iter();
        nodes
            .map(|node| node["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(), ["a", "dead", "leaving"]);
    dead.kill();
    assert_eq!(leaving.terminate(), Some(0));
    assert_eq!(ids(), ["a", "dead"]);
    a.await_state("dead", "unhealthy");
    assert_eq!(a.seen("dead")["redis_connected"], false);
    assert_eq!(a.seen("a")["state"], "healthy");
    let old = a.get("/api/nodes").json();
    assert_eq!(
        [&old["nodes"][0]["state"], &old["nodes"][1]["state"]],
        [&json!("Up"), &json!("Down")]
    );
    let conflict = a.post("/api/v1/nodes/dead/drain", "");
    assert_eq!(
        (conflict.status, conflict.error_code().as_str()),
        (409, "node_unhealthy")
    );
}

#[test]
fn a_dead_node_is_forgotten_after_its_time() {
    let redis = Redis::start();
    let a = Node::start("a", &redis, &["--forget-node-seconds", "4"]);
    let mut dead = Node::start("dead", &redis, &[]);
    dead.kill();
    let unknown = eventually("the node is forgotten", || {
        let reply = a.get("/api/v1/nodes/dead");
        (reply.status == 404).then_some(reply)
    });
    assert_eq!(unknown.error_code(), "node_not_found");
}

#[test]
fn a_node_is_drained_through_another_and_at_once() {
    let redis = Redis::start();
    let (a, b) = (Node::start("a", &redis, &[]), Node::start("b", &redis, &[]));
    assert_eq!(a.post("/api/v1/nodes/b/drain", "").status, 200);
    let refused = b.check("k");
    assert_eq!(
        (refused.status, refused.error_code().as_str()),
        (503, "draining")
    );
    let health = b.get("/health");
    assert_eq!(
        (health.status, &health.json()["draining"]),
        (503, &json!(true))
    );
    assert_eq!(a.check("k").status, 200, "the other goes on");
    a.await_state("b", "draining");
    assert_eq!(a.delete("/api/v1/nodes/b/drain").status, 200);
    assert_eq!((b.check("k").status, b.get("/health").status), (200, 200));
    a.await_state("b", "healthy");
    assert_eq!(
        a.post("/api/v1/nodes/nobody/drain", "").error_code(),
        "node_not_found"
    );
}

#[test]
fn a_node_whose_redis_hangs_can_still_be_drained_through_another() {
    let redis = Redis::start();
    let (a, b) = (
        Node::start("a", &redis, &[]),
        Node::start("b", &redis, &["--enable-chaos"]),
    );
    b.faults(&json!({ "redis_hang": true }));
    assert_eq!(a.post("/api/v1/nodes/b/drain", "").status, 200);
    assert_eq!(b.check("k").error_code(), "draining");
    b.faults(&json!({}));
    eventually("redis learns of it", || {
        redis
            .query::<bool>(&["HEXISTS", "ratelimiter:{policy}:drains", "b"])
            .then_some(())
    });
    assert_eq!(b.check("k").error_code(), "draining");
}

#[test]
fn a_drain_survives_data_loss_of_redis() {
    let redis = Redis::start();
    let a = Node::start("a", &redis, &[]);
    assert_eq!(a.post("/api/v1/nodes/a/drain", "").status, 200);
    redis.query::<()>(&["FLUSHALL"]);
    eventually("redis has the drain again", || {
        let drains: bool = redis.query(&["HEXISTS", "ratelimiter:{policy}:drains", "a"]);
        drains.then_some(())
    });
    assert_eq!(a.check("k").error_code(), "draining");
}

#[test]
fn the_counts_of_another_node_are_fetched_from_it() {
    let redis = Redis::start();
    let (a, mut b) = (Node::start("a", &redis, &[]), Node::start("b", &redis, &[]));
    assert_eq!((a.allowed_of(2, "k"), b.allowed_of(3, "k")), (2, 3));
    let metrics = a.get("/api/v1/nodes/b/metrics").json();
    assert_eq!(
        (&metrics["node_id"], &metrics["allowed_in_window"]),
        (&json!("b"), &json!({ "k": 3 }))
    );
    assert_eq!(metrics["allowed_rate"], 100.0);
    assert!(metrics["latency_p99_ms"].as_f64().unwrap() > 0.0);
    assert!(metrics["redis_latency_ms"].as_f64().unwrap() > 0.0);
    let state = a.get("/api/v1/cluster/state").json();
    assert_eq!(
        [
            &state["node_count"],
            &state["healthy_nodes"],
            &state["total_keys"]
        ],
        [2, 2, 1]
    );
    assert!(state["total_requests_per_second"].as_f64().unwrap() > 0.0);
    b.kill();
    assert_eq!(
        a.get("/api/v1/nodes/b/metrics").error_code(),
        "node_unreachable"
    );
}

#[test]
fn the_legacy_registry_is_maintained_too() {
    let redis = Redis::start();
    let a = Node::start("a", &redis, &[]);
    eventually("the hash is there", || {
        redis
            .query::<bool>(&["EXISTS", "ratelimiter:nodes:a"])
            .then_some(())
    });
    let address: String = redis.query(&["HGET", "ratelimiter:nodes:a", "address"]);
    assert_eq!(address, format!("127.0.0.1:{}", a.port));
    assert!(redis.query::<i64>(&["PTTL", "ratelimiter:nodes:a"]) > 0);
}
