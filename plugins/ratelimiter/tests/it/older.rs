//! The older form of the API, on a service that has all of its faults.

use std::time::{Duration, Instant};

use operator_plugin_api::{Call, Deadline, Subject, UnknownKind};
use ratelimiter::{ApiForm, Config, Timed};
use serde_json::json;

use operator_plugin_kit::testing::fake::{Fake, Reply};

use crate::{
    older_service::{OlderCluster, OlderNode, Options},
    support::{Watch, http, wait_for},
};

/// What asks such a service to walk through all of its keys.
const COSTLY: [&str; 3] = ["GET /api/nodes", "GET /api/counters", "GET /api/blocks"];

fn costly(nodes: &[OlderNode]) -> usize {
    let asked = |node: &OlderNode| COSTLY.map(|line| node.asked(line)).iter().sum::<usize>();
    nodes.iter().map(asked).sum()
}

#[test]
fn the_older_service_is_answered_byte_for_byte() {
    let cluster = OlderCluster::start(1, Options::default());
    let node = &cluster.nodes[0];
    assert_eq!(node.check(&json!({"key": "user:1"})), 200);
    let get = |path: &str| http("GET", &format!("{}{path}", node.url()), None);
    let listed = json!({"nodes": [{
        "id": "node-1", "address": format!("localhost:{}", node.port()), "state": "Up",
        "registered_at": "2026-01-27T01:48:37.123456"
    }]});
    assert_eq!(get("/api/nodes"), (200, listed));
    let counter =
        json!({"counters": [{"key": "user:1", "count": 1, "limit": 100, "remaining": 99}]});
    assert_eq!(get("/api/counters"), (200, counter));
    assert_eq!(get("/api/blocks"), (200, json!({"blocked": []})));
    assert_eq!(get("/api/v1/nodes"), (404, json!({"detail": "Not Found"})));
    // An override is stored, breaks the blocks, and limits nothing.
    let limit = json!({"limit": 1});
    let url = format!("{}/api/limits/user%3A1", node.url());
    let stored = json!({"key": "user:1", "limit": 1, "window_ms": 60_000, "updated": true});
    assert_eq!(http("PUT", &url, Some(&limit)), (200, stored));
    assert_eq!(node.check(&json!({"key": "user:1"})), 200);
    assert_eq!(get("/api/blocks").0, 500);
    assert_eq!(get("/api/counters").0, 200);
    let reset = format!("{}/api/counters/a%2Fb/reset", node.url());
    assert_eq!(http("POST", &reset, None).0, 404);
    // Without Redis it is healthy, and cannot do anything.
    node.use_redis(1);
    assert_eq!(get("/health").1["status"], "healthy");
    assert_eq!(get("/api/counters").0, 500);
    assert_eq!(node.check(&json!({"key": "user:1"})), 500);
}

#[test]
fn a_healthy_older_service_has_no_violation_and_what_it_cannot_tell_is_no_warning() {
    let mut cluster = OlderCluster::start(2, Options::default());
    cluster.start_prometheus();
    let watch = cluster.watch();
    let observation = wait_for("all that can be known", || {
        for node in &cluster.nodes {
            for _ in 0..3 {
                node.check(&json!({"key": "user:1", "limit": 1_000}));
            }
        }
        let (observation, report) = watch.cycle();
        assert_eq!(report.violations, []);
        let missing = report.unknown.iter();
        let missing = missing.filter(|unknown| unknown.kind == UnknownKind::Missing);
        (missing.count() == 0).then_some(observation)
    });
    let data = &observation.data;
    assert_eq!(data.api, Some(ApiForm::Older));
    assert!(
        data.nodes
            .iter()
            .all(|node| node.redis_connected == Some(true))
    );
    assert_eq!(data.latency.of, Some(Timed::Requests));
    assert!(
        data.requests_per_second > Some(0.0),
        "{}",
        observation.summary
    );
    assert!(
        observation
            .summary
            .starts_with("2 of 2 nodes healthy, Redis connected"),
        "{}",
        observation.summary
    );
}

#[test]
fn a_limit_that_a_client_named_is_no_violation() {
    let options = Options {
        default_limit: 10,
        ..Options::default()
    };
    let cluster = OlderCluster::start(1, options);
    for _ in 0..30 {
        let own = json!({"key": "vip", "limit": 1_000});
        assert_eq!(cluster.nodes[0].check(&own), 200);
    }
    let watch = cluster.watch();
    assert_eq!(watch.violations(), [""; 0]);
    let (observation, report) = watch.cycle();
    assert_eq!(report.violations, []);
    let over = report.unknown.iter();
    let over: Vec<_> = over
        .filter(|unknown| unknown.invariant == "over_limit")
        .collect();
    assert_eq!(over.len(), 1, "{over:?}");
    assert_eq!(over[0].kind, UnknownKind::NotSupported);
    assert_eq!(observation.data.counters.unwrap()[0].redis_low, Some(30));
}

