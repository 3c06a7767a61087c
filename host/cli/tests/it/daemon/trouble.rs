//! A broken plugin affects only its own subject: the daemon reports the fault, continues, and notices the repair.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    common::{hello_subject, misbehaving_subject, quiet_machine, wait_for},
    daemon::{Site, put, text, watch_for},
};

const FAILING: &str = "operator.plugin_failing";
const UNOBSERVABLE: &str = "operator.subject_unobservable";
const INTERVAL: Duration = Duration::from_millis(200);
/// Long enough for a broken neighbour to show.
const A_WHILE: Duration = Duration::from_millis(2500);

/// A site with an honest subject.
fn with_honest() -> Site {
    let mut site = Site::new();
    site.honest("honest", "interval = \"200ms\"");
    site
}

/// A site with an honest subject, and one whose plugin commits the fault that the file `fault` names.
fn with_breakable(observe_deadline: &str) -> Site {
    let mut site = with_honest();
    let lines = format!(
        "interval = \"200ms\"\ndeadlines = {{ observe = {observe_deadline:?}, check = \"10s\" }}\nconfig.fault_file = {:?}",
        site.path("fault")
    );
    site.subject("broken", misbehaving_subject(), &lines);
    site
}

/// The tickets of the broken subject.
fn tickets_of_broken(site: &Site) -> Vec<Value> {
    let mut tickets = site.tickets();
    tickets.retain(|ticket| ticket["subject"] == "broken");
    tickets
}

