//! Commands on tickets while the daemon runs, and what `tickets watch` shows of them.

use std::{process::Stdio, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    common::{self, misbehaving_subject},
    daemon::{Daemon, Site, put, text, watch_for},
};

const BROKEN: &str = r#"{"violations": [{"invariant": "first", "resource": "node-1", "message": "does not answer"}]}"#;
const WHOLE: &str = "{}";

fn site() -> Site {
    let mut site = Site::new();
    let lines = format!(
        "interval = \"100ms\"\nconfig.observation_file = {:?}",
        site.path("observation.json")
    );
    site.subject("synthetic", misbehaving_subject(), &lines);
    site
}

/// `operator tickets watch --json`.
fn watcher(site: &Site) -> Daemon {
    let mut command = site.operator();
    command
        .args(["tickets", "watch", "--json"])
        .stdout(Stdio::piped());
    Daemon::follow(command.spawn().unwrap())
}

/// The only open ticket.
fn open_ticket(site: &Site) -> Value {
    let listed = site.ask(&["tickets", "list", "--json"]);
    let mut tickets: Vec<Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(tickets.len(), 1, "{listed}");
    tickets.remove(0)
}

/// Waits until a daemon has printed at least this many events of this kind about its one ticket.
fn wait_for_kind(daemon: &mut Daemon, kind: &str, times: usize) {
    let what = format!("{kind}, {times} times");
    common::wait_for(&what, || {
        let story = daemon.story("synthetic");
        (story.iter().filter(|(printed, _)| printed == kind).count() >= times).then_some(())
    });
}

#[test]
fn people_and_the_daemon_work_on_the_same_tickets() {
    let site = site();
    let mut daemon = site.start();
    put(&site.path("observation.json"), BROKEN);
    daemon.wait_for_ticket("synthetic", "first", "opened");
    let opened = open_ticket(&site);
    let id = opened["id"].to_string();
    let change = |verb: &str, note: &str| site.ask(&["tickets", verb, &id, "--note", note]);

    // Commands before it has begun to watch are not shown.
    let mut watcher = watcher(&site);
    common::wait_for("the watcher to watch", || {
        change("ack", "looking at it");
        (!watcher.events().is_empty()).then_some(())
    });
    let acknowledged = &open_ticket(&site)["acknowledged"];
    assert_eq!(acknowledged["by"], "anna");
    assert_eq!(acknowledged["note"], "looking at it");

    change("hold", "until the disk is changed");
    put(&site.path("observation.json"), WHOLE);
    wait_for_kind(&mut daemon, "recovering", 1);
    let before = daemon.next_heartbeat("synthetic");
    watch_for(Duration::from_millis(500), || {
        assert!(
            !daemon
                .story("synthetic")
                .iter()
                .any(|(kind, _)| kind == "resolved")
        );
    });
    daemon.wait_for_cycle_after("synthetic", &before);
    assert_eq!(open_ticket(&site)["state"], "recovering");

    change("unhold", "changed");
    wait_for_kind(&mut daemon, "resolved", 1);

    put(&site.path("observation.json"), BROKEN);
    wait_for_kind(&mut daemon, "reopened", 1);
    change("resolve", "it was never broken");
    wait_for_kind(&mut daemon, "reopened", 2);
    let standing = open_ticket(&site);
    assert_eq!(standing["id"], opened["id"]);
    assert_eq!(standing["first_seen"], opened["first_seen"]);
    assert_eq!(standing["occurrences"], 3);

    let last = watcher.wait_for("both to see the same", |event| {
        event["event"]["kind"] == "reopened" && event["ticket"]["occurrences"] == 3
    });
    assert_eq!(last["ticket"]["id"], opened["id"]);
    let events: Vec<(String, String)> = watcher
        .events()
        .iter()
        .map(|event| {
            (
                text(&event["event"]["kind"]),
                text(&event["event"]["actor"]),
            )
        })
        .skip_while(|(kind, _)| kind == "acknowledged")
        .collect();
    let by = |kind: &str, actor: &str| (kind.to_owned(), actor.to_owned());
    let expected = [
        by("held", "anna"),
        by("recovering", "operator"),
        by("unheld", "anna"),
        by("resolved", "operator"),
        by("seen", "operator"),
        by("reopened", "operator"),
        by("resolved", "anna"),
        by("seen", "operator"),
        by("reopened", "operator"),
    ];
    assert_eq!(events, expected);
    watcher.signal(Signal::INT);
    assert_eq!(watcher.ended().code(), Some(130));
    daemon.stop();
}

#[test]
fn changes_to_a_resolved_ticket_are_refused() {
    let site = site();
    put(&site.path("observation.json"), BROKEN);
    let mut daemon = site.start();
    daemon.wait_for_ticket("synthetic", "first", "opened");
    put(&site.path("observation.json"), WHOLE);
    daemon.wait_for_ticket("synthetic", "first", "resolved");
    for word in ["ack", "hold", "resolve"] {
        let output = site
            .operator()
            .args(["tickets", word, "1"])
            .output()
            .unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert_eq!(complaints, "error: ticket #1 is resolved already\n");
        assert_eq!(output.status.code(), Some(2));
    }
    assert_eq!(site.ask(&["tickets", "list", "--json"]).trim(), "[]");
    daemon.stop();
}

#[test]
fn a_ticket_shows_its_runbook_while_its_plugin_is_gone() {
    let mut site = Site::new();
    let plugin = site.path("libcopied.so");
    std::fs::copy(misbehaving_subject(), &plugin).unwrap();
    let observation = site.path("observation.json");
    let lines = format!("interval = \"100ms\"\nconfig.observation_file = {observation:?}");
    site.subject("synthetic", &plugin, &lines);
    put(&observation, BROKEN);
    let mut daemon = site.start();
    let id = daemon.wait_for_ticket("synthetic", "first", "opened")["id"].to_string();
    daemon.stop();
    std::fs::remove_file(&plugin).unwrap();
    let shown = site.ask(&["tickets", "show", &id]);
    for line in [
        "  means         The observation file reports no breach of `first`.",
        "  runbook       Remove the entry from the observation file.",
        "  try           repair",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    let document = site.ask(&["tickets", "show", &id, "--json"]);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["guidance"]["suggested_actions"][0], "repair");
}
