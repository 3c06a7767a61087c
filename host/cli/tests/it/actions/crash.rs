//! The daemon is killed at every step of an execution: no action runs twice, and no proposal stays in execution for ever.

use crate::support::{
    acting::{BROKEN, Scene},
    common::wait_for,
};

/// Kills the daemon at a crash point while it executes proposal 1. Returns the number of effects by then.
fn crash_at(scene: &Scene, point: &str) -> usize {
    let mut daemon = scene.site.start_with(|command| {
        command.env("OPERATOR_TEST_CRASH_AT", point);
    });
    let ended = daemon.ended();
    assert_eq!(ended.code(), None, "{point}: it was not killed");
    scene.effects().len()
}

fn approved() -> Scene {
    let scene = Scene::executing("verify_window = \"1s\"\ncooldown = \"0s\"");
    scene.propose(&["set_level", "level=7"]);
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    scene
}

#[test]
fn a_crash_before_the_intent_is_recorded_leaves_it_to_the_next_process() {
    let scene = approved();
    assert_eq!(crash_at(&scene, "approved"), 0);
    assert_eq!(scene.proposal(1)["state"], "approved");
    let mut daemon = scene.site.start();
    scene.wait_for_state(1, "verified");
    assert_eq!(scene.effects().len(), 1);
    daemon.next_heartbeat("db");
    daemon.stop();
}

/// After a crash once the intent is recorded, the outcome is unknown and a person must inspect it.
fn is_given_up(point: &str, effects: usize) {
    let scene = approved();
    assert_eq!(crash_at(&scene, point), effects, "{point}");
    assert_eq!(scene.proposal(1)["state"], "executing", "{point}");
    let mut daemon = scene.site.start();
    let lost = scene.wait_for_state(1, "outcome_unknown");
    assert!(
        lost["note"]
            .as_str()
            .unwrap()
            .contains("before the outcome was known"),
        "{lost}"
    );
    daemon.wait_for_ticket("db", "operator.action_unsettled", "opened");
    let before = daemon.next_heartbeat("db");
    wait_for("more cycles", || {
        (daemon.next_heartbeat("db").cycles > before.cycles + 10).then_some(())
    });
    assert_eq!(scene.effects().len(), effects, "{point}: it was done again");
    assert_eq!(scene.proposal(1)["state"], "outcome_unknown");
    assert!(scene.ask(&["audit", "verify"]).starts_with("intact: "));
    daemon.stop();
}

#[test]
fn a_crash_after_the_intent_is_recorded_leaves_the_outcome_unknown() {
    is_given_up("begun", 0);
}

#[test]
fn a_crash_before_the_answer_is_recorded_leaves_the_outcome_unknown() {
    is_given_up("answered", 1);
}

#[test]
fn a_crash_in_the_middle_of_a_call_leaves_the_outcome_unknown() {
    let scene = Scene::executing_with("", "latency_ms = 60000");
    scene.propose(&["set_level", "level=7"]);
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    let daemon = scene.site.start();
    scene.wait_for_state(1, "executing");
    daemon.kill();
    let daemon = scene.site.start();
    scene.wait_for_state(1, "outcome_unknown");
    assert!(scene.effects().len() <= 1);
    daemon.kill();
}

#[test]
fn a_crash_after_the_answer_is_recorded_leaves_the_proof_to_the_next_process() {
    let scene = approved();
    assert_eq!(crash_at(&scene, "recorded"), 1);
    assert_eq!(scene.proposal(1)["state"], "completed");
    let mut daemon = scene.site.start();
    scene.wait_for_state(1, "verified");
    assert_eq!(scene.effects().len(), 1);
    daemon.next_heartbeat("db");
    daemon.stop();
}

#[test]
fn a_crash_before_the_undo_leaves_it_to_the_next_process() {
    for point in ["refuted", "undoing"] {
        let scene = Scene::executing("verify_window = \"30s\"\ncooldown = \"0s\"");
        let mut daemon = scene.site.start_with(|command| {
            command.env("OPERATOR_TEST_CRASH_AT", point);
        });
        daemon.next_heartbeat("db");
        scene.ask(&["actions", "run", "set_level", "level=7", "--yes"]);
        scene.report(BROKEN);
        assert_eq!(daemon.ended().code(), None, "{point}: it was not killed");
        assert_eq!(scene.proposal(1)["state"], "not_verified", "{point}");
        let mut daemon = scene.site.start();
        wait_for("the undoing", || (scene.effects().len() == 2).then_some(()));
        assert!(scene.effects()[1].starts_with("set_level {\"level\":0}"));
        assert_eq!(scene.proposal(2)["undoes"], 1, "{point}");
        daemon.next_heartbeat("db");
        let unsettled = scene.ask(&["tickets", "list"]);
        assert!(
            unsettled.contains("operator.action_unsettled"),
            "{point}: {unsettled}"
        );
        assert!(
            scene.try_proposal(3).is_none(),
            "{point}: it is taken back once"
        );
        daemon.stop();
    }
}

#[test]
fn a_crash_between_two_steps_leaves_the_rest_undone() {
    let scene = Scene::executing("");
    scene.ask(&["proposals", "create", "--workflow", "twice"]);
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    assert_eq!(crash_at(&scene, "recorded"), 1);
    let mut daemon = scene.site.start();
    let lost = scene.wait_for_state(1, "outcome_unknown");
    assert!(
        lost["note"].as_str().unwrap().contains("before step 2"),
        "{lost}"
    );
    assert_eq!(scene.effects().len(), 1);
    daemon.next_heartbeat("db");
    daemon.stop();
}
