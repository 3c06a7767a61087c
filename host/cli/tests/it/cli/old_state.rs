//! A state directory that an operator of version 0.1 left behind.

use std::{fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::command::{operator, text};

fn fixture(name: &str) -> std::path::PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join("state-0.1").join(name)
}

/// What the operator of 0.1 printed.
fn printed_before(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

/// A copy of the state directory.
fn state() -> TempDir {
    let state = tempfile::tempdir().unwrap();
    fs::copy(fixture("operator.db"), state.path().join("operator.db")).unwrap();
    state
}

fn ask(state: &TempDir, arguments: &[&str]) -> String {
    let output = operator()
        .args(arguments)
        .arg("--state-dir")
        .arg(state.path())
        .output()
        .unwrap();
    let complaints = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {complaints}");
    text(&output.stdout)
}

fn listed(state: &TempDir, arguments: &[&str]) -> Value {
    serde_json::from_str(&ask(state, arguments)).unwrap()
}

/// Every field that was printed before is printed the same; there may be new ones.
#[track_caller]
fn still_says(now: &Value, before: &Value, at: &str) {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            for (name, before) in before {
                let now = now.get(name).unwrap_or(&Value::Null);
                still_says(now, before, &format!("{at}/{name}"));
            }
        }
        (Value::Array(now), Value::Array(before)) => {
            assert_eq!(now.len(), before.len(), "{at}");
            for (place, (now, before)) in now.iter().zip(before).enumerate() {
                still_says(now, before, &format!("{at}/{place}"));
            }
        }
        _ => assert_eq!(now, before, "{at}"),
    }
}

#[test]
fn tickets_proposals_and_the_quarantine_are_all_there() {
    let state = state();
    for (command, file, at_least) in [
        (
            &["tickets", "list", "--all", "--json"][..],
            "tickets.json",
            7,
        ),
        (
            &["proposals", "list", "--all", "--json"],
            "proposals.json",
            14,
        ),
        (
            &["plugins", "quarantine", "list", "--json"],
            "quarantine.json",
            1,
        ),
    ] {
        let before = printed_before(file);
        assert_eq!(before.as_array().unwrap().len(), at_least, "{file}");
        still_says(&listed(&state, command), &before, file);
    }
}

#[test]
fn the_audit_verifies_and_every_entry_of_it_is_understood() {
    let state = state();
    let verified = listed(&state, &["audit", "verify", "--json"]);
    assert_eq!(verified, printed_before("audit.json"));
    let entries = listed(&state, &["audit", "list", "--limit", "1000", "--json"]);
    let entries = entries.as_array().unwrap();
    assert_eq!(verified["head"]["n"], entries.len());
    for entry in entries {
        let kept = operator_model::AuditEntry {
            n: 0,
            at: operator_model::Timestamp(0),
            actor: String::new(),
            event: entry["event"].as_str().unwrap().to_owned(),
            subject: String::new(),
            proposal: None,
            ticket: None,
            body: entry["body"].to_string(),
            previous: String::new(),
            hash: String::new(),
        };
        assert!(kept.read().is_some(), "{entry}");
    }
}

#[test]
fn what_was_pending_can_still_be_ended() {
    let state = state();
    ask(&state, &["kill-switch", "--why", "a drill"]);
    let now = listed(&state, &["proposals", "list", "--all", "--json"]);
    let states: Vec<_> = now
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["state"])
        .collect();
    for state in ["proposed", "validated", "approved"] {
        assert!(!states.contains(&&Value::from(state)), "{states:?}");
    }
    ask(&state, &["audit", "verify"]);
}
