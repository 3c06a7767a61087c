//! What a plugin is to know again, and resources that are no longer mentioned, over restarts of worker and daemon.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{
    common::{misbehaving_subject, wait_for},
    daemon::{Daemon, Site, put, watch_for},
};

fn site(lines: &str) -> Site {
    let mut site = Site::new();
    let (observation, effects) = (site.path("observation.json"), site.path("effects"));
    let lines = format!(
        "interval = \"100ms\"\nconfig.observation_file = {observation:?}\n\
         config.effects_file = {effects:?}\n{lines}"
    );
    site.subject("synthetic", misbehaving_subject(), &lines);
    site
}

fn observe(site: &Site, content: Value) {
    put(&site.path("observation.json"), &content.to_string());
}

fn effects(site: &Site) -> Vec<String> {
    let text = fs::read_to_string(site.path("effects")).unwrap_or_default();
    let _ = fs::remove_file(site.path("effects"));
    text.lines().map(str::to_owned).collect()
}

fn wait_until_remembered(site: &Site, memory: &str) {
    let expected = format!("remembers {memory}");
    wait_for(&expected, || {
        effects(site).contains(&expected).then_some(())
    });
}

/// Kills the subject's worker; the daemon starts another one.
fn kill_worker(site: &Site) {
    for worker in site.workers() {
        let pid = Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }
}

