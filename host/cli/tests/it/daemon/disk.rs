//! A database that cannot be written to: the daemon reports it, continues, and catches up.

#![cfg(target_os = "linux")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    common::{self, misbehaving_subject},
    daemon::{self, Daemon, Site, put, text},
};

const BROKEN: &str = r#"{"violations": [{"invariant": "first", "resource": "node-1", "message": "does not answer"}]}"#;

const BROKEN_TWICE: &str = r#"{"violations": [{"invariant": "first", "resource": "node-1", "message": "does not answer"},
    {"invariant": "second", "resource": "node-2", "message": "does not answer"}]}"#;

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
    let opened = daemon.wait_for("the ticket, told though not kept", |event| {
        event["event"] == "ticket" && event["kind"] == "opened"
    });
    assert_eq!(
        (&opened["kept"], &opened["ticket"]["id"]),
        (&json!(false), &json!(0))
    );
    daemon.wait_for_another_cycle("synthetic");
    assert_eq!(site.tickets().len(), 0);
    common::sqlite3(&database, "DROP TRIGGER refuse");
    let kept = daemon.wait_for("the ticket to be kept", |event| event["event"] == "kept");
    let tickets = site.tickets();
    assert_eq!(tickets.len(), 1);
    assert_eq!(kept["tickets"][0]["id"], tickets[0]["id"]);
    put(&site.path("observation.json"), "{}");
    daemon.wait_for_ticket("synthetic", "first", "resolved");
    let story: Vec<_> = daemon
        .story("synthetic")
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(story, ["opened", "resolved"], "each is told once");
    daemon.stop();
}

/// A command in mounts of its own, after the state folder became read-only.
fn ask_read_only(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let operator = site.operator();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind state state && mount -o remount,bind,ro state && exec \"$0\" \"$@\"")
        .arg(operator.get_program())
        .args(operator.get_args())
        .args(arguments)
        .current_dir(site.path(""))
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

#[test]
fn a_database_that_cannot_be_written_is_read() {
    if !can_mount() {
        eprintln!("skipped: needs the right to mount a file system");
        return;
    }
    let site = site();
    put(&site.path("observation.json"), BROKEN);
    let mut daemon = site.start();
    daemon.wait_for_ticket("synthetic", "first", "opened");
    // First with a write-ahead log beside it, then without.
    for is_running in [true, false] {
        if !is_running {
            daemon.signal(rustix::process::Signal::TERM);
            daemon.ended();
        }
        let (code, printed) = ask_read_only(&site, &["tickets", "list"]);
        assert_eq!(code, Some(0), "{printed}");
        assert!(printed.contains("does not answer"), "{printed}");
        let (code, printed) = ask_read_only(&site, &["audit", "verify"]);
        assert_eq!(code, Some(0), "{printed}");
        let (code, printed) = ask_read_only(&site, &["kill-switch"]);
        assert_eq!(code, Some(4), "{printed}");
    }
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

/// A daemon with an open ticket loses its database in some way, and a second fault follows at once.
fn loses(lose: impl Fn(&Path)) {
    let site = site();
    put(&site.path("observation.json"), BROKEN);
    let mut daemon = site.start();
    let first = daemon.wait_for_ticket("synthetic", "first", "opened");
    site.ask(&[
        "tickets",
        "hold",
        &first["id"].to_string(),
        "--note",
        "mine",
    ]);
    daemon.wait_for_another_cycle("synthetic");
    lose(&site.path("state"));
    put(&site.path("observation.json"), BROKEN_TWICE);
    let lost = daemon.wait_for_ticket("operator", "operator.store_lost", "opened");
    let message = text(&lost["message"]);
    assert!(message.contains("kill-switch --lift"), "{message}");
    daemon.wait_for_ticket("synthetic", "second", "opened");
    let wanted = [
        ("first", "open"),
        ("operator.store_lost", "open"),
        ("second", "open"),
    ];
    common::wait_for("all tickets in the new database", || {
        let tickets = site.tickets();
        let mut kept: Vec<_> = tickets
            .iter()
            .map(|ticket| (text(&ticket["invariant"]), text(&ticket["state"])))
            .collect();
        kept.sort();
        (kept == wanted.map(|(invariant, state)| (invariant.to_owned(), state.to_owned())))
            .then_some(())
    });
    let tickets = site.tickets();
    let again = tickets.iter().find(|ticket| ticket["invariant"] == "first");
    assert_eq!(again.unwrap()["held"]["note"], "mine");
    let mode: Value = serde_json::from_str(&site.ask(&["mode", "--json"])).unwrap();
    assert_eq!(mode["kill_switch"]["by"], "operator", "{mode}");
    assert!(site.ask(&["audit", "verify"]).starts_with("intact: "));
    daemon.next_heartbeat("synthetic");
    let mut story = daemon.story("synthetic");
    story.retain(|(kind, _)| kind == "opened");
    story.sort();
    let opened = |invariant: &str| ("opened".to_owned(), invariant.to_owned());
    assert_eq!(
        story,
        [opened("first"), opened("second")],
        "each is told once"
    );
    daemon.stop();
}

#[test]
fn a_removed_database_is_rebuilt_from_what_the_daemon_knows() {
    loses(|state| {
        for name in ["operator.db", "operator.db-wal", "operator.db-shm"] {
            fs::remove_file(state.join(name)).unwrap();
        }
    });
}

#[test]
fn a_damaged_database_is_moved_aside_and_rebuilt() {
    loses(|state| {
        let file = fs::File::options()
            .write(true)
            .open(state.join("operator.db"));
        std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), &[0xff; 4096], 0).unwrap();
    });
}

#[test]
fn an_empty_file_in_the_place_of_a_database_is_rebuilt() {
    loses(|state| put(&state.join("operator.db"), ""));
}

#[test]
fn a_database_that_is_removed_with_its_folder_is_rebuilt() {
    loses(|state| fs::remove_dir_all(state).unwrap());
}

#[test]
fn a_lost_database_that_cannot_be_replaced_is_told_once_and_watching_goes_on() {
    let mut site = Site::new();
    site.honest("well", "interval = \"100ms\"");
    let mut daemon = site.start();
    daemon.next_heartbeat("well");
    // Whoever may write everything can make no folder where there is a file.
    fs::rename(site.path("state"), site.path("elsewhere")).unwrap();
    fs::write(site.path("state"), "").unwrap();
    let trouble = wait_for_trouble(&mut daemon);
    assert!(
        trouble.contains("operator.db was removed or replaced"),
        "{trouble}"
    );
    let output = site.operator().args(["tickets", "list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    daemon.wait_for_another_cycle("well");
    let events = daemon.events();
    let troubles = events.iter().filter(|event| event["event"] == "trouble");
    assert_eq!(troubles.count(), 1, "it is reported at most once a minute");
    daemon.kill();
}
