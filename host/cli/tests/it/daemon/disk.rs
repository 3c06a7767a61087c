//! A database that cannot be written to: the daemon reports it, continues, and catches up.

#![cfg(target_os = "linux")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::{
    common::{self, misbehaving_subject},
    daemon::{self, Daemon, Site, put, text},
};

const BROKEN: &str = r#"{"violations": [{"invariant": "first", "resource": "node-1", "message": "does not answer"}]}"#;

fn site() -> Site {
    let mut site = Site::new();
    let lines = format!(
        "interval = \"200ms\"\nconfig.observation_file = {:?}",
        site.path("observation.json")
    );
    site.subject("synthetic", misbehaving_subject(), &lines);
    site
}

fn wait_for_trouble(daemon: &mut Daemon) -> String {
    let trouble = daemon.wait_for("trouble", |event| event["event"] == "trouble");
    text(&trouble["message"])
}

#[test]
fn failed_writes_are_reported_and_retried() {
    let site = site();
    let mut daemon = site.start();
    daemon.next_heartbeat("synthetic");
    let database = site.path("state/operator.db");
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON tickets BEGIN SELECT RAISE(ROLLBACK, 'no room'); END";
    common::sqlite3(&database, refuse);
    put(&site.path("observation.json"), BROKEN);
    assert!(wait_for_trouble(&mut daemon).contains("no room"));
    daemon.wait_for_another_cycle("synthetic");
    assert_eq!(site.tickets().len(), 0);
    common::sqlite3(&database, "DROP TRIGGER refuse");
    daemon.wait_for_ticket("synthetic", "first", "opened");
    assert_eq!(site.tickets().len(), 1);
    daemon.stop();
}

/// Whether this user can mount a file system.
fn can_mount() -> bool {
    let status = Command::new("unshare")
        .args(["--mount", "true"])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Fills the file system with one file.
fn fill(folder: &Path) -> PathBuf {
    let filler = folder.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let full = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    filler
}

#[test]
fn a_full_disk_is_reported_and_the_writes_are_retried() {
    if !can_mount() {
        eprintln!("skipped: needs the right to mount a file system");
        return;
    }
    let mut site = site();
    site.line("database = \"sqlite:small/operator.db\"");
    fs::create_dir(site.path("small")).unwrap();
    let mut daemon = site.start_in("mount -t tmpfs -o size=800k none small");
    daemon.next_heartbeat("synthetic");
    // As the daemon sees it.
    let small = PathBuf::from(format!("/proc/{}/cwd/small", daemon.pid()));
    let filler = fill(&small);
    let violations: Vec<_> = (0..500)
        .map(|node| {
            serde_json::json!({"invariant": "first", "resource": format!("node-{node}"), "message": "x".repeat(1000)})
        })
        .collect();
    put(
        &site.path("observation.json"),
        &serde_json::json!({"violations": violations}).to_string(),
    );
    let trouble = wait_for_trouble(&mut daemon);
    assert!(trouble.contains("full"), "{trouble}");
    daemon.wait_for_another_cycle("synthetic");
    put(&site.path("observation.json"), BROKEN);
    fs::remove_file(filler).unwrap();
    daemon.wait_for_ticket("synthetic", "first", "opened");
    common::wait_for("the end of the trouble", || {
        let seen = daemon.events().len();
        daemon::watch_for(Duration::from_millis(700), || {});
        let since = daemon.events().split_off(seen);
        since
            .iter()
            .all(|event| event["event"] != "trouble")
            .then_some(())
    });
    daemon.stop();
}

#[test]
fn a_database_that_is_removed_under_a_daemon_is_reported() {
    let mut site = Site::new();
    site.honest("well", "interval = \"100ms\"");
    let mut daemon = site.start();
    daemon.next_heartbeat("well");
    std::fs::remove_dir_all(site.path("state")).unwrap();
    let trouble = daemon.wait_for("trouble", |event| event["event"] == "trouble");
    let message = trouble["message"].as_str().unwrap();
    assert!(
        message.contains("operator.db was removed or replaced"),
        "{message}"
    );
    daemon.next_heartbeat("well");
    let troubles = daemon
        .events()
        .iter()
        .filter(|event| event["event"] == "trouble")
        .count();
    assert_eq!(troubles, 1, "it is reported at most once a minute");
    daemon.kill();
}
