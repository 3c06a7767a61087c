//! What a plugin says must not hurt the host: each hostile document becomes a ticket, while a healthy neighbour is watched, and
//! the daemon still ends when it is asked to.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{
    conformance::table::{library, switched, written},
    support::{
        common::{misbehaving_subject, quiet_machine},
        daemon::Site,
    },
};

const FAILING: &str = "operator.plugin_failing";
const INTERVAL: Duration = Duration::from_millis(200);
/// Cycles of the neighbour.
const CYCLES: u64 = 5;

/// A site with a healthy subject and a hostile one.
fn with_hostile(switch: &str, isolation: &str) -> Site {
    let mut site = Site::new();
    site.honest("honest", "interval = \"200ms\"");
    let plugin = hostile_plugin(&site, switch);
    let lines = format!(
        "interval = \"200ms\"\nisolation = {isolation:?}\nconfig = {{ name = \"levels\" }}"
    );
    site.subject("hostile", &plugin, &lines);
    site
}

fn hostile_plugin(site: &Site, switch: &str) -> PathBuf {
    let bytes = fs::read(library()).unwrap();
    written(&site.path(""), switch, &switched(switch, bytes))
}

/// The plugin fails with these words, its neighbour is watched without a late cycle, and the daemon ends.
#[track_caller]
fn is_refused(switch: &str, isolation: &str, words: &str) {
    let site = with_hostile(switch, isolation);
    let mut daemon = site.start();
    let opened = daemon.wait_for("a ticket about the plugin", |event| {
        event["event"] == "ticket"
            && event["kind"] == "opened"
            && event["ticket"]["subject"] == "hostile"
    });
    assert_eq!(opened["ticket"]["invariant"], FAILING, "{switch}: {opened}");
    let message = opened["ticket"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{switch}: {message}");
    assert!(
        message.lines().count() == 1 && message.len() < 700,
        "{switch}: {message}"
    );
    let seen = daemon.events().len();
    let watched = daemon.wait_for_after(seen, "cycles of the neighbour", |event| {
        event["subject"] == "honest" && event["cycles"].as_u64() > Some(CYCLES)
    });
    assert_eq!(watched["observed"], true, "{switch}: {watched}");
    daemon.stop();
}

#[test]
fn a_descriptor_that_no_host_can_use_is_the_failing_of_its_plugin() {
    let _machine = quiet_machine();
    for (switch, words) in [
        ("hostile.schema-doubles", "more than 10000 subschemas"),
        ("hostile.schema-url", "leads nowhere"),
        ("hostile.schema-file", "leads nowhere"),
        ("hostile.schema-itself", "refers to itself without an end"),
        (
            "hostile.schema-pattern",
            "the schema of its configuration cannot be used",
        ),
        ("hostile.schema-number", "17 is not a schema"),
        ("hostile.name-path", "`invariants[0].name` is \"../go\""),
        (
            "hostile.name-of-the-host",
            "`invariants[0].name` is \"operator.plugin_failing\"",
        ),
        ("hostile.name-twice", "two entries of the name"),
        ("hostile.many-invariants", "the document has"),
    ] {
        is_refused(switch, "worker", words);
    }
}

#[test]
fn an_observation_or_a_report_beyond_the_bounds_is_the_failing_of_its_plugin() {
    let _machine = quiet_machine();
    for (switch, words) in [
        ("hostile.time-past", "`observed_at_ms` is 0"),
        ("hostile.time-future", "`observed_at_ms` is 253370764800000"),
        (
            "hostile.many-resources",
            "`resources` has 20000 entries, at most 10000",
        ),
        ("hostile.evidence", "the document has"),
        ("hostile.deep-evidence", "nested more than 64 deep"),
        ("hostile.many-violations", "the document has"),
        ("hostile.many-unknowns", "the document has"),
    ] {
        is_refused(switch, "worker", words);
    }
}

#[test]
fn a_plugin_in_the_operators_own_process_is_bounded_too() {
    let _machine = quiet_machine();
    for (switch, words) in [
        ("hostile.schema-doubles", "more than 10000 subschemas"),
        ("hostile.evidence", "the document has"),
    ] {
        is_refused(switch, "none", words);
    }
}

#[test]
fn thousands_of_resources_that_come_and_go_make_no_neighbour_late() {
    let _machine = quiet_machine();
    let site = with_hostile("hostile.come-and-go", "worker");
    let mut daemon = site.start();
    let before = daemon.next_heartbeat("honest");
    let told = daemon.wait_for_ticket("hostile", "operator.too_many_violations", "opened");
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("3500 violations have no ticket"),
        "{message}"
    );
    for _ in 0..3 {
        daemon.wait_for_another_cycle("hostile");
    }
    let after = daemon.next_heartbeat("honest");
    after.assert_kept_up_since(&before, INTERVAL);
    daemon.stop();
    let kept = site.tickets().len();
    assert!(kept <= 2_100, "{kept} tickets");
}

