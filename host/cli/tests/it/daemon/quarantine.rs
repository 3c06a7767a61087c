//! A plugin file in quarantine is never started until a person lifts the quarantine or replaces the file.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    time::Duration,
};

use crate::support::{
    common::{misbehaving_subject, wait_for},
    daemon::{Daemon, Site, text, watch_for},
};

const FAILING: &str = "operator.plugin_failing";

/// A subject with its own plugin file, which writes to `effects` when it has run, and one that must not be affected.
fn site() -> Site {
    let mut site = Site::new();
    let file = site.path("libsuspect.so");
    fs::copy(misbehaving_subject(), &file).unwrap();
    let lines = format!(
        "interval = \"100ms\"\nconfig.effects_file = {:?}",
        site.path("effects")
    );
    site.subject("suspect", &file, &lines);
    site.honest("honest", "interval = \"100ms\"");
    site
}

fn wait_for_observed(daemon: &mut Daemon) {
    daemon.wait_for("a good cycle", |event| {
        event["subject"] == "suspect" && event["observed"] == true
    });
}

/// The arguments of the command that a message names.
fn command_in(message: &str) -> Vec<&str> {
    let command = message.split('`').nth(1).unwrap();
    command
        .strip_prefix("operator ")
        .unwrap()
        .split(' ')
        .collect()
}

fn wait_for_times(daemon: &Daemon, kind: &str, times: usize) {
    wait_for(&format!("{kind}, {times} times"), || {
        let story = daemon.story("suspect");
        (story.iter().filter(|(printed, _)| printed == kind).count() == times).then_some(())
    });
}

#[test]
fn the_ticket_names_the_command_that_lifts_a_quarantine() {
    let site = site();
    let mut daemon = site.start();
    wait_for_observed(&mut daemon);
    assert_eq!(site.workers().len(), 2);
    site.ask(&[
        "plugins",
        "quarantine",
        "add",
        "suspect",
        "--note",
        "suspicious",
    ]);
    let ticket = daemon.wait_for_ticket("suspect", FAILING, "opened");
    let message = text(&ticket["message"]);
    assert!(message.contains("quarantined: suspicious"), "{message}");
    wait_for("its worker's end", || {
        (site.workers().len() == 1).then_some(())
    });

    site.ask(&command_in(&message));
    daemon.wait_for_ticket("suspect", FAILING, "resolved");
    assert_eq!(daemon.story("honest"), []);
    daemon.stop();
}

#[test]
fn another_file_in_its_place_starts_without_a_lift() {
    let site = site();
    let mut daemon = site.start();
    wait_for_observed(&mut daemon);
    site.ask(&["plugins", "quarantine", "add", "suspect"]);
    wait_for_times(&daemon, "opened", 1);
    let draft = site.path("draft");
    fs::copy(misbehaving_subject(), &draft).unwrap();
    let mut file = OpenOptions::new().append(true).open(&draft).unwrap();
    file.write_all(b"another build").unwrap();
    drop(file);
    fs::rename(&draft, site.path("libsuspect.so")).unwrap();
    wait_for_times(&daemon, "resolved", 1);
    let listed = site.ask(&["plugins", "quarantine", "list"]);
    assert!(listed.contains("put there by hand"), "{listed}");
    daemon.stop();
}

#[test]
fn a_daemon_that_starts_runs_nothing_of_a_quarantined_plugin() {
    let site = site();
    site.ask(&["plugins", "quarantine", "add", "suspect"]);
    let mut daemon = site.start();
    daemon.wait_for_ticket("suspect", FAILING, "opened");
    watch_for(Duration::from_secs(1), || {
        assert!(site.workers().len() <= 1, "a worker was started");
    });
    daemon.stop();
    assert!(!site.path("effects").exists(), "its code has run");
}

#[test]
fn no_command_runs_a_quarantined_plugin() {
    let site = site();
    site.ask(&["plugins", "quarantine", "add", "suspect"]);
    let commands: [&[&str]; 7] = [
        &["check"],
        &["observe"],
        &["actions", "list"],
        &["actions", "run", "set_level", "level=7", "--yes"],
        &["actions", "run", "set_level", "level=7", "--dry-run"],
        &["plugins", "inspect"],
        &["config", "check"],
    ];
    for command in commands {
        let mut operator = site.operator();
        let output = operator
            .args(["--subject", "suspect"])
            .args(command)
            .output()
            .unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}: {complaint}");
        assert!(
            complaint.contains("`operator plugins quarantine lift "),
            "{command:?}: {complaint}"
        );
    }
    assert!(!site.path("effects").exists(), "its code has run");
    assert!(
        site.ask(&["--subject", "honest", "check"])
            .contains("healthy")
    );
}

#[test]
fn a_check_creates_no_database() {
    let site = site();
    site.ask(&["--subject", "honest", "check"]);
    assert!(!site.path("state/operator.db").exists());
}
