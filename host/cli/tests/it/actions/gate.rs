//! The gate from outside: which actions run, which do not, and what is reported about them.

use serde_json::{Value, json};

use crate::support::{
    acting::{BROKEN, Scene, WHOLE},
    common, daemon,
};

#[test]
fn in_observe_mode_nothing_runs_by_any_path() {
    let scene = Scene::observing("approve = \"off\"");
    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.propose(&["set_level", "level=5"]);
    scene.propose(&["set_level", "level=6", "--in", "1s"]);
    assert_eq!(scene.proposal(1)["state"], "validated");
    let observing = "refused by the rule `mode`: it is `observe`";
    scene.refused(&["proposals", "approve", "1", "--yes"], 5, observing);
    scene.refused(
        &["actions", "run", "set_level", "level=5", "--yes"],
        5,
        observing,
    );
    scene.refused(&["workflows", "run", "twice", "--yes"], 5, observing);
    scene.refused(
        &["actions", "run", "@1", "--yes"],
        2,
        "only what is approved can begin",
    );
    scene.ask(&["proposals", "create", "--workflow", "twice"]);
    let dry_run = [
        "actions",
        "run",
        "set_level",
        "level=5",
        "--dry-run",
        "--yes",
    ];
    let preview = scene.ask(&dry_run);
    assert!(
        preview.contains("the plugin's preview: set_level is done"),
        "{preview}"
    );
    let before = daemon.next_heartbeat("db");
    daemon::watch_for(std::time::Duration::from_secs(2), || {
        assert_eq!(scene.effects(), [""; 0]);
    });
    daemon.wait_for_cycle_after("db", &before);
    // What waited does not run by itself when the mode changes: nobody has approved it.
    scene.ask(&["mode", "execute"]);
    daemon::watch_for(std::time::Duration::from_secs(1), || {
        assert_eq!(scene.effects(), [""; 0]);
    });
    daemon.stop();
}

#[test]
fn a_ticket_is_repaired_verified_and_reported_as_one_story() {
    let scene = Scene::executing("verify_window = \"1s\"");
    scene.report(BROKEN);
    let mut daemon = scene.site.start();
    let ticket = daemon.wait_for_ticket("db", "first", "opened")["id"].to_string();
    let why = "it stands in the runbook";
    scene.propose(&["repair", "--ticket", &ticket, "--why", why]);
    scene.ask(&["proposals", "approve", "@1", "--yes", "--note", "go"]);
    let verified = scene.wait_for_state(1, "verified");
    assert_eq!(scene.effects().len(), 1);
    assert_eq!(verified["approval"]["by"], "anna");
    let shown = scene.ask(&["tickets", "show", &ticket]);
    let words = [
        "seen",
        "opened",
        "proposed @1",
        "validated @1",
        "approved @1",
        "begun @1",
        "completed @1",
        "verified @1",
    ];
    let mut from = 0;
    for word in words {
        let found = shown[from..].find(word);
        from += found.unwrap_or_else(|| panic!("{word} is missing after {from} in:\n{shown}"));
    }
    // A cycle may observe the effect before the reply to the call is recorded.
    let begun = shown.find("begun @1").unwrap();
    assert!(
        shown[begun..].contains("the invariant holds again"),
        "{shown}"
    );
    assert!(shown.contains(why), "{shown}");
    let verified = daemon.wait_for("the verification", |event| {
        event["event"] == "action" && event["kind"] == "verified"
    });
    assert_eq!(verified["proposal"], 1);
    daemon.stop();
}

