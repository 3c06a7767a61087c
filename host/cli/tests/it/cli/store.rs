//! Commands over a database that is not there or damaged, and verdicts that nobody reads to their end.

use std::{path::Path, process::Stdio};

use crate::support::{
    command::{operator, text},
    common::hello_subject,
};

/// A command on the state in this folder: its exit code, standard output and standard error.
fn ask(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = operator()
        .arg("--state-dir")
        .arg(folder)
        .args(arguments)
        .output()
        .unwrap();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    (output.status.code(), out, errors)
}

#[test]
fn an_empty_store_has_no_tickets_and_one_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("operator.db");
    for command in [
        &["tickets", "list"][..],
        &["tickets", "list", "--json"],
        &["tickets", "show", "1"],
        &["proposals", "list"],
        &["audit", "list"],
        &["audit", "verify"],
        &["plugins", "quarantine", "list"],
    ] {
        let (code, out, errors) = ask(folder.path(), command);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{command:?}: {errors}");
        let complaint = format!("error: there is no database {}: ", database.display());
        assert!(errors.starts_with(&complaint), "{errors}");
        assert!(!database.exists(), "{command:?} creates one");
    }
    // Stopping everything is possible before anything runs.
    assert_eq!(ask(folder.path(), &["kill-switch"]).0, Some(0));
    let (code, out, _) = ask(folder.path(), &["tickets", "list"]);
    assert_eq!((code, out.as_str()), (Some(0), "no tickets\n"));
    let (code, out, _) = ask(folder.path(), &["tickets", "list", "--json"]);
    assert_eq!((code, out.as_str()), (Some(0), "[]\n"));
}

#[test]
fn a_damaged_database_is_one_error_with_its_path_and_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    ask(folder.path(), &["kill-switch"]);
    let database = folder.path().join("operator.db");
    for log in ["operator.db-wal", "operator.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(log));
    }
    std::fs::write(&database, "not a database at all".repeat(500)).unwrap();
    let plugin = hello_subject().to_str().unwrap();
    let run = [
        "run",
        "--plugin",
        plugin,
        "--set",
        "file=/dev/null",
        "--set",
        "max_age_s=1",
    ];
    for command in [
        &["tickets", "list"][..],
        &["audit", "verify"],
        &["kill-switch"],
        &run,
    ] {
        let (code, out, errors) = ask(folder.path(), command);
        assert_eq!((code, out.as_str()), (Some(4), ""), "{command:?}: {errors}");
        let complaint = format!("error: the database {} is damaged", database.display());
        assert!(errors.starts_with(&complaint), "{command:?}: {errors}");
        assert!(errors.contains("restore it from a backup"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{command:?}: {errors}");
    }
}

#[test]
fn a_verdict_survives_a_reader_that_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("stale");
    std::fs::write(&stale, "").unwrap();
    std::fs::File::open(&stale)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    let check = |after: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = operator()
            .arg("--state-dir")
            .arg(folder.path())
            .arg("--plugin")
            .arg(hello_subject())
            .arg("--set")
            .arg(format!("file={}", stale.display()))
            .args(["check", "--set", "max_age_s=1"])
            .args(after)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        (output.status.code(), text(&output.stderr))
    };
    // The settings on both sides of the command count.
    assert_eq!(check(&[]), (Some(1), String::new()));
    assert_eq!(check(&["--json"]), (Some(1), String::new()));
}
