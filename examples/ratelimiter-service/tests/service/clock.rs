//! Redis's clock went back, so that what was written before lies in the future.

use crate::support::{Node, Redis, eventually};

const HOUR_MS: u64 = 3_600_000;
/// A window of two seconds, and what a busy machine adds.
const SOON_MS: i64 = 60_000;

fn now_ms(redis: &Redis) -> u64 {
    let (seconds, micros): (u64, u64) = redis.query(&["TIME"]);
    seconds * 1_000 + micros / 1_000
}

/// A counter as it is after the clock went back by an hour: its entries and its end lie an hour ahead.
fn write_counter(redis: &Redis, key: &str, entries: u64, window_ms: u64) {
    let name = format!("ratelimit:{key}");
    let at = (now_ms(redis) + HOUR_MS).to_string();
    for entry in 0..entries {
        redis.query::<()>(&["ZADD", &name, &at, &format!("n.{entry}")]);
    }
    let end = (HOUR_MS + window_ms).to_string();
    redis.query::<()>(&["PEXPIRE", &name, &end]);
}

fn live_ms(redis: &Redis, key: &str) -> i64 {
    redis.query(&["PTTL", &format!("ratelimit:{key}")])
}

#[test]
fn a_full_counter_blocks_for_one_window_and_no_longer() {
    let redis = Redis::start();
    let args = ["--default-limit", "3", "--default-window-ms", "2000"];
    let node = Node::start("a", &redis, &args);
    write_counter(&redis, "k", 3, 2_000);
    let refused = node.check("k");
    assert_eq!(refused.status, 429, "it admits no more than the limit");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!(wait <= 2, "blocked for {wait} s");
    assert!(live_ms(&redis, "k") < SOON_MS);
    eventually("the window has passed", || {
        (node.check("k").status == 200).then_some(())
    });
    assert_eq!(node.allowed_of(3, "k"), 2);
}

#[test]
fn a_counter_with_room_goes_on_counting_and_loses_its_old_entries() {
    let redis = Redis::start();
    let args = ["--default-limit", "4", "--default-window-ms", "2000"];
    let node = Node::start("a", &redis, &args);
    write_counter(&redis, "k", 2, 2_000);
    assert_eq!(node.allowed_of(3, "k"), 2);
    assert!(live_ms(&redis, "k") < SOON_MS);
    eventually("the window has passed", || {
        let left: u64 = redis.query(&["EXISTS", "ratelimit:k"]);
        (left == 0).then_some(())
    });
}

#[test]
fn a_dead_node_whose_heartbeat_lies_in_the_future_becomes_unhealthy() {
    let redis = Redis::start();
    let (a, mut dead) = (
        Node::start("a", &redis, &[]),
        Node::start("dead", &redis, &[]),
    );
    dead.kill();
    let record: String = redis.query(&["HGET", "ratelimiter:registry", "dead"]);
    let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
    record["last_heartbeat_ms"] = (now_ms(&redis) + HOUR_MS).into();
    redis.query::<()>(&["HSET", "ratelimiter:registry", "dead", &record.to_string()]);
    a.await_state("dead", "unhealthy");
}
