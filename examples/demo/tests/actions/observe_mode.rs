//! A recording fake instead of a node: in the mode `observe`, no attempt to act reaches it.

use std::path::PathBuf;

use operator_demo::{Operator, wait};
use operator_plugin_kit::testing::fake::{Fake, Reply};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    commands::{ask, find_proposal, find_undo, propose, refused, ticket, wait_for},
    scene::{PATIENCE, write_config},
};

/// Every action of the plugin, with valid parameters.
const CALLS: [&[&str]; 7] = [
    &["reset_counter", "key=k"],
    &["update_limit", "key=k", "limit=1", "window_ms=1000"],
    &[
        "restore_limit",
        "key=k",
        "had_override=true",
        "limit=1",
        "window_ms=1000",
    ],
    &["block_key", "key=k", "duration_seconds=60"],
    &["unblock_key", "key=k"],
    &["drain_node", "node_id=node-1"],
    &["undrain_node", "node_id=node-1"],
];

/// The rules are as permissive as possible, so that only the mode, which is the default, prevents actions.
const RULES: &str = r#"
[subjects.ratelimiter.actions]
approve = "off"
cooldown = "0s"
blast_radius = 1000
max_per_hour = 1000
max_per_action_per_hour = 1000
verify_window = "1s"
verify_within = "1s"

[subjects.ratelimiter.workflows.away_and_back]
on_failure = "compensate"
[[subjects.ratelimiter.workflows.away_and_back.steps]]
action = "drain_node"
params = { node_id = "node-1" }
[[subjects.ratelimiter.workflows.away_and_back.steps]]
action = "wait"
params = { for = "20s" }
[[subjects.ratelimiter.workflows.away_and_back.steps]]
action = "undrain_node"
params = { node_id = "node-1" }
"#;

const REFUSED: i32 = 5;
const OBSERVES: &str = "refused by the rule `mode`: it is `observe`";

/// A fake node without Redis, and an operator that watches it.
struct Scene {
    fake: Fake,
    operator: Operator,
    _temp: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self::with("")
    }

    fn with(rules: &str) -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        let fake = node();
        let free_port = wait::free_port().expect("a free port");
        let settings = [
            format!("management_url={}", fake.url()),
            format!("prometheus_url={}", fake.url()),
            format!("redis_url=redis://127.0.0.1:{free_port}"),
        ];
        let folder: PathBuf = temp.path().to_owned();
        let config = write_config(&folder, &settings, &format!("{RULES}{rules}"));
        let args = ["--config".to_owned(), config.display().to_string()];
        let scene = Self {
            fake,
            operator: Operator::start(&folder, &args).expect("an operator"),
            _temp: temp,
        };
        scene.cycles(1);
        scene
    }

    /// Waits for this many heartbeats, one per second, with cycles that observed the fake.
    fn cycles(&self, count: usize) {
        for _ in 0..count {
            let now = self.operator.lines().len();
            let heartbeat =
                self.operator
                    .wait_for_heartbeat(now, "a cycle", PATIENCE, |heartbeat| {
                        heartbeat["observed"] == true
                    });
            heartbeat.expect("a heartbeat");
        }
    }

    /// Every request so far that would change something.
    fn changes(&self) -> Vec<String> {
        assert!(
            !self.fake.requests().is_empty(),
            "the fake was never observed"
        );
        self.fake.changes()
    }

    fn state(&self, id: i64) -> String {
        let proposals = self.operator.proposals().expect("proposals");
        let mut of = proposals.iter().filter(|proposal| proposal["id"] == id);
        let state = of.next().and_then(|proposal| proposal["state"].as_str());
        state.expect("a proposal").to_owned()
    }
}