#[test]
fn an_action_that_breaks_something_else_is_undone_and_escalated() {
    let scene = Scene::executing("verify_window = \"2s\"\ncooldown = \"0s\"");
    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.ask(&["actions", "run", "set_level", "level=7", "--yes"]);
    scene.report(BROKEN);
    let refuted = scene.wait_for_state(1, "not_verified");
    assert_eq!(
        refuted["note"],
        "not verified: first node-1 opened after it began"
    );
    let undone = common::wait_for("the undoing", || {
        let proposal = scene.try_proposal(2)?;
        ["completed", "verified"]
            .contains(&proposal["state"].as_str()?)
            .then_some(proposal)
    });
    assert_eq!(undone["undoes"], 1);
    assert_eq!(undone["plan"]["steps"][0]["params"], json!({"level": 0}));
    let shown = scene.ask(&["proposals", "show", "1"]);
    assert!(shown.contains("  undone by      @2 ("), "{shown}");
    let effects = scene.effects();
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert!(
        effects[1].starts_with("set_level {\"level\":0}"),
        "{effects:?}"
    );
    daemon.wait_for_ticket("db", "operator.action_unsettled", "opened");
    scene.ask(&["proposals", "settle", "1", "--note", "seen"]);
    daemon.wait_for_ticket("db", "operator.action_unsettled", "resolved");
    scene.refused(
        &["proposals", "settle", "1"],
        2,
        "there is nothing to settle",
    );
    daemon.stop();
}

#[test]
fn the_undo_of_a_useless_action_needs_no_verification() {
    let scene =
        Scene::executing("verify_window = \"1s\"\nverify_within = \"2s\"\ncooldown = \"0s\"");
    scene.report(BROKEN);
    let mut daemon = scene.site.start();
    let ticket = daemon.wait_for_ticket("db", "first", "opened")["id"].to_string();
    let call = [
        "actions",
        "run",
        "set_level",
        "level=7",
        "--ticket",
        &ticket,
    ];
    scene.ask(&[&call[..], &["--yes"]].concat());
    let refuted = scene.wait_for_state(1, "not_verified");
    assert_eq!(
        refuted["note"],
        "not verified: first node-1 is still broken"
    );
    common::wait_for("the undoing", || scene.try_proposal(2));
    let undone = scene.wait_for_state(2, "verified");
    assert_eq!(undone["ticket"].to_string(), ticket);
    assert_eq!(undone["proof"]["targets"], json!([]));
    daemon.stop();
}

#[test]
fn without_permission_to_undo_the_inverse_is_only_proposed() {
    let scene = Scene::executing("verify_window = \"2s\"\nundo = false");
    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.ask(&["actions", "run", "set_level", "level=7", "--yes"]);
    scene.report(BROKEN);
    scene.wait_for_state(1, "not_verified");
    let proposed = common::wait_for("the inverse", || scene.try_proposal(2));
    assert_eq!(proposed["state"], "validated");
    assert_eq!(scene.effects().len(), 1);
    daemon.stop();
}

#[test]
fn an_approval_lapses_when_the_action_is_redefined() {
    let scene = Scene::executing("");
    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.propose(&["set_level", "level=4", "--in", "3s"]);
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    scene.fault("raised_risk list_actions");
    let pending = scene.ask(&["proposals", "show", "1"]);
    assert!(
        pending.contains("  changed        risk of `set_level` was \"medium\" and is \"high\""),
        "{pending}"
    );
    let lapsed = scene.wait_for_state(1, "validated");
    let note = lapsed["note"].as_str().unwrap();
    let changed = "approval: since anna approved it, risk of `set_level` was \"medium\" and is \"high\"; description";
    assert!(note.starts_with(changed), "{note}");
    assert_eq!(lapsed["risk"], "high");
    let shown = scene.ask(&["proposals", "show", "1"]);
    assert!(shown.contains("Wipes all levels."), "{shown}");
    assert_eq!(scene.effects(), [""; 0]);
    daemon.stop();
}

