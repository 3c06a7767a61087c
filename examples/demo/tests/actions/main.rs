//! Actions on a real cluster through the operator's gate: they take effect on every node, are verified or undone, and in the
//! mode `observe` none of them reaches the service.
//!
//! The default verify window is a minute. Here it is a few seconds, except if something must break within it.

mod clients;
mod commands;
mod observe_mode;
#[path = "../scene/mod.rs"]
mod scene;

use operator_demo::{
    Options,
    cluster::{Node, get},
};
use serde_json::json;

use clients::Client;
use commands::{
    approve, ask, assert_in_order, check, find_proposal, find_undo, limits, propose, run_action,
    ticket, wait_for,
};
use scene::{Latency, Scene};

/// Lets actions run, with a short verify window.
const EXECUTE: &str = r#"
[subjects.ratelimiter.actions]
mode = "execute"
cooldown = "0s"
verify_window = "3s"
"#;

fn urls(scene: &Scene) -> Vec<String> {
    scene.cluster.nodes.iter().map(Node::url).collect()
}

#[test]
fn an_over_limit_key_is_reset_and_the_reset_is_verified() {
    let options = Options {
        default_limit: 50,
        // Too long to expire during the test.
        default_window_ms: 3_600_000,
        ..Options::default()
    };
    let scene = Scene::configured(options, Latency::Ignored, EXECUTE);
    let (from, operator) = (scene.now(), &scene.operator);
    let key = scene.overshoot();
    let over_limit = format!("warning over_limit {key}");
    scene.expect(from, &format!("opened {over_limit}"));
    for node in urls(&scene) {
        assert_eq!(check(&node, &key), 429, "{node}");
    }
    let ticket = ticket(operator, "over_limit");
    let call = ["reset_counter", &format!("key={key}"), "--ticket", &ticket];
    let why = "its window is full of what should not have been let in";
    let id = propose(operator, &[&call[..], &["--why", why]].concat());
    approve(operator, id);
    wait_for(operator, id, &["verified"]);
    for node in urls(&scene) {
        assert_eq!(check(&node, &key), 200, "{node}");
    }
    scene.expect(from, &format!("resolved {over_limit}"));
    scene.wait_until_healthy(scene.now());
    let story = ask(operator, &["tickets", "show", &ticket]);
    assert_in_order(
        &story,
        &[
            "seen",
            "opened",
            "proposed @1",
            why,
            "validated @1",
            "approved @1",
            "begun @1",
            "completed @1",
            "verified @1",
            "held and nothing was newly broken for 3s",
        ],
    );
    assert!(story.contains("resolved"), "{story}");
}

#[test]
fn a_limit_applies_on_every_node_and_a_drained_node_serves_again_when_undrained() {
    let scene = Scene::configured(Options::default(), Latency::Ignored, EXECUTE);
    let (from, operator, nodes) = (scene.now(), &scene.operator, urls(&scene));
    run_action(
        operator,
        &["update_limit", "key=tight", "limit=2", "window_ms=3600000"],
    );
    for node in &nodes {
        assert_eq!(limits(node), [json!(["tight", 2, 3600])], "{node}");
    }
    for status in [200, 200] {
        assert_eq!(check(&nodes[0], "tight"), status);
    }
    for node in &nodes {
        assert_eq!(check(node, "tight"), 429, "{node}");
    }
    run_action(
        operator,
        &["update_limit", "key=tight", "limit=5", "window_ms=3600000"],
    );
    for node in &nodes {
        assert_eq!(check(node, "tight"), 200, "{node}");
        assert_eq!(limits(node), [json!(["tight", 5, 3600])], "{node}");
    }

    run_action(operator, &["drain_node", "node_id=node-2"]);
    let answers = || {
        nodes
            .iter()
            .map(|node| check(node, "any"))
            .collect::<Vec<_>>()
    };
    assert_eq!(answers(), [200, 503, 200]);
    assert!(
        get(&format!("{}/api/v1/nodes/node-2", nodes[0]))
            .expect("a node")
            .contains("draining")
    );
    run_action(operator, &["undrain_node", "node_id=node-2"]);
    assert_eq!(answers(), [200, 200, 200]);
    scene.assert_only_opened(from, &[]);
}

