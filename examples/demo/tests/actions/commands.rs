//! Commands of the operator, and waiting for their effects.

use std::process::Output;

use operator_demo::{Operator, cluster::get, wait};
use serde_json::Value;

use crate::scene::PATIENCE;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn output_of(operator: &Operator, command: &[&str]) -> Output {
    operator.run(command).expect("an operator that can be run")
}

/// Runs a command that must succeed; returns its output.
#[track_caller]
pub(crate) fn ask(operator: &Operator, command: &[&str]) -> String {
    let output = output_of(operator, command);
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a command that must fail with this exit code and message.
#[track_caller]
pub(crate) fn refused(operator: &Operator, command: &[&str], code: i32, complaint: &str) {
    let output = output_of(operator, command);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {stderr}");
    assert!(stderr.contains(complaint), "{command:?}: {stderr}");
}

/// Proposes a call; returns its id.
#[track_caller]
pub(crate) fn propose(operator: &Operator, call: &[&str]) -> i64 {
    let command = [&["proposals", "create", "--json"], call].concat();
    let proposal: Value = serde_json::from_str(&ask(operator, &command)).expect("a proposal");
    proposal["id"].as_i64().expect("a number")
}

#[track_caller]
pub(crate) fn approve(operator: &Operator, id: i64) {
    let id = id.to_string();
    ask(operator, &["proposals", "approve", &id, "--yes"]);
}

/// Proposes and approves a call, and waits until the daemon has run and verified it.
#[track_caller]
pub(crate) fn run_action(operator: &Operator, call: &[&str]) {
    let id = propose(operator, call);
    approve(operator, id);
    wait_for(operator, id, &["verified"]);
}

/// Waits for a matching proposal.
#[track_caller]
pub(crate) fn find_proposal(
    operator: &Operator,
    what: &str,
    is_it: impl Fn(&Value) -> bool,
) -> Value {
    let found = wait::until(PATIENCE, what, || {
        let all = operator.proposals().expect("proposals");
        all.into_iter().find(|proposal| is_it(proposal))
    });
    found.unwrap_or_else(|error| panic!("{error}; {:#?}", operator.proposals()))
}

/// Waits until a proposal is in one of these states.
#[track_caller]
pub(crate) fn wait_for(operator: &Operator, id: i64, states: &[&str]) -> Value {
    find_proposal(operator, &format!("@{id} is {states:?}"), |proposal| {
        let state = proposal["state"].as_str().unwrap_or_default();
        proposal["id"] == id && states.contains(&state)
    })
}

/// Waits for the proposal that undoes another one.
#[track_caller]
pub(crate) fn find_undo(operator: &Operator, id: i64) -> Value {
    find_proposal(operator, &format!("the undo of @{id}"), |proposal| {
        proposal["undoes"] == id
    })
}

/// Waits for an open ticket of an invariant; returns its id in the form `#7`.
#[track_caller]
pub(crate) fn ticket(operator: &Operator, invariant: &str) -> String {
    let id = wait::until(PATIENCE, invariant, || {
        let tickets = operator.tickets().expect("tickets");
        let mut of = tickets.iter().filter(|one| one["invariant"] == invariant);
        of.find(|one| one["state"] == "open")?["id"].as_i64()
    });
    format!("#{}", id.expect("a ticket"))
}

/// Asserts that the output of `operator tickets show` contains all of this, in this order.
#[track_caller]
pub(crate) fn assert_in_order(story: &str, words: &[&str]) {
    let mut from = 0;
    for word in words {
        let found = story[from..].find(word);
        from += found.unwrap_or_else(|| panic!("`{word}` is missing after {from} in:\n{story}"));
    }
}

/// Checks a key on a node; returns the HTTP status.
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

/// The limits set for keys, as one node lists them: `[key, requests per window, seconds]`.
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
