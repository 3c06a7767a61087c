//! On a Redis Cluster, which refuses commands that span slots.

use serde_json::json;

use crate::support::{Node, Redis, load};

#[test]
fn checks_limits_and_resets_work_on_a_cluster() {
    let cluster = Redis::start_cluster(3);
    let redis = &cluster[0];
    let (a, b) = (
        Node::start("a", redis, &["--redis-cluster"]),
        Node::start("b", redis, &["--redis-cluster"]),
    );
    let targets = [a.url(""), b.url("")];
    let (code, summary) = load(&[
        "--target",
        &targets[0],
        "--target",
        &targets[1],
        "--count",
        "3000",
        "--keys",
        "5",
        "--limit",
        "100",
    ]);
    assert_eq!(
        (code, &summary["allowed"]),
        (Some(0), &json!(500)),
        "{summary}"
    );
    let counters = b.get("/api/v1/counters?prefix=load:").json();
    let counters = counters["counters"].as_array().unwrap().iter();
    let counters: Vec<_> = counters
        .map(|it| (it["key"].as_str().unwrap(), &it["count"]))
        .collect();
    let hundred = &json!(100);
    let expected = ["load:0", "load:1", "load:2", "load:3", "load:4"].map(|key| (key, hundred));
    assert_eq!(counters, expected, "found on every primary");
    a.put("/api/limits/k", json!({ "limit": 1 }));
    assert_eq!((a.allowed_of(2, "k"), b.allowed_of(1, "k")), (1, 0));
    assert_eq!(b.delete("/api/v1/counters/k").json()["reset"], true);
    assert_eq!(a.allowed_of(2, "k"), 1);
    assert_eq!(
        a.post("/api/v1/blocks/x", json!({ "duration_seconds": 60 }))
            .status,
        200
    );
    assert_eq!(b.check("x").status, 429);
}