#[test]
fn a_name_in_redis_that_is_no_text_is_no_outage() {
    let cluster = OlderCluster::start(2, Options::default());
    let mut name = b"ratelimit:".to_vec();
    name.extend([0xff, 0xfe]);
    redis::Cmd::zadd(name, "m", 1)
        .exec(&mut cluster.redis())
        .unwrap();
    let watch = cluster.watch();
    for _ in 0..3 {
        let (observation, report) = watch.cycle();
        assert_eq!(report.violations, []);
        let management = observation
            .sources
            .iter()
            .find(|source| source.name == "management");
        assert!(
            management
                .unwrap()
                .error
                .as_ref()
                .is_some_and(|error| error.contains("counters: answered 500")),
            "{:?}",
            observation.sources
        );
    }
}

#[test]
fn a_dead_node_stays_down_after_it_vanished_and_after_a_restart() {
    let options = Options {
        ttl: Duration::from_millis(600),
        heartbeat: Duration::from_millis(100),
        ..Options::default()
    };
    let mut cluster = OlderCluster::start(2, options);
    let watch = cluster.watch();
    let mut kept = None;
    wait_for("both nodes", || {
        let (observation, _) = watch.cycle();
        kept = observation.memory.or(kept.take());
        (observation.data.nodes.len() == 2).then_some(())
    });
    cluster.nodes[1].kill();
    let name = "ratelimiter:nodes:node-2";
    wait_for("its registration to expire", || {
        let gone: bool = redis::Cmd::exists(name)
            .query(&mut cluster.redis())
            .unwrap();
        (!gone).then_some(())
    });
    assert_eq!(watch.violations(), ["node_down:node-2"]);
    // Nothing but what the host has kept knows of the node.
    let again = cluster.watch();
    let (observation, report) = again.cycle_with(kept.as_ref());
    assert_eq!(report.violations.len(), 1, "{report:?}");
    assert_eq!(report.violations[0].resource.as_deref(), Some("node-2"));
    assert!(
        observation.summary.starts_with("1 of 2 nodes healthy"),
        "{}",
        observation.summary
    );
    let listed = observation.resources.iter();
    let listed = listed.filter(|resource| resource.kind == "node" && resource.gone.is_none());
    assert_eq!(listed.count(), 2);
    // A watch that was told nothing says nothing of it: a ticket about it stays as it is.
    let (observation, _) = cluster.watch().cycle();
    assert!(
        observation
            .resources
            .iter()
            .all(|resource| resource.id != "node-2")
    );
}

#[test]
fn a_list_of_nodes_that_never_comes_is_unknown_until_redis_was_read_to_its_end() {
    let cluster = OlderCluster::start(1, Options::default());
    let mut redis = cluster.redis();
    redis::cmd("EVAL")
        .arg("for i = 1, 30000 do redis.call('SET', 'other:' .. i, '') end")
        .arg(0)
        .exec(&mut redis)
        .unwrap();
    cluster.nodes[0].delay_listings(Duration::from_secs(5));
    let watch = cluster.watch();
    let (observation, report) = watch.cycle();
    assert_eq!(report.violations, []);
    let whole = |unknown: &&operator_plugin_api::Unknown| {
        unknown.invariant == "node_down" && unknown.resource.is_none()
    };
    assert!(
        report.unknown.iter().any(|unknown| whole(&unknown)),
        "{report:?}"
    );
    assert!(
        observation
            .summary
            .starts_with("1 of at least 1 nodes healthy"),
        "{}",
        observation.summary
    );
    let mut cycles = 0;
    wait_for("the search of Redis to end", || {
        cycles += 1;
        let (observation, report) = watch.cycle();
        let is_unknown = report.unknown.iter().any(|unknown| whole(&unknown));
        assert_eq!(observation.data.nodes_listed, Some(!is_unknown));
        (!is_unknown).then_some(())
    });
    assert!(cycles > 3, "30,000 names are not one cycle's work");
    // The list was given up once and is not asked for again while it may still run.
    assert_eq!(cluster.nodes[0].asked("GET /api/nodes"), 1);
}

#[test]
fn costly_questions_are_asked_seldom() {
    let cluster = OlderCluster::start(2, Options::default());
    let watch = cluster.watch();
    for _ in 0..20 {
        watch.cycle();
    }
    assert_eq!(costly(&cluster.nodes), COSTLY.len());
    for node in &cluster.nodes {
        assert_eq!(node.asked("GET /metrics"), 20);
    }
}

#[test]
fn a_redis_that_takes_no_writes_fails_checks_and_is_not_away() {
    let cluster = OlderCluster::start(2, Options::default());
    let watch = cluster.watch();
    let check = || {
        let key = json!({"key": "k"});
        cluster
            .nodes
            .iter()
            .map(|node| node.check(&key))
            .collect::<Vec<_>>()
    };
    check();
    assert_eq!(watch.violations(), [""; 0]);
    cluster.rest.redis_command("REPLICAOF 127.0.0.1 1");
    let expected = ["checks_failing:node-1", "checks_failing:node-2"];
    wait_for("the failing checks", || {
        assert_eq!(check(), [500, 500]);
        let violations = watch.violations();
        assert!(
            violations
                .iter()
                .all(|name| name.starts_with("checks_failing")),
            "{violations:?}"
        );
        (violations == expected).then_some(())
    });
    cluster.rest.redis_command("REPLICAOF NO ONE");
    wait_for("the end of it", || {
        check();
        watch.violations().is_empty().then_some(())
    });
}

