//! A wall clock that is set while the daemon runs, or while it does not.

use serde_json::{Value, json};

use crate::support::{
    common::{misbehaving_subject, wait_for},
    daemon::{Daemon, Site, put},
};

const HOUR_MS: i64 = 3_600_000;

fn site() -> Site {
    let mut site = Site::new();
    let lines = format!(
        "interval = \"100ms\"\nconfig.observation_file = {:?}\n\
         invariants.first = {{ grace_period = \"3s\", keep_firing_for = \"3s\" }}\n\
         invariants.second.grace_period = \"30m\"",
        site.path("observation.json")
    );
    site.subject("synthetic", misbehaving_subject(), &lines);
    site
}

/// A daemon whose wall clock is off by what [`set`] says.
fn start(site: &Site) -> Daemon {
    let clock = site.path("clock");
    site.start_with(|command| {
        command.env("OPERATOR_TEST_CLOCK", clock);
    })
}

fn set(site: &Site, off_ms: i64) {
    put(&site.path("clock"), &off_ms.to_string());
}

fn breach(site: &Site, invariants: &[&str]) {
    let violations: Vec<_> = invariants
        .iter()
        .map(|invariant| json!({"invariant": invariant, "message": "broken"}))
        .collect();
    let content = json!({"violations": violations});
    put(&site.path("observation.json"), &content.to_string());
}

fn told(daemon: &mut Daemon, what: &str) {
    daemon.wait_for(what, |event| {
        event["event"] == "trouble" && event["message"].as_str().unwrap().contains(what)
    });
}

fn wait_for_state(site: &Site, invariant: &str, state: &str) {
    wait_for(&format!("{invariant} {state}"), || {
        let tickets = site.tickets();
        let is_it = |ticket: &Value| ticket["invariant"] == invariant && ticket["state"] == state;
        tickets.iter().any(is_it).then_some(())
    });
}

#[test]
fn a_clock_that_is_set_back_delays_neither_an_opening_nor_a_resolution() {
    let site = site();
    let mut daemon = start(&site);
    breach(&site, &["first"]);
    wait_for_state(&site, "first", "pending");
    set(&site, -HOUR_MS);
    told(&mut daemon, "was set back by 3600 s");
    daemon.wait_for_ticket("synthetic", "first", "opened");
    breach(&site, &[]);
    daemon.wait_for_ticket("synthetic", "first", "recovering");
    set(&site, -10 * 365 * 24 * HOUR_MS);
    told(&mut daemon, "was set back by 315356400 s");
    daemon.wait_for_ticket("synthetic", "first", "resolved");
    let times = |kind: &str| {
        let story = daemon.story("synthetic");
        story.iter().filter(|(found, _)| found == kind).count()
    };
    assert_eq!((times("opened"), times("resolved")), (1, 1));
    daemon.stop();
}

#[test]
fn a_clock_that_is_set_forward_opens_nothing_early() {
    let site = site();
    let mut daemon = start(&site);
    breach(&site, &["second"]);
    wait_for_state(&site, "second", "pending");
    set(&site, 10 * 365 * 24 * HOUR_MS);
    told(&mut daemon, "was set forward by 315360000 s");
    daemon.wait_for_another_cycle("synthetic");
    daemon.wait_for_another_cycle("synthetic");
    wait_for_state(&site, "second", "pending");
    daemon.stop();

    // The same while nothing runs.
    set(&site, 0);
    let mut daemon = start(&site);
    told(
        &mut daemon,
        "was set, since the operator last ran, back by 315360000 s",
    );
    set(&site, HOUR_MS);
    told(&mut daemon, "was set forward by 3600 s");
    daemon.wait_for_another_cycle("synthetic");
    daemon.wait_for_another_cycle("synthetic");
    wait_for_state(&site, "second", "pending");
    daemon.stop();
}
