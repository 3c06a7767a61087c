//! The older form of the API, byte for byte.

use ratelimiter::{ApiForm, Config};

use operator_plugin_kit::testing::fake::{Fake, Reply};

use crate::support::{Cluster, Watch};

const COUNTERS: &str = r#"{"counters":[{"key":"user:1","count":5,"limit":100,"remaining":95}]}"#;

fn node(id: &str, counters: Reply, nodes: &str) -> Fake {
    let health = format!(r#"{{"status":"healthy","node_id":"{id}"}}"#);
    let nodes = format!(r#"{{"nodes":{nodes}}}"#);
    let json = |body: &str| Reply::Body(200, body.to_owned());
    let metrics = "ratelimiter_requests_checked_total{result=\"allowed\"} 12.0\n\
                   ratelimiter_requests_checked_total{result=\"blocked\"} 3.0\n";
    Fake::with_replies(
        &[
            ("GET /health", json(&health)),
            ("GET /metrics", json(metrics)),
            ("GET /api/nodes", json(&nodes)),
            ("GET /api/counters", counters),
            (
                "GET /api/limits",
                json(r#"{"default_limit":100,"default_window_ms":60000}"#),
            ),
            (
                "GET /api/blocks",
                json(r#"{"blocked":[{"key":"user:1","current_count":5,"limit":100}]}"#),
            ),
        ],
        Reply::Body(404, r#"{"detail":"Not Found"}"#.into()),
    )
}

fn listed(port: u16) -> String {
    format!(
        r#"[{{"id":"node-2","address":"127.0.0.1:{port}","state":"Up","registered_at":"2026-01-27T01:48:37.123456"}}]"#
    )
}

fn watch(cluster: &Cluster, fake: &Fake) -> Watch {
    Watch::new(Config {
        management_url: fake.url(),
        ..cluster.config()
    })
}

#[test]
fn the_older_form_is_read_as_far_as_it_goes() {
    let cluster = Cluster::start(0, &[]);
    let fake = node("node-1", Reply::Body(200, COUNTERS.into()), "[]");
    let (observation, report) = watch(&cluster, &fake).cycle();
    let data = &observation.data;
    assert_eq!(data.api, Some(ApiForm::Older));
    assert_eq!(report.violations, []);
    assert_eq!(data.nodes[0].redis_connected, Some(true));
    assert_eq!(
        (data.totals.allowed, data.totals.blocked),
        (Some(12), Some(3))
    );
    let counter = &data.counters.as_ref().unwrap()[0];
    assert_eq!(
        (counter.limit, counter.window_ms, counter.redis_low),
        (Some(100), Some(60_000), Some(0))
    );
    assert_eq!(data.blocks.as_ref().unwrap().len(), 1);
}

#[test]
fn a_management_api_that_answers_500_without_redis_fails_nothing_else() {
    let mut cluster = Cluster::start(0, &[]);
    let fake = node(
        "node-1",
        Reply::Body(500, "Internal Server Error".into()),
        "[]",
    );
    assert_eq!(watch(&cluster, &fake).violations(), ["redis_disconnected"]);
    cluster.redis = None;
    let (observation, report) = watch(&cluster, &fake).cycle();
    assert_eq!(report.violations[0].invariant, "redis_disconnected");
    assert_eq!(observation.data.nodes[0].answered, Some(true));
}

#[test]
fn a_node_that_vanishes_from_the_list_is_still_missed() {
    let cluster = Cluster::start(1, &[]);
    let fake = node(
        "node-1",
        Reply::Body(200, COUNTERS.into()),
        &listed(cluster.nodes[0].port),
    );
    // At the address of node-2 a node answers that calls itself node-1: the list is wrong, and node-2 is not there.
    let (observation, report) = watch(&cluster, &fake).cycle();
    assert!(
        report
            .unknown
            .iter()
            .any(|unknown| unknown.resource.as_deref() == Some("node-2")),
        "{report:?}"
    );
    let node = observation
        .data
        .nodes
        .iter()
        .find(|node| node.id == "node-2")
        .unwrap();
    assert_eq!(
        node.error.as_deref(),
        Some("`node-1` answers at its address")
    );
}

#[test]
fn a_node_of_the_older_form_that_dies_and_vanishes_from_the_list_is_down() {
    let cluster = Cluster::start(0, &[]);
    let counters = || Reply::Body(200, COUNTERS.into());
    let (first, second) = (
        node("node-1", counters(), "[]"),
        node("node-2", counters(), "[]"),
    );
    let watch = Watch::new(Config {
        more_management_urls: vec![second.url()],
        management_url: first.url(),
        ..cluster.config()
    });
    assert_eq!(watch.violations(), [""; 0]);
    second.stop();
    for _ in 0..2 {
        assert_eq!(watch.violations(), ["node_down:node-2"]);
    }
}