#[test]
fn actions_that_the_operator_cannot_use_are_refused_at_once() {
    let _machine = quiet_machine();
    for (switch, words) in [
        ("hostile.action-wait", "like a tool of the operator"),
        ("hostile.action-schema", "more than 10000 subschemas"),
    ] {
        let site = with_hostile(switch, "worker");
        let output = site
            .operator()
            .args(["actions", "list", "--subject", "hostile"])
            .output();
        let output = output.unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{switch}: {complaint}");
        assert!(complaint.contains(words), "{switch}: {complaint}");
    }
}

/// A subject that reports this.
fn reporting(report: &Value) -> Site {
    let mut site = Site::new();
    let file = site.path("report.json");
    fs::write(&file, report.to_string()).unwrap();
    let lines = format!("config = {{ observation_file = {file:?}, token = \"hunter22\" }}");
    site.subject("orders", misbehaving_subject(), &lines);
    site
}

/// What `check` prints, with and without `--json`.
fn checked(site: &Site) -> [String; 2] {
    [&["check"][..], &["check", "--json"]].map(|arguments| {
        let output = site.operator().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    })
}

#[test]
fn a_secret_that_a_plugin_repeats_is_masked_wherever_it_is_printed() {
    let text = "GET /?token=hunter22";
    let site = reporting(&json!({
        "summary": text,
        "violations": [{"invariant": "first", "resource": text, "message": text, "evidence": {"url": text}}],
        "unknown": [{"invariant": "second", "reason": text}],
        "sources": [{"name": "api", "error": text}],
    }));
    let observed = site.ask(&["observe", "--json"]);
    for shown in checked(&site).iter().chain([&observed]) {
        assert!(shown.contains("GET /?token=***"), "{shown}");
        assert!(!shown.contains("hunter22"), "{shown}");
    }
}

#[test]
fn characters_that_nobody_sees_are_shown_by_their_number() {
    let site = reporting(&json!({"violations": [
        {"invariant": "first", "resource": "node-1", "message": "plain"},
        {"invariant": "first", "resource": "node\u{200b}-1", "message": "hidden\u{2060}\u{3164}\u{e0041}"},
    ]}));
    let [text, document] = checked(&site);
    assert!(text.contains("node\\u{200b}-1"), "{text}");
    assert!(
        text.contains("hidden\\u{2060}\\u{3164}\\u{e0041}"),
        "{text}"
    );
    assert!(document.contains("node\\u200b-1"), "{document}");
    let read: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(read[0]["violations"][1]["resource"], "node\u{200b}-1");
}

#[test]
fn a_long_listing_is_cut_for_people_and_whole_for_programs() {
    let violation = |n: usize| json!({"invariant": "first", "resource": format!("node-{n:04}"), "message": "down"});
    let many: Vec<_> = (0..1_000).map(violation).collect();
    let [text, document] = checked(&reporting(&json!({"violations": many})));
    assert!(
        text.contains("and 900 more; `operator check --json` lists all of them"),
        "{text}"
    );
    assert!(text.lines().count() < 150, "{text}");
    let read: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(read[0]["violations"].as_array().unwrap().len(), 1_000);
}