#[test]
fn an_inverse_of_high_risk_needs_a_person_who_has_seen_it() {
    let scene = Scene::executing("approve = \"high\"\nverify_window = \"1s\"\ncooldown = \"0s\"");
    scene.fault("risky_inverse list_actions");
    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.propose(&["set_level", "level=4"]);
    assert_eq!(scene.proposal(1)["state"], "validated");
    let shown = scene.ask(&["proposals", "show", "1"]);
    let inverse = "risk: low; `wipe` undoes it if it does not help (risk: high;";
    assert!(shown.contains(inverse), "{shown}");
    // What was approved without it: the plugin declares it only afterwards.
    scene.fault("none");
    scene.propose(&["set_level", "level=5"]);
    assert_eq!(
        scene.wait_for_state(2, "completed")["approval"]["by_rule"],
        true
    );
    scene.fault("risky_inverse list_actions");
    scene.report(BROKEN);
    scene.wait_for_state(2, "not_verified");
    let undoing = common::wait_for("the undoing", || scene.try_proposal(3));
    assert_eq!(undoing["undoes"], 2);
    assert_eq!(undoing["state"], "validated");
    assert_eq!(scene.effects().len(), 1);
    daemon.stop();
}

#[test]
fn an_inverse_that_does_not_exist_is_reported_everywhere() {
    let scene = Scene::executing("verify_window = \"1s\"\nverify_within = \"2s\"");
    scene.fault("lost_inverse list_actions");
    scene.report(BROKEN);
    let mut daemon = scene.site.start();
    let ticket = daemon.wait_for_ticket("db", "first", "opened")["id"].to_string();
    let call = [
        "actions",
        "run",
        "set_level",
        "level=7",
        "--ticket",
        &ticket,
        "--yes",
    ];
    scene.ask(&call);
    scene.wait_for_state(1, "not_verified");
    let why = "`set_level` names `unset_level` as its inverse, and the plugin has no such action";
    let remark = format!("not undone: {why}");
    common::wait_for("the remark", || {
        let proposal = scene.proposal(1);
        proposal["note"].as_str()?.ends_with(&remark).then_some(())
    });
    let shown = scene.ask(&["tickets", "show", &ticket]);
    assert!(shown.contains(&remark), "{shown}");
    let audit = scene.ask(&["audit", "list"]);
    assert!(
        audit.contains("not_undone") && audit.contains(why),
        "{audit}"
    );
    daemon.stop();
}

#[test]
fn an_approval_counts_for_what_was_seen_and_as_long_as_it_says() {
    let scene = Scene::executing("approval_expires = \"3s\"");
    scene.report(BROKEN);
    let mut daemon = scene.site.start();
    let ticket = daemon.wait_for_ticket("db", "first", "opened")["id"].to_string();

    scene.propose(&["set_level", "level=1"]);
    let other = scene.ask(&["proposals", "show", "1", "--json"]);
    let other: Value = serde_json::from_str(&other).unwrap();
    scene.propose(&["set_level", "level=2"]);
    let digest = other["digest"].as_str().unwrap();
    scene.refused(
        &["proposals", "approve", "2", "--digest", digest],
        2,
        "its calls or parameters are not those that were shown",
    );

    // Its ticket changes before its time has come.
    scene.propose(&["set_level", "level=4", "--ticket", &ticket, "--in", "2s"]);
    scene.ask(&["proposals", "approve", "3", "--yes"]);
    scene.report(&BROKEN.replace("\"message\"", "\"severity\": \"info\", \"message\""));
    let lapsed = scene.wait_for_state(3, "validated");
    assert_eq!(
        lapsed["note"],
        "approval: the ticket has changed since anna approved it"
    );

    scene.ask(&["kill-switch"]);
    assert_eq!(scene.proposal(1)["state"], "cancelled");
    scene.propose(&["set_level", "level=5"]);
    let engaged = "refused by the rule `kill_switch`: it was engaged by anna";
    scene.refused(&["proposals", "approve", "4", "--yes"], 5, engaged);
    scene.refused(
        &["mode", "execute"],
        2,
        "the kill switch was engaged by anna",
    );
    assert_eq!(scene.effects(), [""; 0]);
    daemon.stop();
}

