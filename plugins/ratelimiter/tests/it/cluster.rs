//! Against the real service, Redis and Prometheus: each fault is seen, and nothing else is.

use std::time::{Duration, Instant};

use operator_plugin_api::UnknownKind;
use operator_plugin_kit::testing::process::Process;
use ratelimiter::Listed;
use serde_json::json;

use crate::support::{Cluster, binary, wait_for};

/// What is left unknown without Prometheus.
const WITHOUT_PROMETHEUS: &str = "high_latency";

#[test]
fn a_healthy_cluster_is_seen_whole_and_nothing_is_wrong() {
    let mut cluster = Cluster::start(3, &["--default-limit", "20"]);
    cluster.start_prometheus();
    let watch = cluster.watch();
    // Every key is used from its first check on; a third of them ends up blocked.
    let seen = wait_for("Prometheus to have two scrapes", || {
        cluster.check_many("busy", 30);
        cluster.check_many("a/slash and é", 9);
        let (observation, report) = watch.cycle();
        let broken: Vec<_> = report
            .violations
            .iter()
            .filter(|v| v.invariant != "high_block_rate")
            .collect();
        assert!(broken.is_empty(), "{broken:?}");
        let waits = |invariant: &str| {
            ["high_latency", "high_block_rate", "checks_failing"].contains(&invariant)
        };
        let unknown: Vec<_> = report
            .unknown
            .iter()
            .filter(|u| !waits(&u.invariant))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?} {:?}", observation.sources);
        let all_scraped = observation.data.latency.p99_ms_by_node.len() == 3;
        let missing = report.unknown.iter();
        let missing = missing.filter(|u| u.kind == UnknownKind::Missing).count();
        (missing == 0 && all_scraped).then_some(observation)
    });
    let data = &seen.data;
    assert!(
        seen.summary
            .starts_with("3 of 3 nodes healthy, Redis connected, "),
        "{}",
        seen.summary
    );
    assert!(
        seen.sources.iter().all(|source| source.error.is_none()),
        "{:?}",
        seen.sources
    );
    assert_eq!(data.node_metrics.len(), 3);
    assert!(
        data.latency.p99_ms_by_node.contains_key("node-2"),
        "{:?}",
        data.latency
    );
    assert!(data.totals.allowed > Some(0) && data.totals.blocked > Some(0));
    assert_eq!(data.cluster.as_ref().unwrap().node_count, Some(3));
    let counter = data
        .counters
        .as_ref()
        .unwrap()
        .iter()
        .find(|counter| counter.key == "busy")
        .unwrap();
    assert_eq!(
        (counter.limit, counter.window_ms, counter.redis_low),
        (Some(20), Some(60_000), Some(20))
    );
    assert_eq!(counter.allowed_high, Some(20));
    assert_eq!(seen.slis["node_availability_percent"], Some(100.0));
}

#[test]
fn a_killed_node_is_down_and_nothing_else_is_wrong() {
    let cluster = Cluster::start(3, &[]);
    let watch = cluster.watch();
    cluster.check_many("k", 30);
    assert_eq!(watch.violations(), [""; 0]);
    cluster.nodes[1].process.signal("KILL");
    assert_eq!(watch.violations(), ["node_down:node-2"]);
    let (observation, report) = watch.cycle();
    assert!(
        observation.summary.starts_with("2 of 3 nodes healthy"),
        "{}",
        observation.summary
    );
    assert!(report.unknown.iter().all(|u| {
        let waits = ["counter_drift", "high_latency", "high_block_rate"];
        waits.contains(&u.invariant.as_str()) || u.invariant == "checks_failing"
    }));
}

#[test]
fn a_frozen_management_node_is_down_and_another_one_is_asked() {
    let cluster = Cluster::start(2, &[]);
    let watch = cluster.watch();
    assert_eq!(watch.violations(), [""; 0]);
    cluster.nodes[0].process.signal("STOP");
    let since = Instant::now();
    assert_eq!(watch.violations(), ["node_down:node-1"]);
    assert!(
        since.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        since.elapsed()
    );
    let since = Instant::now();
    let (observation, _) = watch.cycle();
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(observation.data.nodes.len(), 2);
    cluster.nodes[0].process.signal("CONT");
    assert_eq!(watch.violations(), [""; 0]);
}