#[test]
fn a_limit_that_blocks_clients_is_not_verified_and_the_previous_one_is_restored() {
    let rules = r#"thresholds.block_rate_percent = 10.0
[subjects.ratelimiter.invariants.high_block_rate]
grace_period = "1s"
[subjects.ratelimiter.actions]
mode = "execute"
verify_window = "3s"
[subjects.ratelimiter.actions.by_name.update_limit]
verify_window = "2m"
"#;
    let scene = Scene::configured(Options::default(), Latency::Ignored, rules);
    let (operator, nodes) = (&scene.operator, urls(&scene));
    // The background load uses keys with this prefix.
    let call = ["update_limit", "key=load:*", "limit=0", "window_ms=60000"];
    let id = propose(operator, &call);
    approve(operator, id);
    wait_for(operator, id, &["completed"]);
    for node in &nodes {
        assert_eq!(check(node, "load:0"), 429, "{node}");
    }
    let refuted = wait_for(operator, id, &["not_verified"]);
    assert_eq!(
        refuted["note"],
        "not verified: high_block_rate opened after it began"
    );
    let undo = find_undo(operator, id)["id"].as_i64().expect("a number");
    let undone = wait_for(operator, undo, &["verified"]);
    let before = json!({"key": "load:*", "had_override": false, "limit": 100, "window_ms": 60_000});
    assert_eq!(undone["plan"]["steps"][0]["params"], before);
    for node in &nodes {
        assert_eq!(limits(node), [json!(null); 0], "{node}");
        assert_eq!(check(node, "load:0"), 200, "{node}");
    }
    let unsettled = ticket(operator, "operator.action_unsettled");
    ask(operator, &["proposals", "settle", "1", "--note", "seen"]);
    find_proposal(operator, "a settled proposal", |proposal| {
        proposal["id"] == id && !proposal["settled"].is_null()
    });
    scene.expect(0, "resolved warning high_block_rate");
    assert!(ask(operator, &["tickets", "show", &unsettled]).contains("@1"));
}

#[test]
fn a_drain_that_breaks_something_else_is_undone_and_its_ticket_shows_all_steps() {
    let options = Options {
        nodes: 2,
        default_limit: 20,
        default_window_ms: 60_000,
        ..Options::default()
    };
    // A busy machine alone does not exceed this.
    let rules = format!(
        "[subjects.ratelimiter.config.thresholds]\nlatency_p99_ms = 500.0\n{EXECUTE}\
         [subjects.ratelimiter.actions.by_name.drain_node]\nverify_window = \"2m\"\n"
    );
    let scene = Scene::configured(options, Latency::Checked, &rules);
    let (from, operator, nodes) = (scene.now(), &scene.operator, urls(&scene));
    // node-2 is slow, which opens a ticket. node-1 allows everything, which shows once clients move to it.
    scene
        .cluster
        .set_faults_on(0, r#"{"ignore_limits":true}"#)
        .expect("chaos");
    scene
        .cluster
        .set_faults_on(1, r#"{"added_latency_ms":2000}"#)
        .expect("chaos");
    let _client = Client::start(vec![nodes[1].clone(), nodes[0].clone()], "hot");
    let ticket = ticket(operator, "high_latency");
    scene.assert_only_opened(from, &["high_latency"]);
    let call = ["drain_node", "node_id=node-2", "--ticket", &ticket];
    let id = propose(operator, &call);
    approve(operator, id);
    let refuted = wait_for(operator, id, &["not_verified"]);
    let note = refuted["note"].as_str().expect("a note");
    assert!(note.ends_with(" opened after it began"), "{note}");
    assert!(note.contains("ghost_allowing hot"), "{note}");
    let undo = find_undo(operator, id)["id"].as_i64().expect("a number");
    let undone = wait_for(operator, undo, &["verified"]);
    assert_eq!(undone["plan"]["steps"][0]["action"], "undrain_node");
    // The clients are back on the node that applies the limit, and the window is full.
    assert_eq!(check(&nodes[1], "hot"), 429);
    let story = ask(operator, &["tickets", "show", &ticket]);
    assert_in_order(
        &story,
        &[
            "seen",
            "opened",
            "proposed @1",
            "approved @1",
            "begun @1",
            "completed @1",
            "not_verified @1",
            " opened after it began",
            "proposed @2",
            "undoes @1",
            "approved @2",
            "begun @2",
            "completed @2",
            "verified @2",
        ],
    );
    assert!(story.contains("escalated"), "{story}");
}
