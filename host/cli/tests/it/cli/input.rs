//! Invalid input: exit code 2, one line for each fault on standard error, and nothing is started.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::support::command::{operator, text};

/// A directory with a configuration file in it.
fn with_file(config: &str) -> (TempDir, std::process::Command) {
    let folder = tempfile::tempdir().expect("a directory");
    fs::write(folder.path().join("o.toml"), config).expect("a file");
    let mut command = operator();
    command
        .current_dir(folder.path())
        .args(["--config", "o.toml", "--state-dir", "state"]);
    (folder, command)
}

/// The lines on standard error of a command that must refuse to start.
fn refused(folder: &Path, command: &mut std::process::Command) -> Vec<String> {
    let output = command.output().expect("the binary runs");
    let complaints = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaints}");
    assert_eq!(text(&output.stdout), "");
    assert!(!folder.join("state").exists(), "something was started");
    complaints.lines().map(str::to_owned).collect()
}

#[test]
fn each_fault_of_file_environment_and_flags_is_one_line() {
    let config = "[subjects.orders]\nplugin = \"hello\"\nintervall = \"1s\"\ndeadlines.check = 5\n";
    for command in [
        &[][..],
        &["run"],
        &["check"],
        &["config", "check"],
        &["tickets", "list"],
    ] {
        let (folder, mut operator) = with_file(config);
        operator
            .args(command)
            .args(["--log-level", "loud"])
            .env("OPERATOR_HEARTBEAT", "10");
        assert_eq!(
            refused(folder.path(), &mut operator),
            [
                r#"error: o.toml:4:19: subjects.orders.deadlines.check: 5, an integer, is not a duration; write it like "30s", "500ms" or "1h 30m""#,
                "error: o.toml:3:1: subjects.orders.intervall: there is no such setting; did you mean `interval`?",
                r#"error: OPERATOR_HEARTBEAT: "10" is not a duration; write it like "30s", "500ms" or "1h 30m""#,
                r#"error: --log-level: "loud" is not a log level; choose from "error", "warn", "info", "debug", "trace", or write a filter like "info,operator_store=debug""#,
            ],
            "{command:?}"
        );
    }
}

#[test]
fn an_unknown_flag_or_command_is_refused_with_the_nearest() {
    let (folder, mut operator) = with_file("");
    let complaints = refused(folder.path(), operator.args(["check", "--jsn"])).join("\n");
    assert!(complaints.contains("--json"), "{complaints}");
    let (folder, mut operator) = with_file("");
    let complaints = refused(folder.path(), operator.arg("chek")).join("\n");
    assert!(complaints.contains("'check'"), "{complaints}");
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut operator = operator();
    let complaints = refused(
        folder.path(),
        operator
            .current_dir(folder.path())
            .env("OPERATOR_CONFIG", "missing.toml"),
    );
    assert_eq!(complaints.len(), 1);
    assert!(
        complaints[0].starts_with("error: OPERATOR_CONFIG: cannot read missing.toml: "),
        "{complaints:?}"
    );
}

#[test]
fn without_a_subject_there_is_nothing_to_do() {
    let commands: [&[&str]; 6] = [
        &["run"],
        &["observe"],
        &["check"],
        &["actions", "list"],
        &["actions", "run", "restart"],
        &["proposals", "create", "restart"],
    ];
    for command in commands {
        let (folder, mut operator) = with_file("");
        let complaints = refused(folder.path(), operator.args(command));
        assert_eq!(complaints.len(), 1, "{command:?}: {complaints:?}");
        assert!(
            complaints[0].contains("--plugin"),
            "{command:?}: {complaints:?}"
        );
    }
}

#[test]
fn a_ticket_is_a_number() {
    let (folder, mut operator) = with_file("");
    let complaints = refused(folder.path(), operator.args(["tickets", "show", "twelve"]));
    assert!(
        complaints.join("\n").contains("such as 12 or #12"),
        "{complaints:?}"
    );
}

#[test]
fn a_ticket_that_is_not_there_is_named() {
    let (folder, mut operator) = with_file("");
    // It makes a database.
    let engaged = operator.arg("kill-switch").status();
    assert!(engaged.expect("it runs").success());
    let mut operator = self::operator();
    operator.current_dir(folder.path());
    let output = operator
        .args(["--config", "o.toml", "--state-dir", "state"])
        .args(["tickets", "show", "#7"])
        .output()
        .unwrap();
    assert_eq!(text(&output.stderr), "error: there is no ticket #7\n");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_misspelt_variable_is_only_a_warning() {
    let (_folder, mut operator) = with_file("");
    operator
        .args(["config", "check"])
        .env("OPERATOR_STATEDIR", "/x");
    let output = operator.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "o.toml: good; subjects: 0\n");
    assert_eq!(
        text(&output.stderr),
        "warning: OPERATOR_STATEDIR: there is no such variable; did you mean OPERATOR_STATE_DIR?\n"
    );
}

#[test]
fn a_variable_that_is_not_unicode_is_a_fault() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let (folder, mut operator) = with_file("");
    operator
        .args(["config", "check"])
        .env("OPERATOR_LOG_LEVEL", OsStr::from_bytes(b"inf\xff"));
    assert_eq!(
        refused(folder.path(), &mut operator),
        ["error: OPERATOR_LOG_LEVEL: its value is not Unicode; write it in UTF-8"]
    );
}