#[test]
fn a_node_that_drains_and_then_leaves_is_not_down() {
    let cluster = Cluster::start(2, &[]);
    let watch = cluster.watch();
    watch.cycle();
    crate::support::http(
        "POST",
        &format!("{}/api/v1/nodes/node-2/drain", cluster.nodes[0].url()),
        None,
    );
    let (observation, report) = watch.cycle();
    assert_eq!(observation.data.nodes[1].draining, Some(true));
    assert_eq!(report.violations, []);
    cluster.nodes[1].process.signal("TERM");
    for _ in 0..5 {
        assert_eq!(watch.violations(), [""; 0]);
    }
    let (observation, _) = watch.cycle();
    assert!(
        observation.data.nodes[1].left,
        "{:?}",
        observation.data.nodes
    );
}

#[test]
fn a_node_that_leaves_without_draining_is_not_down() {
    let cluster = Cluster::start(2, &[]);
    let watch = cluster.watch();
    watch.cycle();
    cluster.nodes[1].process.signal("TERM");
    for _ in 0..5 {
        assert_eq!(watch.violations(), [""; 0]);
    }
    assert!(watch.cycle().0.data.nodes[1].left);
}

#[test]
fn a_dead_node_is_still_known_to_a_watch_that_starts_later() {
    let cluster = Cluster::start(
        2,
        &["--node-ttl-seconds", "2", "--node-heartbeat-seconds", "1"],
    );
    cluster.nodes[1].process.signal("KILL");
    let watch = cluster.watch();
    wait_for("the heartbeat to be missed", || {
        let (observation, report) = watch.cycle();
        let node = &observation.data.nodes[1];
        let down = report
            .violations
            .iter()
            .any(|v| v.resource.as_deref() == Some("node-2"));
        let unknown = report
            .unknown
            .iter()
            .any(|u| u.resource.as_deref() == Some("node-2"));
        assert!(down || unknown, "{node:?}");
        (down && node.listed == Some(Listed::Unhealthy)).then_some(())
    });
}

#[test]
fn a_killed_redis_is_one_violation_and_what_depends_on_it_is_unknown() {
    let mut cluster = Cluster::start(2, &[]);
    let watch = cluster.watch();
    cluster.check_many("k", 10);
    assert_eq!(watch.violations(), [""; 0]);
    cluster.redis = None;
    assert_eq!(watch.violations(), ["redis_disconnected"]);
    let unknowns = watch.unknowns();
    for invariant in ["counter_drift", "ghost_allowing", "over_limit"] {
        assert!(
            unknowns.iter().any(|name| name == invariant),
            "{unknowns:?}"
        );
    }
    cluster.start_redis();
    wait_for("Redis to be seen again", || {
        watch.violations().is_empty().then_some(())
    });
}

#[test]
fn a_redis_that_hangs_is_disconnected() {
    let cluster = Cluster::start(2, &[]);
    let watch = cluster.watch();
    assert_eq!(watch.violations(), [""; 0]);
    cluster.redis_command("CLIENT PAUSE 3000 ALL");
    let since = Instant::now();
    assert_eq!(watch.violations(), ["redis_disconnected"]);
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    wait_for("Redis to be seen again", || {
        watch.violations().is_empty().then_some(())
    });
}

#[test]
fn one_node_that_loses_redis_is_named() {
    let cluster = Cluster::start(2, &[]);
    let watch = cluster.watch();
    cluster.chaos(1, &json!({"redis_hang": true}));
    wait_for("node-2 to lose Redis", || {
        (watch.violations() == ["redis_disconnected:node-2"]).then_some(())
    });
}

#[test]
fn everything_down_at_once_is_an_error_and_not_healthy() {
    let mut cluster = Cluster::start(2, &[]);
    let watch = cluster.watch();
    watch.cycle();
    cluster.redis = None;
    cluster.nodes.clear();
    let error = watch.observe().unwrap_err();
    assert!(
        error.message.contains("node-1") && error.message.contains("redis"),
        "{error}"
    );
    assert!(error.retryable);
}

