//! What the command prints, and how, where no plugin is needed.

use std::process::Stdio;

use crate::support::command::{operator, text};

#[test]
fn the_printed_defaults_are_a_valid_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = operator().args(["config", "default"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let file = folder.path().join("operator.toml");
    std::fs::write(&file, &output.stdout).unwrap();
    let output = operator()
        .args(["config", "check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn settings_are_shown_with_their_origin_and_without_passwords() {
    let output = operator()
        .args(["config", "show", "--json", "--log-format", "json"])
        .env("OPERATOR_DATABASE", "postgres://me:hunter2@host/db")
        .output()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let origin = |key: &str| {
        let settings = shown.as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["key"] == key);
        setting.unwrap()["origin"].clone()
    };
    assert_eq!(origin("log.format"), "--log-format");
    assert_eq!(origin("database"), "OPERATOR_DATABASE");
    assert_eq!(origin("log.level"), "default");
    assert!(!text(&output.stdout).contains("hunter2"));
}

#[test]
fn a_pipe_gets_no_colours_unless_they_are_asked_for() {
    let colored = |arguments: &[&str]| {
        let mut command = operator();
        command.args(["config", "show"]).args(arguments);
        command.output().unwrap().stdout.contains(&0x1b)
    };
    assert!(!colored(&[]));
    assert!(!colored(&["--color", "never"]));
    assert!(colored(&["--color", "always"]));
}

#[test]
fn a_reader_that_closes_the_pipe_early_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = operator()
        .args(["config", "default"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
