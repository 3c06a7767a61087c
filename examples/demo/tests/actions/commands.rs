//! What people ask of an operator, and what they wait for.

use std::process::Output;

use operator_demo::{Watched, cluster::get, wait};
use serde_json::Value;

use crate::scene::PATIENCE;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn asked(operator: &Watched, command: &[&str]) -> Output {
    operator.ask(command).expect("an operator that can be run")
}

/// What a command that must succeed prints.
#[track_caller]
pub(crate) fn ask(operator: &Watched, command: &[&str]) -> String {
    let output = asked(operator, command);
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// A command that must end with this code and this complaint.
#[track_caller]
pub(crate) fn refused(operator: &Watched, command: &[&str], code: i32, complaint: &str) {
    let output = asked(operator, command);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    assert!(said.contains(complaint), "{command:?}: {said}");
}

/// Proposes a call; its number.
#[track_caller]
pub(crate) fn propose(operator: &Watched, call: &[&str]) -> i64 {
    let command = [&["actions", "propose", "--json"], call].concat();
    let proposal: Value = serde_json::from_str(&ask(operator, &command)).expect("a proposal");
    proposal["id"].as_i64().expect("a number")
}

#[track_caller]
pub(crate) fn approve(operator: &Watched, id: i64) {
    let id = id.to_string();
    ask(operator, &["actions", "approve", &id, "--yes"]);
}

/// A call that is proposed, approved, run by the daemon and proven.
#[track_caller]
pub(crate) fn act(operator: &Watched, call: &[&str]) {
    let id = propose(operator, call);
    approve(operator, id);
    wait_for(operator, id, &["verified"]);
}

/// Waits until there is such a proposal.
#[track_caller]
pub(crate) fn find(operator: &Watched, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let found = wait::until(PATIENCE, what, || {
        let all = operator.proposals().expect("proposals");
        all.into_iter().find(|proposal| is_it(proposal))
    });
    found.unwrap_or_else(|error| panic!("{error}; {:#?}", operator.proposals()))
}

/// Waits until a proposal is in one of these states.
#[track_caller]
pub(crate) fn wait_for(operator: &Watched, id: i64, states: &[&str]) -> Value {
    find(operator, &format!("@{id} is {states:?}"), |proposal| {
        let state = proposal["state"].as_str().unwrap_or_default();
        proposal["id"] == id && states.contains(&state)
    })
}

/// Waits for what takes a proposal back.
#[track_caller]
pub(crate) fn undoing(operator: &Watched, id: i64) -> Value {
    find(operator, &format!("what takes @{id} back"), |proposal| {
        proposal["undoes"] == id
    })
}

/// The number of the ticket of an invariant, as `#7`; waits until there is one.
#[track_caller]
pub(crate) fn ticket(operator: &Watched, invariant: &str) -> String {
    let id = wait::until(PATIENCE, invariant, || {
        let tickets = operator.tickets().expect("tickets");
        let mut of = tickets.iter().filter(|one| one["invariant"] == invariant);
        of.find(|one| one["state"] == "open")?["id"].as_i64()
    });
    format!("#{}", id.expect("a ticket"))
}

/// `operator tickets show` tells all of this, in this order.
#[track_caller]
pub(crate) fn tells(story: &str, words: &[&str]) {
    let mut from = 0;
    for word in words {
        let found = story[from..].find(word);
        from += found.unwrap_or_else(|| panic!("`{word}` is missing after {from} in:\n{story}"));
    }
}

/// The status with which a node answers a check of a key.
pub(crate) fn check(node: &str, key: &str) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let answer = agent
        .post(format!("{node}/check"))
        .send_json(serde_json::json!({"key": key}));
    answer.expect("an answer").status().as_u16()
}

/// The limits of their own that keys have, as one node tells them: `[key, requests in a window, seconds]`.
pub(crate) fn limits(node: &str) -> Vec<Value> {
    let limits = get(&format!("{node}/api/v1/limits")).expect("limits");
    let limits: Value = serde_json::from_str(&limits).expect("JSON");
    let rules = limits["limits"].as_array().expect("a list");
    rules
        .iter()
        .map(|rule| {
            serde_json::json!([
                rule["key_pattern"],
                rule["max_requests"],
                rule["window_seconds"]
            ])
        })
        .collect()
}