#[test]
fn limits_that_are_ignored_are_ghosts_and_over_the_limit() {
    let cluster = Cluster::start(2, &["--default-limit", "10"]);
    let watch = cluster.watch();
    for node in 0..2 {
        cluster.chaos(node, &json!({"ignore_limits": true}));
    }
    cluster.check_many("k", 40);
    let expected = ["ghost_allowing:k", "over_limit:k"];
    assert_eq!(watch.violations(), expected);
    // A second cycle neither keeps a fault alive by memory nor ends it.
    assert_eq!(watch.violations(), expected);
}

#[test]
fn a_limit_that_is_lowered_or_a_counter_that_is_reset_is_not_a_ghost() {
    let cluster = Cluster::start(2, &["--default-limit", "50"]);
    let watch = cluster.watch();
    cluster.check_many("k", 40);
    assert_eq!(watch.violations(), [""; 0]);
    let url = cluster.nodes[0].url();
    let lower = json!({"key_pattern": "k", "max_requests": 10, "window_seconds": 60});
    assert_eq!(
        crate::support::http("POST", &format!("{url}/api/v1/limits"), Some(&lower)).0,
        200
    );
    assert_eq!(watch.violations(), [""; 0]);
    assert_eq!(
        crate::support::http("DELETE", &format!("{url}/api/v1/counters/k"), None).0,
        200
    );
    assert_eq!(watch.violations(), [""; 0]);
    cluster.check_many("k", 20);
    assert_eq!(watch.violations(), [""; 0]);
}

#[test]
fn what_was_allowed_without_redis_shows_once_it_is_back() {
    let cluster = Cluster::start(2, &["--default-limit", "10", "--on-redis-error", "allow"]);
    let watch = cluster.watch();
    cluster.check_many("k", 4);
    assert_eq!(watch.violations(), [""; 0]);
    cluster.redis_command("CLIENT PAUSE 2500 ALL");
    wait_for("the nodes to notice", || {
        (watch.violations() == ["redis_disconnected"]).then_some(())
    });
    cluster.check_many("k", 40);
    wait_for("the ghost", || {
        let violations = watch.violations();
        violations
            .contains(&"ghost_allowing:k".to_owned())
            .then_some(())
    });
}

#[test]
fn without_prometheus_latency_is_unknown_and_nothing_is_broken() {
    let cluster = Cluster::start(1, &[]);
    let watch = cluster.watch();
    cluster.check_many("k", 5);
    watch.cycle();
    let (observation, report) = watch.cycle();
    assert_eq!(report.violations, []);
    assert_eq!(watch.unknowns(), [WITHOUT_PROMETHEUS]);
    assert!(
        observation
            .sources
            .iter()
            .any(|source| source.name == "prometheus" && source.error.is_some())
    );
    assert_eq!(observation.slis["latency_p99_ms"], None);
}

#[test]
fn checks_that_are_not_atomic_are_ghosts_and_over_the_limit() {
    let cluster = Cluster::start(2, &["--default-limit", "10"]);
    let watch = cluster.watch();
    for node in 0..2 {
        cluster.chaos(node, &json!({"non_atomic": true}));
    }
    let mut load = std::process::Command::new(binary("ratelimiter-load"));
    load.args(["--count", "400", "--key-prefix", "burst:", "--quiet"]);
    for node in &cluster.nodes {
        load.args(["--target", &format!("http://127.0.0.1:{}", node.port)]);
    }
    let _load = Process::start(&mut load);
    wait_for("the overshoot", || {
        let broken = watch.violations();
        let allowed = ["ghost_allowing", "over_limit", "high_block_rate"];
        assert!(
            broken
                .iter()
                .all(|name| allowed.iter().any(|known| name.starts_with(known))),
            "{broken:?}"
        );
        let both = ["ghost_allowing", "over_limit"]
            .iter()
            .all(|known| broken.iter().any(|name| name.starts_with(known)));
        both.then_some(())
    });
}

