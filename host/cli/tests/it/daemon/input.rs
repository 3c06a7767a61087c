//! Invalid input for a plugin stops the daemon before it watches anything; all errors are reported at once.

use std::fs;

use crate::support::{
    common::{hello_subject, misbehaving_subject},
    daemon::Site,
};

/// The errors of a daemon that must refuse to start.
#[track_caller]
fn refused(site: &Site, arguments: &[&str]) -> Vec<String> {
    let output = site.operator().args(arguments).output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{complaints}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    complaints.lines().map(str::to_owned).collect()
}

#[test]
fn all_faults_that_only_a_plugin_can_know_are_reported_at_once_in_the_order_of_the_file() {
    let mut site = Site::new();
    let lines = "invariants.frist.grace_period = \"1s\"\nconfig.latency_ms = \"soon\"\nconfig.effect_file = \"/x\"";
    site.subject("one", misbehaving_subject(), lines);
    site.subject("two", hello_subject(), "invariants.stalee.enabled = false");
    site.subject("good", hello_subject(), "");
    let complaints = refused(&site, &[]);
    let line_of = |key: &str, fix: &str| {
        let is_it = |line: &&String| line.contains(key) && line.contains(fix);
        complaints
            .iter()
            .position(|line| is_it(&line))
            .unwrap_or_else(|| panic!("{key}: {complaints:?}"))
    };
    let of_one = [
        line_of("subjects.one.invariants.frist", "did you mean `first`?"),
        line_of(
            "subjects.one.config.effect_file",
            "did you mean `effects_file`?",
        ),
        line_of("subjects.one.config.latency_ms", "soon"),
    ];
    let of_two = line_of("subjects.two.invariants.stalee", "did you mean `stale`?");
    assert_eq!(complaints.len(), 4, "{complaints:?}");
    assert!(of_one.iter().all(|line| *line < of_two), "{complaints:?}");
    assert!(
        complaints
            .iter()
            .all(|line| line.starts_with("error: operator.toml:")),
        "{complaints:?}"
    );
    assert!(site.workers().is_empty());
}

#[test]
fn a_file_that_is_not_a_plugin_is_refused_at_the_place_that_names_it() {
    let site = Site::new();
    let file = site.path("libnot.so");
    fs::write(&file, "not a library").unwrap();
    let complaints = refused(&site, &["--plugin", file.to_str().unwrap()]);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(
        complaints[0].contains("libnot.so: is not a shared library"),
        "{complaints:?}"
    );
    assert!(!site.path("state").exists(), "something was started");
}

#[test]
fn a_setting_that_the_plugin_does_not_have_is_refused_with_the_nearest() {
    let site = Site::new();
    let plugin = hello_subject().to_str().unwrap();
    let complaints = refused(&site, &["--plugin", plugin, "--set", "max_age=5"]);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("--set max_age"), "{complaints:?}");
    assert!(
        complaints[0].contains("did you mean `max_age_s`?"),
        "{complaints:?}"
    );
}