#[test]
fn an_approval_expires_while_a_rule_holds_it_back() {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .weekday();
    let far = DAYS[(today.to_monday_zero_offset().unsigned_abs() as usize + 3) % 7];
    let scene = Scene::executing(&format!(
        "approval_expires = \"2s\"\nmaintenance_windows = [\"{far} 00:00-24:00\"]"
    ));
    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.propose(&["set_level", "level=1"]);
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    let lapsed = scene.wait_for_state(1, "validated");
    let note = lapsed["note"].as_str().unwrap();
    let expected = "its approval expired while it was held back: maintenance_windows: outside of";
    assert!(note.starts_with(expected), "{note}");
    assert_eq!(scene.effects(), [""; 0]);
    daemon.stop();
}

#[test]
fn the_kill_switch_stops_what_runs_and_holds_over_restarts() {
    let scene = Scene::executing_with("", "fault = \"sleep\", fault_in = \"invoke\"");
    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.propose(&["set_level", "level=1"]);
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    scene.propose(&["set_level", "level=2"]);
    scene.wait_for_state(1, "executing");
    let before = scene.site.workers().len();
    common::wait_for("the worker that acts", || {
        (scene.site.workers().len() >= before).then_some(())
    });
    let asked = std::time::Instant::now();
    scene.ask(&["kill-switch", "--why", "it burns"]);
    let stopped = scene.wait_for_state(1, "outcome_unknown");
    // Under a second on an idle machine; a busy one is given time.
    assert!(asked.elapsed() < std::time::Duration::from_secs(10));
    assert!(
        stopped["note"]
            .as_str()
            .unwrap()
            .starts_with("the kill switch was engaged"),
        "{stopped}"
    );
    assert_eq!(scene.proposal(2)["state"], "cancelled");
    common::wait_for("the acting worker to be gone", || {
        (scene.site.workers().len() <= 1).then_some(())
    });
    daemon.wait_for_ticket("db", "operator.action_unsettled", "opened");
    daemon.stop();

    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.refused(
        &["mode", "execute"],
        2,
        "the kill switch was engaged by anna",
    );
    let lifted = scene.ask(&["kill-switch", "--lift"]);
    assert!(lifted.contains("`operator mode execute`"), "{lifted}");
    assert!(scene.ask(&["mode"]).contains("observe"));
    scene.ask(&["mode", "execute"]);
    assert_eq!(
        scene.proposal(1)["state"],
        "outcome_unknown",
        "it is never tried again"
    );
    daemon.stop();
}

#[test]
fn two_daemons_run_a_proposal_once() {
    let scene = Scene::executing(
        "cooldown = \"0s\"\nmax_per_hour = 100\nmax_per_action_per_hour = 100\nblast_radius = 100",
    );
    let mut daemons = [scene.site.start(), scene.site.start()];
    for daemon in &mut daemons {
        daemon.next_heartbeat("db");
    }
    for level in 1..=10 {
        scene.propose(&["set_level", &format!("level={level}")]);
        scene.ask(&["proposals", "approve", &level.to_string(), "--yes"]);
    }
    for id in 1..=10 {
        scene.wait_for(id, |state| ["completed", "verified"].contains(&state));
    }
    let mut effects = scene.effects();
    assert_eq!(effects.len(), 10, "{effects:?}");
    effects.sort();
    effects.dedup();
    assert_eq!(effects.len(), 10);
    for daemon in daemons {
        daemon.stop();
    }
}

#[test]
fn limits_hold_it_back_and_say_which() {
    let scene = Scene::executing(
        "max_per_action_per_hour = 1\nmax_per_hour = 2\ncooldown = \"1s\"\ndeny = [\"wi*\"]",
    );
    let mut daemon = scene.site.start();
    scene.ask(&["actions", "run", "set_level", "level=1", "--yes"]);
    daemon::watch_for(std::time::Duration::from_millis(1100), || {});
    scene.refused(
        &["actions", "run", "set_level", "level=2", "--yes"],
        5,
        "refused by the rule `max_per_action_per_hour`: 1 of 1 calls",
    );
    scene.refused(
        &["actions", "run", "wipe", "--yes"],
        5,
        "refused by the rule `deny`: `wipe` falls under `wi*`",
    );
    assert_eq!(
        scene.proposal(2)["state"],
        "cancelled",
        "nobody waits for it any more"
    );
    scene.propose(&["set_level", "level=3"]);
    scene.ask(&["proposals", "approve", "4", "--yes"]);
    let held = common::wait_for("the rule", || {
        scene.proposal(4)["held_back"].as_str().map(str::to_owned)
    });
    assert!(held.starts_with("max_per_action_per_hour: "), "{held}");
    scene.ask(&["proposals", "cancel", "4"]);
    assert_eq!(scene.effects().len(), 1);
    daemon.next_heartbeat("db");
    daemon.stop();
}

