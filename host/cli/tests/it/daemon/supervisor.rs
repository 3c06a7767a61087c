//! The loops of the daemon: one that panics is started again without any loss, one that stalls
//! opens a ticket of the operator itself, and `operator status` shows both.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    acting::{BROKEN, Scene, WHOLE},
    common::wait_for,
    daemon::{Daemon, text},
};

const RULES: &str = "verify_window = \"1s\"\ncooldown = \"0s\"";
const STALLED: &str = "operator.loop_stalled";
const LOOPS: [&str; 7] = [
    "watch:db",
    "housekeeping",
    "stalls",
    "status",
    "audit",
    "engine",
    "clock",
];

/// A daemon whose loops fail as the files of [`inject`] name, and whose stalls are found after three seconds.
fn start(scene: &Scene) -> Daemon {
    fs::create_dir_all(scene.site.path("loops")).unwrap();
    scene.site.start_with(|command| {
        command
            .env("OPERATOR_TEST_LOOPS", scene.site.path("loops"))
            .env("OPERATOR_TEST_LONGEST_TURN_MS", "1000");
    })
}

fn inject(scene: &Scene, of: &str, fault: &str) {
    let folder = scene.site.path("loops");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{of}.{fault}")), "").unwrap();
}

fn heal(scene: &Scene, of: &str) {
    fs::remove_file(scene.site.path(format!("loops/{of}.hang"))).unwrap();
}

/// What `operator status` prints, and its exit code.
fn status(scene: &Scene) -> (Vec<Value>, Option<i32>) {
    let mut command = scene.site.operator();
    let output = command.args(["status", "--json"]).output().unwrap();
    let daemons = serde_json::from_slice(&output.stdout);
    let daemons = daemons.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (daemons, output.status.code())
}

fn id(one: &Value) -> String {
    match one["subject"].as_str() {
        Some(subject) => format!("{}:{subject}", text(&one["name"])),
        None => text(&one["name"]),
    }
}

/// The status of a loop of the only daemon.
fn status_of(scene: &Scene, of: &str) -> Option<Value> {
    let (daemons, _) = status(scene);
    let loops = daemons.first()?["loops"].as_array()?.clone();
    loops.into_iter().find(|one| id(one) == of)
}

/// Waits until a loop has been started again, and has turned since.
#[track_caller]
fn wait_for_restart(scene: &Scene, of: &str) -> Value {
    wait_for(&format!("the restart of {of}"), || {
        let one = status_of(scene, of)?;
        (one["restarts"] == 1 && one["result"] == "ok").then_some(one)
    })
}

#[track_caller]
fn wait_for_exit(scene: &Scene, code: i32) -> Vec<Value> {
    wait_for(
        &format!("the exit code {code} of `operator status`"),
        || {
            let (daemons, now) = status(scene);
            (now == Some(code)).then_some(daemons)
        },
    )
}

/// The loops that have a ticket in this state, by the names in their resources.
fn stalled(scene: &Scene, state: &str) -> BTreeSet<String> {
    let tickets = scene.site.tickets().into_iter();
    let stalled = tickets.filter(|one| one["invariant"] == STALLED && one["state"] == state);
    stalled
        .map(|one| {
            let name = text(&one["resource"]).split('@').next().unwrap().to_owned();
            match one["subject"].as_str().unwrap() {
                "operator" => name,
                subject => format!("{name}:{subject}"),
            }
        })
        .collect()
}

#[track_caller]
fn wait_for_stalled(scene: &Scene, state: &str, loops: &[&str]) {
    wait_for(&format!("{state} tickets of {loops:?}"), || {
        let found = stalled(scene, state);
        loops.iter().all(|one| found.contains(*one)).then_some(())
    });
}

fn count(daemon: &Daemon, is_it: impl Fn(&Value) -> bool) -> usize {
    daemon.events().iter().filter(|event| is_it(event)).count()
}

#[test]
fn every_loop_that_panics_is_started_again_and_its_panic_is_reported_once() {
    let scene = Scene::executing(RULES);
    for one in LOOPS {
        inject(&scene, one, "panic");
    }
    let mut daemon = start(&scene);
    for one in LOOPS {
        let status = wait_for_restart(&scene, one);
        let message = text(&status["last_error"]["message"]);
        assert_eq!(
            message,
            format!("panicked: a test made the loop {one} panic")
        );
        let message = format!("the loop `{one}` {message}; it is started again in 500ms");
        let is_it = |event: &Value| event["event"] == "trouble" && event["message"] == *message;
        daemon.wait_for("the report of the panic", is_it);
        assert_eq!(count(&daemon, is_it), 1, "{message}");
    }
    let daemons = wait_for_exit(&scene, 0);
    assert_eq!(daemons[0]["pid"], daemon.pid());
    assert_eq!(daemons[0]["loops"].as_array().unwrap().len(), LOOPS.len());
    // It writes the report in its own turn, and still shows the turn before.
    assert_eq!(status_of(&scene, "status").unwrap()["state"], "waiting");
    daemon.next_heartbeat("db");
    daemon.stop();
    assert_eq!(status(&scene), (Vec::new(), Some(3)));
    assert_eq!(scene.ask(&["tickets", "list", "--all"]), "no tickets\n");
}

