//! One-shot commands with real plugins: what they print, and how they end.

use std::{fs, path::Path, process::Output};

use tempfile::TempDir;

use crate::support::{
    command::{operator, text},
    common,
};

/// Runs a command on one plugin, with its state in a folder of the test.
fn run(folder: &TempDir, plugin: &Path, arguments: &[&str]) -> Output {
    operator()
        .arg("--plugin")
        .arg(plugin)
        .arg("--state-dir")
        .arg(folder.path().join("state"))
        .args(arguments)
        .output()
        .expect("the binary runs")
}

/// Checks the output and returns the exit code.
fn code(output: &Output, stdout: &str, stderr: &str) -> Option<i32> {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(out.contains(stdout), "no {stdout:?} in {out:?}; {err}");
    assert!(err.contains(stderr), "no {stderr:?} in {err:?}; {out}");
    output.status.code()
}

#[test]
fn the_exit_code_of_check_is_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hello");
    fs::write(&file, "").unwrap();
    let fresh = format!("file={}", file.display());
    let gone = format!("file={}.gone", file.display());
    for (set, expected, stdout) in [
        (
            vec![fresh.as_str()],
            0,
            ": healthy: 1 hold, 0 violated, 0 unknown",
        ),
        (vec!["file=/", "max_age_s=0"], 1, "warning   stale"),
        (vec![gone.as_str()], 3, "unknown   stale"),
    ] {
        let mut arguments = vec!["check"];
        arguments.extend(set.iter().flat_map(|set| ["--set", set]));
        let output = run(&folder, common::hello_subject(), &arguments);
        assert_eq!(code(&output, stdout, ""), Some(expected), "{set:?}");
    }
}

#[test]
fn settings_that_do_not_fit_the_plugin_are_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["check", "--set", "fil=/x", "--set", "max_age_s=soon"];
    let output = run(&folder, common::hello_subject(), &arguments);
    assert_eq!(code(&output, "", "did you mean `file`?"), Some(2));
    assert_eq!(text(&output.stderr).lines().count(), 2);
}

#[test]
fn a_plugin_that_is_not_there_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&folder, Path::new("/no/such/libhello.so"), &["check"]);
    assert_eq!(
        code(&output, "", "error: hello: /no/such/libhello.so: "),
        Some(2)
    );
}

#[test]
fn an_observation_is_printed_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&folder, common::hello_subject(), &["observe", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document[0]["subject"], "hello_subject");
    assert_eq!(document[0]["observation"]["sources"][0]["name"], "file");
}

#[test]
fn nothing_runs_without_confirmation_by_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let invoke = |more: &[&str]| {
        let arguments = [&["actions", "run", "set_level", "level=5"], more].concat();
        run(&folder, common::misbehaving_subject(), &arguments)
    };
    assert_eq!(code(&invoke(&[]), "", "give --yes to run it"), Some(2));
    let dry_run = invoke(&["--dry-run"]);
    assert_eq!(
        code(
            &dry_run,
            "set_level on misbehaving_subject with level=5",
            ""
        ),
        Some(0)
    );
    let observing = "refused by the rule `mode`: it is `observe`";
    assert_eq!(code(&invoke(&["--yes"]), "", observing), Some(5));
    let execute = run(&folder, common::misbehaving_subject(), &["mode", "execute"]);
    assert_eq!(code(&execute, "execute", ""), Some(0));
    assert_eq!(code(&invoke(&["--yes"]), "done: ", ""), Some(0));
}

#[test]
fn a_call_that_does_not_fit_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, complaint) in [
        (["set_level", "level=500"], "500"),
        (["set_level", "level=high"], "is not of type integer"),
        (["set_levl", "level=5"], "did you mean `set_level`?"),
    ] {
        let arguments = [&["actions", "run", "--yes"], &arguments[..]].concat();
        let output = run(&folder, common::misbehaving_subject(), &arguments);
        assert_eq!(code(&output, "", complaint), Some(2), "{arguments:?}");
    }
}

#[test]
fn what_the_author_wrote_for_people_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let runbook = "  runbook       Find out what has stopped writing the file.\n";
    let stale = ["check", "--set", "file=/", "--set", "max_age_s=0"];
    let output = run(&folder, common::hello_subject(), &stale);
    assert_eq!(code(&output, runbook, ""), Some(1));
    let output = run(&folder, common::hello_subject(), &["plugins", "inspect"]);
    assert_eq!(code(&output, runbook, ""), Some(0));
    let objective = "latency  at most 100 ms  latency_ms  ";
    let inspect = ["plugins", "inspect"];
    let output = run(&folder, common::misbehaving_subject(), &inspect);
    assert_eq!(code(&output, objective, ""), Some(0));
    let output = run(&folder, common::misbehaving_subject(), &["check"]);
    let unknown = "latency  at most 100 ms  -      unknown  ";
    assert_eq!(code(&output, unknown, ""), Some(0));
}