#[track_caller]
fn assert_contains(message: &str, words: &[&str]) {
    assert_eq!(message.lines().count(), 1, "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

/// Runs a daemon, breaks one plugin, and repairs it. Meanwhile the other subject must be observed without interruption, and
/// the broken one must have exactly one ticket, whose message contains these words.
#[track_caller]
fn breaks_and_recovers(fault: &str, invariant: &str, words: &[&str]) {
    let _machine = quiet_machine();
    let site = with_breakable(if fault.starts_with("spin") {
        "300ms"
    } else {
        "10s"
    });
    let mut daemon = site.start();
    daemon.wait_for("a good cycle", |event| {
        event["subject"] == "broken" && event["observed"] == true
    });
    let before = daemon.next_heartbeat("honest");
    put(&site.path("fault"), fault);
    let ticket = daemon.wait_for_ticket("broken", invariant, "opened");
    assert_contains(&text(&ticket["message"]), words);
    watch_for(A_WHILE, || {});
    fs::remove_file(site.path("fault")).unwrap();
    daemon.wait_for_ticket("broken", invariant, "resolved");
    let after = daemon.next_heartbeat("honest");
    after.assert_kept_up_since(&before, INTERVAL);
    let story = [("opened", invariant), ("resolved", invariant)];
    assert_eq!(
        daemon.story("broken"),
        story.map(|(k, i)| (k.into(), i.into()))
    );
    let tickets = tickets_of_broken(&site);
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    assert_eq!(tickets[0]["occurrences"], 1);
    daemon.stop();
}

#[test]
fn a_panic_in_observe_is_a_ticket() {
    let words = ["observe", "injected panic", "author of the plugin"];
    breaks_and_recovers("panic observe", FAILING, &words);
}

#[test]
fn a_panic_in_check_is_a_ticket() {
    let words = ["check", "injected panic", "author of the plugin"];
    breaks_and_recovers("panic check", FAILING, &words);
}

#[test]
fn an_exit_is_a_ticket() {
    let words = ["observe", "exited with status 3", "author of the plugin"];
    breaks_and_recovers("exit observe", FAILING, &words);
}

#[test]
fn a_crash_is_a_ticket() {
    let words = ["check", "signal 11 (SIGSEGV)", "author of the plugin"];
    breaks_and_recovers("segfault check", FAILING, &words);
}

#[test]
fn an_endless_loop_is_a_ticket() {
    let words = ["observe", "deadline of 300ms", "deadlines.observe"];
    breaks_and_recovers("spin observe", FAILING, &words);
}

#[test]
fn a_reply_that_is_far_too_large_is_a_ticket() {
    let words = ["check", "bytes", "author of the plugin"];
    breaks_and_recovers("huge_answer check", FAILING, &words);
}

#[test]
fn a_reply_that_is_not_json_is_a_ticket() {
    let words = ["observe", "not JSON", "author of the plugin"];
    breaks_and_recovers("not_json observe", FAILING, &words);
}

#[test]
fn a_subject_that_the_plugin_cannot_reach_has_a_separate_kind_of_ticket() {
    breaks_and_recovers(
        "error observe",
        UNOBSERVABLE,
        &["observe", "injected failure"],
    );
}

#[test]
fn megabytes_on_standard_output_harm_nothing() {
    let _machine = quiet_machine();
    let site = with_breakable("10s");
    let mut daemon = site.start();
    let before = daemon.next_heartbeat("honest");
    put(&site.path("fault"), "print observe");
    let last_line = "the last line of many";
    wait_for("the end of the noise", || {
        let log = fs::read_to_string(site.errors()).unwrap();
        (log.contains("more lines of output were dropped") || log.contains(last_line)).then_some(())
    });
    watch_for(A_WHILE, || {});
    fs::remove_file(site.path("fault")).unwrap();
    let after = daemon.next_heartbeat("honest");
    after.assert_kept_up_since(&before, INTERVAL);
    assert!(daemon.next_heartbeat("broken").observed);
    assert_eq!(site.tickets(), [] as [Value; 0]);
    daemon.stop();
}

#[test]
fn a_subject_that_is_unreachable_during_create_does_not_count_as_a_failing_plugin() {
    let site = with_breakable("10s");
    put(&site.path("fault"), "error create");
    let mut daemon = site.start();
    daemon.wait_for_ticket("broken", UNOBSERVABLE, "opened");
    // Into the pauses between the attempts.
    watch_for(A_WHILE, || {});
    fs::remove_file(site.path("fault")).unwrap();
    daemon.wait_for_ticket("broken", UNOBSERVABLE, "resolved");
    let tickets = tickets_of_broken(&site);
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    daemon.stop();
}

/// The hello plugin with another text of the same length in its manifest.
fn with_manifest(from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(hello_subject()).unwrap();
    let is_it = |window: &[u8]| window == from;
    let at = bytes.windows(from.len()).position(is_it).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

fn no_plugin(site: &Site) -> Vec<u8> {
    let (source, library) = (site.path("plain.rs"), site.path("plain"));
    fs::write(&source, "").unwrap();
    let rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--crate-type", "cdylib", "-o"])
        .args([&library, &source])
        .status();
    assert!(rustc.unwrap().success());
    fs::read(library).unwrap()
}

/// Puts a plugin file where an operator trusts it.
fn install(path: &Path, content: &[u8]) {
    let draft = path.with_extension("draft");
    fs::write(&draft, content).unwrap();
    fs::set_permissions(&draft, Permissions::from_mode(0o755)).unwrap();
    fs::rename(&draft, path).unwrap();
}

#[test]
fn each_refused_file_is_a_ticket_until_a_good_one_lies_in_its_place() {
    let _machine = quiet_machine();
    let mut site = with_honest();
    let good = fs::read(hello_subject()).unwrap();
    let refused = [
        (
            "short",
            good[..good.len() / 2].to_vec(),
            ["truncated", "rebuild it"],
        ),
        (
            "plain",
            no_plugin(&site),
            ["not an operator plugin", "export_subject!"],
        ),
        (
            "later",
            with_manifest(br#""abi":"1."#, br#""abi":"2."#),
            ["ABI 2.", "operator-plugin-api 1.x"],
        ),
        (
            "aborting",
            with_manifest(br#""panic":"unwind"}"#, br#""panic":"abort" }"#),
            ["panic = \"abort\"", "panic = \"unwind\""],
        ),
    ];
    let file = |site: &Site, name: &str| site.path(format!("lib{name}.so"));
    for (name, content, _) in &refused {
        install(&file(&site, name), content);
        let lines = "interval = \"200ms\"\ninvariants.stale.enabled = false";
        let file = file(&site, name);
        site.subject(name, &file, lines);
    }
    let mut daemon = site.start();
    let before = daemon.next_heartbeat("honest");
    for (name, _, words) in &refused {
        let ticket = daemon.wait_for_ticket(name, FAILING, "opened");
        assert_contains(&text(&ticket["message"]), words);
        install(&file(&site, name), &good);
    }
    for (name, ..) in &refused {
        daemon.wait_for_ticket(name, FAILING, "resolved");
    }
    let after = daemon.next_heartbeat("honest");
    after.assert_kept_up_since(&before, INTERVAL);
    assert_eq!(site.tickets().len(), refused.len(), "{:?}", site.tickets());
    daemon.stop();
}

#[test]
fn a_plugin_without_what_it_asks_for_is_a_ticket_and_its_neighbours_are_watched() {
    let mut site = with_honest();
    let asking = br#""panic":"unwind","needs":{"exec":"kubectl"}}"#;
    let mut silent = br#""panic":"unwind"}"#.to_vec();
    silent.resize(asking.len(), b' ');
    let file = site.path("libasking.so");
    install(&file, &with_manifest(&silent, asking));
    let lines = "interval = \"200ms\"\ninvariants.stale.enabled = false";
    site.subject("asking", &file, lines);
    site.subject("granted", &file, &format!("{lines}\nsandbox.exec = true"));
    let mut daemon = site.start();
    let ticket = daemon.wait_for_ticket("asking", FAILING, "opened");
    let words = ["asks to start programs: \"kubectl\"", "sandbox.exec = true"];
    assert_contains(&text(&ticket["message"]), &words);
    for watched in ["honest", "granted"] {
        daemon.next_heartbeat(watched);
    }
    assert_eq!(site.tickets().len(), 1, "{:?}", site.tickets());
    daemon.stop();
}

#[test]
fn a_neighbour_that_takes_long_for_every_answer_delays_nobody() {
    let _machine = quiet_machine();
    let mut site = with_honest();
    let lines = "interval = \"200ms\"\nconfig.latency_ms = 1500";
    site.subject("slow", misbehaving_subject(), lines);
    let mut daemon = site.start();
    let before = daemon.next_heartbeat("honest");
    watch_for(A_WHILE, || {});
    let after = daemon.next_heartbeat("honest");
    after.assert_kept_up_since(&before, INTERVAL);
    let slow = daemon.heartbeat("slow").unwrap();
    assert!(
        slow.observed && slow.cycles < after.cycles / 3,
        "{slow:?} {after:?}"
    );
    daemon.stop();
}
