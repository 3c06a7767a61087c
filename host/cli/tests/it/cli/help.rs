//! The help of every command, and what replaces the commands of earlier versions.

use clap::{Command, CommandFactory};

use crate::support::command::{operator, text};

/// This command and every command below it, as typed.
fn spelled_out(command: &Command, before: &[String]) -> Vec<Vec<String>> {
    let below = command.get_subcommands().flat_map(|below| {
        let path = [before, &[below.get_name().to_owned()]].concat();
        spelled_out(below, &path)
    });
    let mut all: Vec<_> = below.collect();
    all.push(before.to_owned());
    all
}

#[test]
fn every_command_explains_itself() {
    let commands = spelled_out(&operator::Cli::command(), &[]);
    assert!(commands.len() > 40, "only {commands:?}");
    for command in commands {
        let output = operator().args(&command).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        let usage = ["Usage: operator".to_owned()];
        let usage = [&usage[..], &command].concat().join(" ");
        let help = text(&output.stdout);
        assert!(help.contains(&usage), "{command:?}: {help}");
        assert!(
            help.lines().next().is_some_and(|first| !first.is_empty()),
            "{command:?} has no description"
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

#[test]
fn a_removed_command_names_what_replaces_it() {
    let commands: [(&[&str], &str); 3] = [
        (&["invoke", "restart", "node=a"], "operator actions run"),
        (&["actions", "approve", "7"], "operator proposals approve"),
        (
            &["workflows", "propose", "twice"],
            "operator proposals create --workflow NAME",
        ),
    ];
    for (old, new) in commands {
        let output = operator().args(old).output().unwrap();
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{old:?}");
        assert!(
            complaint.contains(&format!("is now `{new}`")),
            "{complaint}"
        );
    }
}