#[test]
fn a_call_that_was_refused_is_tried_again_also_after_a_restart() {
    let scene = Scene::executing("retries = 3");
    scene.fault("refuse invoke");
    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.propose(&["set_level", "level=1"]);
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    common::wait_for("a first attempt", || {
        (scene.proposal(1)["attempt"].as_u64()? >= 1).then_some(())
    });
    daemon.kill();
    scene.fault("none");
    let mut daemon = scene.site.start();
    let done = scene.wait_for(1, |state| {
        ["completed", "verified", "outcome_unknown"].contains(&state)
    });
    if done["state"] == "outcome_unknown" {
        // It was killed in the middle of an attempt.
        assert!(scene.effects().len() <= 1);
    } else {
        assert_eq!(scene.effects().len(), 1);
        assert!(done["attempt"].as_u64().unwrap() >= 2, "{done}");
    }
    daemon.next_heartbeat("db");
    daemon.stop();
}

#[test]
fn attempts_come_to_an_end() {
    let scene = Scene::executing("retries = 1");
    scene.fault("refuse invoke");
    let failed = scene.refused(&["actions", "run", "set_level", "level=1", "--yes"], 4, "");
    assert!(
        failed.starts_with("failed: invoke: injected refusal"),
        "{failed}"
    );
    assert_eq!(scene.proposal(1)["attempt"], 2);
    // `wipe` is not idempotent.
    scene.refused(&["actions", "run", "wipe", "--yes"], 4, "");
    assert_eq!(scene.proposal(2)["attempt"], 1);
    assert_eq!(scene.effects(), [""; 0]);
}

#[test]
fn a_workflow_goes_by_what_its_steps_found() {
    let scene = Scene::executing("cooldown = \"0s\"");
    let done = scene.ask(&["workflows", "run", "careful", "--yes"]);
    assert!(done.starts_with("done: "), "{done}");
    assert_eq!(scene.effects().len(), 2, "{:?}", scene.effects());
    scene.report(BROKEN);
    scene.ask(&["workflows", "run", "careful", "--yes"]);
    assert_eq!(
        scene.effects().len(),
        3,
        "the second call is for the healthy alone"
    );
    scene.report(WHOLE);
}

#[test]
fn a_workflow_that_fails_undoes_its_steps() {
    let fault = "fault = \"refuse\", fault_in = \"invoke\", fault_after = 1";
    let scene = Scene::executing_with("retries = 0", fault);
    scene.refused(&["workflows", "run", "doomed", "--yes"], 4, "");
    assert_eq!(scene.proposal(1)["state"], "failed");
    let undoing = scene.proposal(2);
    assert_eq!(undoing["undoes"], 1);
    assert_eq!(undoing["state"], "completed");
    let last = scene.effects().pop().unwrap();
    assert!(last.starts_with("set_level {\"level\":0}"), "{last}");
    scene.refused(
        &["actions", "run", "@1", "--yes"],
        2,
        "only what is approved can begin",
    );
    assert!(scene.try_proposal(3).is_none(), "it is taken back once");
}