/// Implements the part of a node that observing and draining need.
fn node() -> Fake {
    let json = |body: &str| Reply::Body(200, body.to_owned());
    let health =
        r#"{"node_id":"node-1","redis_connected":false,"draining":false,"version":"1.0.0"}"#;
    let limits = r#"{"default":{"max_requests":100,"window_seconds":60},"limits":[]}"#;
    let replies = [
        ("GET /health", json(health)),
        (
            "GET /api/v1/nodes",
            json(r#"{"nodes":[{"id":"node-1","state":"healthy"}]}"#),
        ),
        ("GET /api/v1/limits", json(limits)),
        ("GET /api/v1/blocks", json(r#"{"blocked":[]}"#)),
        (
            "POST /api/v1/nodes/node-1/drain",
            json(r#"{"id":"node-1","draining":true}"#),
        ),
    ];
    Fake::with_replies(&replies, Reply::Body(404, "{}".to_owned()))
}

/// Attempts to run one call in every way: directly, for a ticket, by proposal, delayed, and after another call.
fn try_everything(scene: &Scene, ticket: &str, call: &[&str]) {
    let operator = &scene.operator;
    let with = |before: &[&str], after: &[&str]| {
        let words = [before, call, after].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for command in [
        with(&["actions", "run"], &["--yes"]),
        with(
            &["actions", "run"],
            &["--yes", "--ticket", ticket, "--json"],
        ),
    ] {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        refused(operator, &command, REFUSED, OBSERVES);
    }
    ask(
        operator,
        &[&["actions", "run"], call, &["--dry-run"]].concat(),
    );
    let id = propose(operator, &[call, &["--ticket", ticket]].concat());
    let before = format!("@{id}");
    propose(operator, &[call, &["--in", "1s"]].concat());
    propose(operator, &[call, &["--follows", &before]].concat());
    let approve = ["proposals", "approve", &before, "--yes"];
    refused(operator, &approve, REFUSED, OBSERVES);
    let run = ["actions", "run", &before, "--yes"];
    refused(operator, &run, 2, "only what is approved can begin");
    assert_eq!(scene.state(id), "validated");
}

#[test]
fn in_observe_mode_nothing_reaches_the_service_by_any_path() {
    let mut scene = Scene::new();
    let ticket = ticket(&scene.operator, "redis_disconnected");
    for call in CALLS {
        try_everything(&scene, &ticket, call);
    }
    let operator = &scene.operator;
    let workflow = ["workflows", "run", "away_and_back", "--yes"];
    refused(operator, &workflow, REFUSED, OBSERVES);
    ask(
        operator,
        &["workflows", "run", "away_and_back", "--dry-run"],
    );
    ask(
        operator,
        &["proposals", "create", "--workflow", "away_and_back"],
    );
    // Direct runs are cancelled; proposals wait.
    let (waiting, over): (Vec<_>, Vec<_>) = all_of(operator)
        .into_iter()
        .partition(|(_, state)| state == "validated");
    assert!(
        over.iter().all(|(_, state)| state == "cancelled"),
        "{over:?}"
    );
    assert_eq!(waiting.len(), 3 * CALLS.len() + 1);
    for (id, _) in waiting {
        let approve = ["proposals", "approve", &id.to_string(), "--yes"];
        refused(operator, &approve, REFUSED, OBSERVES);
    }
    // Delayed calls have become due, also after a restart of the daemon on the same state.
    scene.cycles(3);
    scene.operator.process.kill().expect("a dead operator");
    scene.operator.restart().expect("another operator");
    scene.cycles(3);
    let operator = &scene.operator;
    ask(operator, &["kill-switch"]);
    ask(operator, &["kill-switch", "--lift"]);
    ask(operator, &["mode", "configured"]);
    scene.cycles(3);
    assert_eq!(scene.changes(), [""; 0]);
    assert!(
        all_of(operator)
            .iter()
            .all(|(_, state)| state == "cancelled")
    );
}

fn all_of(operator: &Operator) -> Vec<(i64, String)> {
    let all = operator.proposals().expect("proposals");
    let of = |proposal: &Value| {
        let state = proposal["state"].as_str().expect("a state");
        (proposal["id"].as_i64().expect("an id"), state.to_owned())
    };
    all.iter().map(of).collect()
}

#[test]
fn running_workflows_stop_when_the_mode_becomes_observe() {
    let scene = Scene::new();
    let operator = &scene.operator;
    ask(operator, &["mode", "execute"]);
    ask(
        operator,
        &["proposals", "create", "--workflow", "away_and_back"],
    );
    let waits = propose(operator, &["unblock_key", "key=k", "--in", "15s"]);
    let drain = "POST /api/v1/nodes/node-1/drain";
    wait::until(PATIENCE, "the first step", || {
        (scene.changes() == [drain]).then_some(())
    })
    .expect("a drain");
    ask(operator, &["mode", "observe"]);

    // Neither the workflow's last step, nor the undo of its first one, nor the delayed call may run.
    let stopped = wait_for(operator, 1, &["failed"]);
    let note = stopped["note"].as_str().expect("a note");
    assert!(note.starts_with("mode: it is `observe`"), "{note}");
    let lapsed = wait_for(operator, waits, &["validated"]);
    let note = lapsed["note"].as_str().expect("a note");
    assert!(note.starts_with("mode: it is `observe`"), "{note}");
    let compensation = find_undo(operator, 1);
    assert_eq!(compensation["state"], "validated");
    scene.cycles(3);
    assert_eq!(scene.changes(), [drain]);
}

#[test]
fn an_action_that_did_not_help_is_not_undone_in_observe_mode() {
    let scene = Scene::new();
    let operator = &scene.operator;
    let ticket = ticket(operator, "redis_disconnected");
    ask(operator, &["mode", "execute"]);
    // A drain does not bring Redis back.
    let call = ["drain_node", "node_id=node-1", "--ticket", &ticket];
    ask(
        operator,
        &[&["actions", "run"], &call[..], &["--yes"]].concat(),
    );
    ask(operator, &["mode", "observe"]);
    wait_for(operator, 1, &["not_verified"]);
    let undo = find_proposal(operator, "its undo", |one| one["undoes"] == 1);
    let id = undo["id"].to_string();
    assert_eq!(undo["state"], "validated");
    let approve = ["proposals", "approve", &id, "--yes"];
    refused(operator, &approve, REFUSED, OBSERVES);
    scene.cycles(3);
    assert_eq!(scene.changes(), ["POST /api/v1/nodes/node-1/drain"]);
}

#[test]
fn an_undo_that_the_rules_forbid_waits_for_approval() {
    let scene = Scene::with("[subjects.ratelimiter.actions.by_name.drain_node]\nundo = false\n");
    let operator = &scene.operator;
    let ticket = ticket(operator, "redis_disconnected");
    ask(operator, &["mode", "execute"]);
    propose(
        operator,
        &["drain_node", "node_id=node-1", "--ticket", &ticket],
    );
    wait_for(operator, 1, &["not_verified"]);
    assert_eq!(find_undo(operator, 1)["state"], "validated");
    scene.cycles(3);
    assert_eq!(scene.changes(), ["POST /api/v1/nodes/node-1/drain"]);
}