#[test]
fn counters_that_redis_loses_are_drift() {
    let cluster = Cluster::start(2, &["--default-window-ms", "8000"]);
    let watch = cluster.watch();
    // Before Redis has been up for a window, it may as well have restarted.
    wait_for("Redis to be up for a window", || {
        let uptime = watch.cycle().0.data.redis.uptime_s;
        (uptime > Some(8)).then_some(())
    });
    cluster.check_many("k", 40);
    assert_eq!(watch.violations(), [""; 0]);
    cluster.redis_command("DEL ratelimit:k");
    assert_eq!(watch.violations(), [""; 0], "it may be a reset");
    wait_for("the loss", || {
        (watch.violations() == ["counter_drift:k"]).then_some(())
    });
}

#[test]
fn entries_that_someone_else_writes_are_drift() {
    let cluster = Cluster::start(1, &["--default-window-ms", "1000"]);
    let watch = cluster.watch();
    cluster.check_many("other", 1);
    // Once Redis and the node have been up for a window.
    wait_for("the drift", || {
        for n in 0..30 {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_millis();
            cluster.redis_command(&format!("ZADD ratelimit:k {now} {now}-{n}"));
        }
        let broken = watch.violations();
        assert!(
            broken
                .iter()
                .all(|name| name == "counter_drift:k" || name == "over_limit:k"),
            "{broken:?}"
        );
        broken.contains(&"counter_drift:k".to_owned()).then_some(())
    });
}

#[test]
fn latency_that_is_added_is_high_latency_and_nothing_else() {
    let mut cluster = Cluster::start(2, &["--default-limit", "100000"]);
    cluster.start_prometheus();
    for node in 0..2 {
        cluster.chaos(node, &json!({"added_latency_ms": 100}));
    }
    let watch = cluster.watch();
    let seen = wait_for("a slow p99", || {
        cluster.check_many("k", 4);
        let (_, mut report) = watch.cycle();
        report.violations.pop()
    });
    assert_eq!(seen.invariant, "high_latency");
    assert_eq!(watch.violations(), ["high_latency"]);
    let (observation, _) = watch.cycle();
    assert_eq!(observation.slis["false_block_rate_percent"], Some(0.0));
}

#[test]
fn an_aggregate_without_a_node_that_serves_is_unknown() {
    let mut cluster = Cluster::start(2, &[]);
    // Prometheus does not know the second node.
    cluster.scrape(&[cluster.nodes[0].port]);
    let watch = cluster.watch();
    let missing = |unknown: &operator_plugin_api::Unknown| {
        unknown.invariant == "high_latency" && unknown.reason.ends_with("of node-2")
    };
    wait_for("Prometheus to have the first node", || {
        cluster.check_many("k", 4);
        let (observation, report) = watch.cycle();
        assert!(
            report.unknown.iter().any(|u| u.invariant == "high_latency"),
            "{report:?}"
        );
        let has_first = observation.data.latency.p99_ms.is_some();
        (has_first && report.unknown.iter().any(missing)).then_some(())
    });
}

#[test]
fn a_redis_that_takes_no_writes_fails_checks_and_is_not_away() {
    let cluster = Cluster::start(2, &[]);
    let watch = cluster.watch();
    cluster.check_many("k", 4);
    assert_eq!(watch.violations(), [""; 0]);
    cluster.redis_command("REPLICAOF 127.0.0.1 1");
    let failing = wait_for("the failing checks", || {
        cluster.check_many("k", 4);
        let (_, report) = watch.cycle();
        let only = |v: &operator_plugin_api::Violation| v.invariant == "checks_failing";
        assert!(report.violations.iter().all(only), "{report:?}");
        (report.violations.len() == 2).then_some(report.violations)
    });
    assert_eq!(failing[0].resource.as_deref(), Some("node-1"));
    cluster.redis_command("REPLICAOF NO ONE");
    wait_for("the end of it", || {
        cluster.check_many("k", 4);
        watch.violations().is_empty().then_some(())
    });
}
