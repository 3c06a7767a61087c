//! What the command says of itself.

use crate::support::command::{operator, text};

const COMMANDS: [&[&str]; 45] = [
    &[],
    &["run"],
    &["status"],
    &["observe"],
    &["check"],
    &["actions"],
    &["invoke"],
    &["actions", "list"],
    &["actions", "show"],
    &["actions", "propose"],
    &["actions", "approve"],
    &["actions", "reject"],
    &["actions", "cancel"],
    &["actions", "settle"],
    &["actions", "run"],
    &["workflows"],
    &["workflows", "list"],
    &["workflows", "show"],
    &["workflows", "propose"],
    &["workflows", "run"],
    &["mode"],
    &["kill-switch"],
    &["audit"],
    &["audit", "list"],
    &["audit", "show"],
    &["audit", "verify"],
    &["audit", "export"],
    &["tickets"],
    &["tickets", "list"],
    &["tickets", "show"],
    &["tickets", "ack"],
    &["tickets", "hold"],
    &["tickets", "unhold"],
    &["tickets", "resolve"],
    &["tickets", "watch"],
    &["plugins"],
    &["plugins", "list"],
    &["plugins", "inspect"],
    &["plugins", "quarantine"],
    &["conformance"],
    &["config"],
    &["config", "check"],
    &["config", "show"],
    &["config", "default"],
    &["completions"],
];

#[test]
fn every_command_explains_itself() {
    for command in COMMANDS {
        let output = operator().args(command).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert!(
            text(&output.stdout).contains("Usage: operator"),
            "{command:?}"
        );
        assert_eq!(text(&output.stderr), "", "{command:?}");
    }
}

#[test]
fn the_exit_codes_are_documented() {
    let output = operator().arg("--help").output().unwrap();
    assert!(text(&output.stdout).contains("Exit codes:\n  0    done"));
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = operator().args(["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains("quarantine"), "{shell}");
    }
}
