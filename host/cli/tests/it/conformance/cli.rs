//! `operator conformance` as a command: what it prints, what it writes, and how it ends.

use std::{fs, path::Path, process::Output};

use serde_json::Value;

use crate::support::{
    command::{operator, text},
    common,
};

fn run(plugin: &Path, arguments: &[&str]) -> Output {
    operator()
        .arg("conformance")
        .arg(plugin)
        .args(arguments)
        .output()
        .expect("the binary runs")
}

#[test]
fn a_plugin_without_backends_or_golden_files_is_judged_as_far_as_it_can_be() {
    let output = run(common::hello_subject(), &[]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("pass   describe.valid"), "{out}");
    assert!(out.contains("skip   check.healthy-clean"), "{out}");
    assert!(
        out.contains("no setting of this plugin names a backend"),
        "{out}"
    );
}

#[test]
fn a_name_is_looked_up_in_the_same_places_by_every_command() {
    let plugin = common::hello_subject();
    let output = operator()
        .env("OPERATOR_PLUGIN_PATH", plugin.parent().unwrap())
        .args(["conformance", "hello-subject", "--only", "load.manifest"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn what_is_skipped_fails_if_that_is_asked_for() {
    let only = [
        "--only",
        "check.healthy-clean",
        "--only",
        "describe",
        "--strict",
    ];
    let output = run(common::hello_subject(), &only);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
}

#[test]
fn a_run_without_cases_is_an_error() {
    let hello = common::hello_subject();
    for (arguments, complaint) in [
        (&["--only", "no.such"][..], "no case is called no.such"),
        (&["--only", "load", "--skip", "load"], "no case is left"),
        (&["--golden", "/no/such/folder"], "/no/such/folder"),
        (&["--timeout", "soon"], "soon"),
    ] {
        let output = run(hello, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let err = text(&output.stderr);
        assert!(err.contains(complaint), "{err}");
    }
    // Everything that is left is skipped.
    let output = run(hello, &["--only", "invoke"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    let output = run(Path::new("/no/such/libplugin.so"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no such file"));
}

#[test]
fn a_file_that_is_not_a_plugin_fails_its_case() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libtext.so");
    fs::write(&file, "not a library").unwrap();
    let output = run(&file, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for case in report["cases"].as_array().unwrap() {
        let expected = if case["id"] == "load.file-integrity" {
            "fail"
        } else {
            "skip"
        };
        assert_eq!(case["status"], expected, "{case}");
    }
}

#[test]
fn reports_are_written_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("report.xml");
    let arguments = [
        "--only",
        "describe",
        "--json",
        "--junit",
        junit.to_str().unwrap(),
    ];
    let output = run(common::hello_subject(), &arguments);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cases = report["cases"].as_array().unwrap();
    assert_eq!((cases.len(), &report["seed"]), (4, &Value::from(1)));
    assert!(
        cases.iter().all(|case| case["status"] == "pass"),
        "{report}"
    );
    let junit = fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains("<testcase classname=\"describe\" name=\"valid\""),
        "{junit}"
    );
    assert!(
        junit.contains("tests=\"4\" failures=\"0\" errors=\"0\" skipped=\"0\""),
        "{junit}"
    );
}

#[test]
fn the_cases_are_listed_without_a_plugin() {
    let output = operator()
        .args(["conformance", "--list", "--only", "check.*"])
        .output()
        .unwrap();
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        out.lines().count() > 10 && out.lines().all(|line| line.starts_with("check.")),
        "{out}"
    );
}