#[test]
fn a_node_that_loses_redis_is_named_once_its_registration_has_expired() {
    let options = Options {
        ttl: Duration::from_secs(1),
        heartbeat: Duration::from_millis(200),
        ..Options::default()
    };
    let cluster = OlderCluster::start(2, options);
    let watch = cluster.watch();
    assert_eq!(watch.violations(), [""; 0]);
    watch.cycle();
    cluster.nodes[1].use_redis(1);
    wait_for("node-2 to lose Redis", || {
        (watch.violations() == ["redis_disconnected:node-2"]).then_some(())
    });
    cluster.nodes[1].use_redis(cluster.rest.redis_port);
    wait_for("node-2 to be back", || {
        watch.violations().is_empty().then_some(())
    });
}

#[test]
fn a_redis_that_is_gone_is_one_violation() {
    let mut cluster = OlderCluster::start(2, Options::default());
    let watch = cluster.watch();
    assert_eq!(watch.violations(), [""; 0]);
    cluster.rest.redis = None;
    assert_eq!(watch.violations(), ["redis_disconnected"]);
}

#[test]
fn latency_is_judged_by_the_series_that_tells_it() {
    let mut cluster = OlderCluster::start(1, Options::default());
    cluster.nodes[0].delay_checks(Duration::from_millis(120));
    cluster.start_prometheus();
    let watch = cluster.watch();
    let seen = wait_for("a slow p99", || {
        cluster.nodes[0].check(&json!({"key": "k", "limit": 100_000}));
        let (_, mut report) = watch.cycle();
        report.violations.pop()
    });
    assert_eq!(seen.invariant, "high_latency");
    assert!(
        seen.message.contains("requests over HTTP"),
        "{}",
        seen.message
    );
}

#[test]
fn a_limit_that_is_set_says_what_it_leaves_behind() {
    let cluster = OlderCluster::start(1, Options::default());
    let watch = cluster.watch();
    let params = json!({"key": "k", "limit": 5, "window_ms": 1_000});
    let call = |dry_run| {
        let deadline = Deadline::after(Duration::from_secs(5));
        let call = Call::new("update_limit", params.clone(), deadline).dry_run(dry_run);
        watch.0.invoke(&call).unwrap()
    };
    let preview = call(true);
    assert!(
        preview.message.contains("would leave"),
        "{}",
        preview.message
    );
    assert_eq!(cluster.nodes[0].asked("PUT /api/limits/k"), 0);
    let done = call(false);
    assert!(
        done.message.contains("cannot delete it"),
        "{}",
        done.message
    );
    assert_eq!(done.details["left_in_redis"], "ratelimit:limit:k");
    assert_eq!(done.details["can_be_taken_back"], false);
    let stored: bool = redis::Cmd::exists("ratelimit:limit:k")
        .query(&mut cluster.redis())
        .unwrap();
    assert!(stored);
}

#[test]
fn a_node_that_answers_under_another_name_is_not_the_one_that_is_registered() {
    let mut cluster = OlderCluster::start(1, Options::default());
    let other = Fake::with_replies(
        &[(
            "GET /health",
            Reply::Body(200, r#"{"status":"healthy","node_id":"node-9"}"#.into()),
        )],
        Reply::Body(404, r#"{"detail":"Not Found"}"#.into()),
    );
    let address = format!("localhost:{}", other.port());
    redis::Cmd::hset("ratelimiter:nodes:node-2", "address", &address)
        .exec(&mut cluster.redis())
        .unwrap();
    let (observation, report) = cluster.watch().cycle();
    let unknown = report.unknown.iter();
    let mut unknown = unknown.filter(|unknown| unknown.resource.as_deref() == Some("node-2"));
    assert!(
        unknown.any(|unknown| unknown.invariant == "node_down"),
        "{report:?}"
    );
    let node = observation
        .data
        .nodes
        .iter()
        .find(|node| node.id == "node-2");
    assert_eq!(
        node.unwrap().error.as_deref(),
        Some("`node-9` answers at its address")
    );
    cluster.nodes.clear();
}

#[test]
fn a_cycle_of_a_slow_service_ends_in_time() {
    let cluster = OlderCluster::start(1, Options::default());
    cluster.nodes[0].delay_listings(Duration::from_secs(3));
    let watch = Watch::new(Config {
        observe_timeout_ms: 1_500,
        ..cluster.config()
    });
    let since = Instant::now();
    watch.cycle();
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(
        costly(&cluster.nodes),
        1,
        "one is given up, and no other one sent after it"
    );
}