#[test]
fn a_plugin_is_given_its_memory_after_a_restart_of_its_worker_and_of_the_daemon() {
    let site = site("");
    observe(&site, json!({"memory": {"seen": ["node-1"]}}));
    let mut daemon = site.start();
    daemon.wait_for_another_cycle("synthetic");
    let is_given = |effect: &String| effect.starts_with("remembers");
    assert!(!effects(&site).iter().any(is_given));
    kill_worker(&site);
    wait_until_remembered(&site, r#"{"seen":["node-1"]}"#);

    // Written at the end, although the last write is not long ago.
    observe(&site, json!({"memory": {"seen": ["node-1", "node-2"]}}));
    daemon.wait_for_another_cycle("synthetic");
    daemon.stop();
    effects(&site);
    let daemon = site.start();
    wait_until_remembered(&site, r#"{"seen":["node-1","node-2"]}"#);
    daemon.stop();

    // A command reads it and keeps nothing.
    observe(&site, json!({"memory": "of a command"}));
    for command in ["check", "observe"] {
        effects(&site);
        site.ask(&[command]);
        wait_until_remembered(&site, r#"{"seen":["node-1","node-2"]}"#);
    }
}

#[test]
fn a_memory_that_is_written_with_a_ticket_survives_a_kill() {
    let site = site("");
    let mut daemon = site.start();
    daemon.wait_for_another_cycle("synthetic");
    observe(
        &site,
        json!({"memory": 1, "violations": [{"invariant": "first", "message": "broken"}]}),
    );
    daemon.wait_for_ticket("synthetic", "first", "opened");
    daemon.kill();
    site.wait_for_no_workers();
    effects(&site);
    let daemon = site.start();
    wait_until_remembered(&site, "1");
    daemon.stop();
}

#[test]
fn a_memory_that_is_too_long_is_the_plugins_failing_and_is_not_kept() {
    let site = site("");
    observe(&site, json!({"memory": "short"}));
    let mut daemon = site.start();
    daemon.wait_for_another_cycle("synthetic");
    observe(&site, json!({"memory_bytes": 65_537}));
    let ticket = daemon.wait_for_ticket("synthetic", "operator.plugin_failing", "opened");
    assert_eq!(
        ticket["message"],
        "observe: answered with a `memory` of 65537 bytes, more than the 65536 that are kept of a subject; tell the \
         author of the plugin"
    );
    observe(&site, json!({"memory_bytes": 65_536}));
    daemon.wait_for_ticket("synthetic", "operator.plugin_failing", "resolved");
    daemon.stop();
}

const BROKEN: &str = r#"{"invariant": "listed", "resource": "node-2", "message": "no answer"}"#;

fn node(name: &str) -> Value {
    json!({"kind": "node", "id": name})
}

/// A daemon with an open ticket on `node-2`.
fn with_a_ticket(site: &Site) -> Daemon {
    let violation: Value = serde_json::from_str(BROKEN).unwrap();
    let resources = [node("node-1"), node("node-2")];
    observe(
        site,
        json!({"violations": [violation], "resources": resources}),
    );
    let mut daemon = site.start();
    daemon.wait_for_ticket("synthetic", "listed", "opened");
    daemon
}

#[test]
fn a_ticket_on_a_node_that_a_restarted_plugin_does_not_mention_stays() {
    let site = site("");
    with_a_ticket(&site).stop();
    observe(
        &site,
        json!({"resources": [node("node-1")], "summary": "1 of 1 nodes healthy"}),
    );
    let mut daemon = site.start();
    daemon.wait_for_another_cycle("synthetic");
    let resolved = |daemon: &Daemon| {
        daemon
            .story("synthetic")
            .iter()
            .any(|(kind, _)| kind == "resolved")
    };
    watch_for(Duration::from_millis(500), || assert!(!resolved(&daemon)));
    daemon.wait_for_another_cycle("synthetic");
    assert_eq!(site.tickets()[0]["state"], "open");

    // So a check knows that it does not know, and tells of the ticket.
    let check = site.operator().arg("check").output().unwrap();
    let printed = String::from_utf8(check.stdout).unwrap();
    assert_eq!(check.status.code(), Some(3), "{printed}");
    assert!(printed.contains("nobody looked"), "{printed}");
    assert!(
        printed.contains("1 ticket of this subject is not resolved in"),
        "{printed}"
    );

    let gone = json!({"kind": "node", "id": "node-2", "gone": "it left in good order"});
    observe(&site, json!({"resources": [gone]}));
    daemon.wait_for_ticket("synthetic", "listed", "resolved");
    let shown = site.ask(&["tickets", "show", "1"]);
    assert!(
        shown.contains("the node is gone: it left in good order"),
        "{shown}"
    );
    daemon.stop();
}

#[test]
fn a_check_whose_observation_is_healthy_tells_of_a_ticket_that_is_open() {
    let site = site("invariants.listed.keep_firing_for = \"1h\"");
    let daemon = with_a_ticket(&site);
    observe(
        &site,
        json!({"resources": [node("node-1"), node("node-2")], "summary": "2 of 2 nodes healthy"}),
    );
    let printed = site.ask(&["check"]);
    assert!(
        printed.starts_with("synthetic: healthy: 4 hold"),
        "{printed}"
    );
    assert!(
        printed.contains("1 ticket of this subject is not resolved in"),
        "{printed}"
    );
    assert!(printed.contains("node-2"), "{printed}");
    let document: Value = serde_json::from_str(&site.ask(&["check", "--json"])).unwrap();
    assert_eq!(document[0]["health"], "healthy");
    assert_eq!(document[0]["tickets"][0]["resource"], "node-2");
    daemon.stop();
}

#[test]
fn what_a_subject_can_never_tell_is_shown_and_warns_nobody() {
    let site = site("unknown_after = \"1ms\"");
    let of = |invariant: &str, kind: &str| json!({"invariant": invariant, "reason": "it has no metrics", "kind": kind});
    let unknown = [of("first", "not_supported"), of("second", "not_applicable")];
    observe(&site, json!({"unknown": unknown}));
    let mut daemon = site.start();
    daemon.wait_for_another_cycle("synthetic");
    daemon.wait_for_another_cycle("synthetic");
    assert_eq!(daemon.story("synthetic"), []);
    let printed = site.ask(&["check"]);
    assert!(
        printed.starts_with(
            "synthetic: healthy: 2 hold, 0 violated, 0 unknown, 1 not supported, 1 not applicable."
        ),
        "{printed}"
    );
    daemon.stop();
}
