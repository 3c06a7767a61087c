//! A signal while an action runs: the outcome is reported and recorded as unknown.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    common::{misbehaving_subject, wait_for},
    daemon::{self, Site},
};

#[test]
fn a_signal_during_an_action_leaves_its_outcome_unknown() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut site = Site::new();
        let lines = "actions.mode = \"execute\"\ndeadlines.invoke = \"60s\"\nconfig = { fault = \"sleep\", fault_in = \"invoke\" }";
        site.subject("slow", misbehaving_subject(), lines);
        let child = site
            .operator()
            .args(["actions", "run", "set_level", "level=7", "--yes"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Nothing is kept before the action is about to begin.
        let database = site.path("state/operator.db");
        wait_for("the action to begin", || database.exists().then_some(()));
        daemon::watch_for(Duration::from_secs(1), || {});
        let asked = Instant::now();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(15));
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(130), "{printed}");
        assert!(printed.starts_with("outcome unknown: SIG"), "{printed}");
        assert!(printed.contains("idempotency key "), "{printed}");
        site.wait_for_no_workers();
    }
}