#[test]
fn a_fault_and_its_action_outlive_the_panics_of_every_loop() {
    let scene = Scene::executing_with(RULES, "latency_ms = 1500");
    let mut daemon = start(&scene);
    scene.report(BROKEN);
    let ticket = daemon.wait_for_ticket("db", "first", "opened");
    let before = daemon.next_heartbeat("db");
    inject(&scene, "watch:db", "panic");
    wait_for_restart(&scene, "watch:db");
    daemon.wait_for_cycle_after("db", &before);

    let ticket_id = ticket["id"].to_string();
    scene.propose(&["set_level", "level=7", "--ticket", &ticket_id]);
    inject(&scene, "audit", "panic");
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    scene.wait_for_state(1, "executing");
    inject(&scene, "engine", "panic");
    for one in ["engine", "audit"] {
        wait_for_restart(&scene, one);
    }
    scene.wait_for_state(1, "completed");
    scene.report(WHOLE);
    scene.wait_for_state(1, "verified");
    daemon.wait_for_ticket("db", "first", "resolved");

    assert_eq!(scene.effects().len(), 1, "{:?}", scene.effects());
    for kind in ["proposed", "approved", "begun", "completed", "verified"] {
        let is_it = |event: &Value| event["event"] == "action" && event["kind"] == kind;
        daemon.wait_for(&format!("the report that it was {kind}"), is_it);
    }
    let tickets = scene.site.tickets();
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    assert_eq!(tickets[0]["occurrences"], 1);
    assert!(scene.ask(&["audit", "verify"]).starts_with("intact: "));
    daemon.stop();
}

#[test]
fn a_loop_that_is_held_up_is_a_ticket_until_it_turns_again() {
    let scene = Scene::executing(RULES);
    let held_up = ["watch:db", "housekeeping", "audit", "engine"];
    for one in held_up {
        inject(&scene, one, "hang");
    }
    let mut daemon = start(&scene);
    wait_for_stalled(&scene, "open", &held_up);
    let ticket = daemon.wait_for("the ticket of the engine", |event| {
        event["subject"] == "operator"
            && event["kind"] == "opened"
            && text(&event["ticket"]["resource"]).starts_with("engine@")
    });
    assert_eq!(ticket["ticket"]["severity"], "critical");
    wait_for_exit(&scene, 1);
    assert!(status_of(&scene, "engine").unwrap()["stalled_for_ms"].as_i64() > Some(3000));
    for one in held_up {
        heal(&scene, one);
    }
    wait_for_stalled(&scene, "resolved", &held_up);
    wait_for_exit(&scene, 0);

    // Each of the two loops that know of stalls keeps the ticket of the other.
    inject(&scene, "stalls", "hang");
    wait_for_stalled(&scene, "open", &["stalls"]);
    wait_for_exit(&scene, 1);
    heal(&scene, "stalls");
    wait_for_stalled(&scene, "resolved", &["stalls"]);
    inject(&scene, "status", "hang");
    wait_for_stalled(&scene, "open", &["status"]);
    let daemons = wait_for_exit(&scene, 3);
    assert_eq!(daemons[0]["health"], "stale");
    heal(&scene, "status");
    wait_for_stalled(&scene, "resolved", &["status"]);
    daemon.stop();
}

#[test]
fn a_loop_that_is_held_up_delays_the_end_of_the_daemon_by_a_bounded_time() {
    let scene = Scene::executing(RULES);
    inject(&scene, "audit", "hang");
    let mut daemon = start(&scene);
    daemon.next_heartbeat("db");
    let since = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    assert!(
        since.elapsed() < Duration::from_secs(15),
        "{:?}",
        since.elapsed()
    );
    let aborted = "the loop `audit` did not end in time at shutdown, and was aborted";
    assert_eq!(count(&daemon, |event| event["message"] == *aborted), 1);
}

#[test]
fn a_daemon_that_was_killed_is_stale_until_another_one_runs_on_its_machine() {
    let scene = Scene::executing(RULES);
    inject(&scene, "engine", "hang");
    let daemon = start(&scene);
    let pid = daemon.pid();
    wait_for_stalled(&scene, "open", &["engine"]);
    daemon.kill();
    // At once: its last report is seconds old.
    let (daemons, code) = status(&scene);
    assert_eq!(code, Some(3), "{daemons:?}");
    heal(&scene, "engine");
    assert_eq!(
        (&daemons[0]["pid"], &daemons[0]["health"]),
        (&pid.into(), &"stale".into())
    );
    let next = start(&scene);
    let daemons = wait_for_exit(&scene, 0);
    assert_eq!(daemons[0]["pid"], next.pid());
    assert_eq!(daemons.len(), 1);
    wait_for_stalled(&scene, "resolved", &["engine"]);
    next.stop();
}