#[test]
fn a_workflow_that_a_rule_stops_undoes_its_steps() {
    let scene = Scene::executing("max_per_action_per_hour = 1\ncooldown = \"0s\"");
    scene.refused(
        &["workflows", "run", "doomed", "--yes"],
        5,
        "max_per_action_per_hour",
    );
    let cut_off = scene.proposal(1);
    assert_eq!(cut_off["state"], "failed");
    let note = cut_off["note"].as_str().unwrap();
    assert!(note.starts_with("max_per_action_per_hour: "), "{note}");
    let undoing = scene.proposal(2);
    assert_eq!(undoing["undoes"], 1);
    assert_eq!(undoing["state"], "approved");
    assert_eq!(scene.effects().len(), 1);
}

#[test]
fn a_follow_up_waits_for_what_it_follows() {
    let scene = Scene::executing("cooldown = \"0s\"");
    let mut daemon = scene.site.start();
    daemon.next_heartbeat("db");
    scene.propose(&["set_level", "level=1"]);
    scene.propose(&["set_level", "level=2", "--follows", "@1"]);
    scene.ask(&["proposals", "approve", "2", "--yes"]);
    scene.wait_for(2, |state| state == "approved");
    daemon::watch_for(std::time::Duration::from_secs(1), || {
        assert_eq!(scene.effects(), [""; 0]);
    });
    scene.ask(&["proposals", "approve", "1", "--yes"]);
    scene.wait_for(2, |state| ["completed", "verified"].contains(&state));
    let effects = scene.effects();
    assert!(
        effects[0].contains("\"level\":1") && effects[1].contains("\"level\":2"),
        "{effects:?}"
    );

    scene.propose(&["set_level", "level=3"]);
    scene.propose(&["set_level", "level=4", "--follows", "@3"]);
    scene.ask(&["proposals", "approve", "4", "--yes"]);
    scene.ask(&["proposals", "reject", "3", "--note", "no need"]);
    let rejected = scene.wait_for_state(4, "rejected");
    assert_eq!(
        rejected["note"],
        "not_before: it follows @3, which is rejected"
    );
    daemon.stop();
}

#[test]
fn every_fault_of_a_proposal_is_reported_and_recorded() {
    let scene = Scene::executing("");
    scene.refused(
        &[
            "proposals",
            "create",
            "set_level",
            "level=500",
            "--why",
            "no",
        ],
        2,
        "500",
    );
    assert_eq!(scene.proposal(1)["state"], "rejected");
    scene.refused(
        &["proposals", "create", "--workflow", "twic"],
        2,
        "did you mean `twice`?",
    );
    scene.refused(
        &["proposals", "create", "repair", "--ticket", "#9"],
        2,
        "there is no ticket #9",
    );
    scene.refused(
        &[
            "proposals",
            "create",
            "repair",
            "--at",
            "2001-01-01T00:00:00Z",
        ],
        2,
        "has passed",
    );
}

#[test]
fn the_audit_is_proven_and_what_was_changed_in_an_export_is_named() {
    let scene = Scene::executing("");
    scene.ask(&["actions", "run", "set_level", "level=1", "--yes"]);
    assert!(scene.ask(&["audit", "verify"]).starts_with("intact: "));
    let export = scene.ask(&["audit", "export"]);
    let file = scene.site.path("export.jsonl");
    std::fs::write(&file, &export).unwrap();
    let path = file.to_str().unwrap();
    assert!(
        scene
            .ask(&["audit", "verify", "--file", path])
            .starts_with("intact: ")
    );
    let last: Value = serde_json::from_str(export.lines().last().unwrap()).unwrap();
    scene.ask(&[
        "audit",
        "verify",
        "--contains",
        last["hash"].as_str().unwrap(),
    ]);
    scene.refused(
        &["audit", "verify", "--contains", "00"],
        4,
        "no entry has the hash 00",
    );
    std::fs::write(&file, export.replacen("level=1", "level=2", 1)).unwrap();
    scene.refused(&["audit", "verify", "--file", path], 4, "it was changed");
    let lines: Vec<_> = export.lines().collect();
    std::fs::write(&file, [lines[0], lines[2]].join("\n")).unwrap();
    scene.refused(
        &["audit", "verify", "--file", path],
        4,
        "the audit is broken: entry 2: it is missing",
    );
}
