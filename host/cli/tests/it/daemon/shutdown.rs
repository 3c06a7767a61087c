//! How a daemon stops: gracefully at the first signal, immediately at the second, and never with a worker left behind.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    process::Signal,
};
use serde_json::Value;

use crate::support::{
    common::{misbehaving_subject, wait_for},
    daemon::{self, Daemon, Site},
};

/// A subject whose `observe` blocks until the test writes to the pipe `observation.json`.
fn with_slow_observe() -> Site {
    let mut site = Site::new();
    let pipe = site.path("observation.json");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let lines = format!(
        "interval = \"100ms\"\ndeadlines.observe = \"60s\"\nconfig.observation_file = {pipe:?}\nconfig.effects_file = {:?}",
        site.path("effects")
    );
    site.subject("slow", misbehaving_subject(), &lines);
    site
}

/// The writing end of the pipe, once a cycle waits at the other.
fn wait_for_cycle(pipe: &Path) -> File {
    wait_for("a cycle", || {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(pipe, flags, Mode::empty())
            .ok()
            .map(File::from)
    })
}

fn wait_for_stopping(daemon: &mut Daemon) {
    daemon.wait_for("the first signal to be heard", |event| {
        event["event"] == "stopping"
    });
}

/// How often the plugin was dropped properly; the file is there from the first time on.
fn drops(site: &Site) -> usize {
    let effects = fs::read_to_string(site.path("effects")).unwrap_or_default();
    effects.lines().filter(|line| *line == "dropped").count()
}

/// A signal in the middle of a cycle; the cycle finds a violation.
fn stops_gracefully(site: &Site, send: impl FnOnce(&Daemon)) {
    let mut daemon = site.start();
    let mut pipe = wait_for_cycle(&site.path("observation.json"));
    let drops_before = drops(site);
    send(&daemon);
    wait_for_stopping(&mut daemon);
    pipe.write_all(br#"{"violations": [{"invariant": "first", "message": "seen at last"}]}"#)
        .unwrap();
    drop(pipe);
    assert_eq!(daemon.ended().code(), Some(0));
    assert_eq!(daemon.story("slow"), [("opened".into(), "first".into())]);
    assert_eq!(daemon.events().last().unwrap()["event"], "stopped");
    assert_eq!(
        drops(site),
        drops_before + 1,
        "its worker did not end by itself"
    );
    assert_eq!(site.tickets().len(), 1);
    site.wait_for_no_workers();
}

#[test]
fn a_signal_lets_the_current_cycle_finish() {
    for signal in [Signal::INT, Signal::TERM] {
        stops_gracefully(&with_slow_observe(), |daemon| daemon.signal(signal));
    }
}

#[test]
fn ctrl_c_does_not_reach_the_workers_before_the_daemon_ends_them() {
    stops_gracefully(&with_slow_observe(), |daemon| {
        daemon.signal_group(Signal::INT);
    });
}

#[test]
fn a_second_signal_stops_the_daemon_immediately() {
    let site = with_slow_observe();
    let mut daemon = site.start();
    let _pipe = wait_for_cycle(&site.path("observation.json"));
    assert_eq!(site.workers().len(), 1);
    daemon.signal(Signal::INT);
    wait_for_stopping(&mut daemon);
    let second = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(130));
    assert!(
        second.elapsed() < Duration::from_secs(5),
        "{:?}",
        second.elapsed()
    );
    site.wait_for_no_workers();
    assert_eq!(site.tickets(), [] as [Value; 0]);
}

#[test]
fn a_signal_ends_a_daemon_that_is_still_starting() {
    let mut site = Site::new();
    let lines = "deadlines.create = \"60s\"\nconfig = { fault = \"sleep\", fault_in = \"create\" }";
    site.subject("stuck", misbehaving_subject(), lines);
    let mut daemon = site.start();
    wait_for("the plugin to be started", || {
        (!site.workers().is_empty()).then_some(())
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    assert_eq!(daemon.events().last().unwrap()["event"], "stopped");
    site.wait_for_no_workers();
}

#[test]
fn a_daemon_whose_output_nobody_reads_any_more_goes_on() {
    let mut site = Site::new();
    let effects = site.path("effects");
    let lines = format!("interval = \"100ms\"\nconfig.effects_file = {effects:?}");
    site.subject("watched", misbehaving_subject(), &lines);
    let mut daemon = site.start_unread();
    wait_for("a worker", || (!site.workers().is_empty()).then_some(()));
    daemon::watch_for(Duration::from_millis(1500), || {});
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_signal_ends_a_daemon_whose_output_is_stuck() {
    let mut site = Site::new();
    site.subject("watched", misbehaving_subject(), "interval = \"100ms\"");
    let (_unread, mut writer) = std::io::pipe().unwrap();
    let room = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
    writer.write_all(&vec![b'x'; room]).unwrap();
    let mut daemon = site.start_with(|command| {
        command.stdout(writer);
    });
    wait_for("a worker", || (!site.workers().is_empty()).then_some(()));
    daemon::watch_for(Duration::from_millis(1500), || {});
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    site.wait_for_no_workers();
}
