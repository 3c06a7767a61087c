//! The load generator's summary and exit code match what happened.

use crate::support::{Node, Redis, load};

#[test]
fn the_summary_counts_every_check() {
    let redis = Redis::start();
    let node = Node::start("a", &redis, &[]);
    let target = node.url("");
    let (code, summary) = load(&[
        "--target",
        &target,
        "--count",
        "300",
        "--keys",
        "3",
        "--limit",
        "10",
        "--connections",
        "8",
    ]);
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!(
        [&summary["allowed"], &summary["blocked"], &summary["errors"]],
        [30, 270, 0]
    );
    let latency = &summary["latency_ms"];
    assert!(latency["p50"].as_f64().unwrap() <= latency["max"].as_f64().unwrap());
}

#[test]
fn a_rate_is_kept_and_the_duration_ends_it() {
    let redis = Redis::start();
    let node = Node::start("a", &redis, &[]);
    let (code, summary) = load(&[
        "--target",
        &node.url(""),
        "--rate",
        "100",
        "--duration",
        "1.5",
    ]);
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!(
        summary["allowed"].as_u64().unwrap() + summary["blocked"].as_u64().unwrap(),
        150
    );
}

#[test]
fn a_burst_comes_at_once_and_again() {
    let redis = Redis::start();
    let node = Node::start("a", &redis, &[]);
    let (_, summary) = load(&[
        "--target",
        &node.url(""),
        "--burst",
        "20@0.5",
        "--duration",
        "0.9",
    ]);
    assert_eq!(summary["allowed"], 40);
}

#[test]
fn failed_checks_and_silence_have_their_own_exit_codes() {
    let mut redis = Redis::start();
    let mut node = Node::start("a", &redis, &[]);
    redis.kill();
    let target = node.url("");
    let (code, summary) = load(&["--target", &target, "--count", "5"]);
    assert_eq!((code, &summary["unavailable"]), (Some(1), &5.into()));
    node.kill();
    let (code, summary) = load(&["--target", &target, "--count", "5"]);
    assert_eq!((code, &summary["unanswered"]), (Some(3), &5.into()));
    assert!(summary["latency_ms"].is_null());
    assert_eq!(load(&["--target", "nonsense"]).0, Some(2));
}
