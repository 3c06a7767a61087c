//! Several subjects of several plugins in one daemon.

use std::{path::Path, time::Duration};

use crate::support::{
    common::{misbehaving_subject, quiet_machine},
    daemon::{Daemon, Site, put, watch_for},
};

fn synthetic(site: &mut Site, name: &str, interval: &str, isolation: &str) {
    let observation = site.path(format!("{name}.json"));
    let fault = site.path(format!("{name}.fault"));
    let lines = format!(
        "interval = {interval:?}\nisolation = {isolation:?}\ndeadlines.create = \"1m\"\n\
         config = {{ observation_file = {observation:?}, fault_file = {fault:?} }}"
    );
    site.subject(name, misbehaving_subject(), &lines);
}

fn breach(path: &Path, invariant: &str, resource: &str) {
    let violation = format!(
        r#"{{"violations": [{{"invariant": "{invariant}", "resource": "{resource}", "message": "broken"}}]}}"#
    );
    put(path, &violation);
}

#[track_caller]
fn wait_for_first_cycles<'a>(daemon: &mut Daemon, names: impl IntoIterator<Item = &'a str>) {
    for name in names {
        daemon.wait_for("a good cycle", |event| {
            event["subject"] == name && event["observed"] == true
        });
    }
}

#[test]
fn thirty_subjects_are_all_observed_in_every_interval() {
    let _machine = quiet_machine();
    let names: Vec<String> = (0..30).map(|number| format!("s{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut site = Site::new();
    for name in &names {
        synthetic(&mut site, name, "200ms", "worker");
    }
    let mut daemon = site.start();
    wait_for_first_cycles(&mut daemon, names.iter().copied());
    assert_eq!(site.workers().len(), names.len());
    let before: Vec<_> = names
        .iter()
        .map(|name| daemon.heartbeat(name).unwrap())
        .collect();
    watch_for(Duration::from_secs(3), || {});
    daemon.next_heartbeat(names[29]);
    for (name, before) in names.iter().zip(&before) {
        let after = daemon.heartbeat(name).unwrap();
        after.assert_kept_up_since(before, Duration::from_millis(200));
    }
    assert!(site.tickets().is_empty());
    daemon.stop();
    site.wait_for_no_workers();
}

#[test]
fn subjects_of_the_same_plugin_have_tickets_of_their_own() {
    let mut site = Site::new();
    for name in ["east", "west"] {
        synthetic(&mut site, name, "100ms", "worker");
    }
    site.honest("file", "interval = \"100ms\"");
    let mut daemon = site.start();
    wait_for_first_cycles(&mut daemon, ["east", "west", "file"]);
    breach(&site.path("east.json"), "first", "node-1");
    let of_east = daemon.wait_for_ticket("east", "first", "opened");
    breach(&site.path("west.json"), "first", "node-1");
    let of_west = daemon.wait_for_ticket("west", "first", "opened");
    assert_ne!(of_east["id"], of_west["id"]);
    put(&site.path("east.json"), "{}");
    daemon.wait_for_ticket("east", "first", "resolved");
    let live: Vec<_> = site
        .tickets()
        .into_iter()
        .filter(|ticket| ticket["state"] != "resolved")
        .collect();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0]["id"], of_west["id"]);
    daemon.stop();
}

#[test]
fn plugins_in_the_daemons_own_process_are_watched_like_others() {
    let mut site = Site::new();
    for name in ["inside", "also-inside"] {
        synthetic(&mut site, name, "100ms", "none");
    }
    let inside = "interval = \"100ms\"\nisolation = \"none\"";
    site.honest("file", inside);
    let mut daemon = site.start();
    wait_for_first_cycles(&mut daemon, ["inside", "also-inside", "file"]);
    assert!(site.workers().is_empty());
    breach(&site.path("inside.json"), "second", "node-2");
    daemon.wait_for_ticket("inside", "second", "opened");
    put(&site.path("also-inside.fault"), "panic observe");
    daemon.wait_for_ticket("also-inside", "operator.plugin_failing", "opened");
    std::fs::remove_file(site.path("also-inside.fault")).unwrap();
    daemon.wait_for_ticket("also-inside", "operator.plugin_failing", "resolved");
    put(&site.path("inside.json"), "{}");
    daemon.wait_for_ticket("inside", "second", "resolved");
    assert_eq!(site.tickets().len(), 2);
    daemon.stop();
}

#[test]
fn a_start_with_many_subjects_tells_how_far_it_has_come() {
    let mut site = Site::new();
    let names: Vec<String> = (0..100).map(|number| format!("s{number:03}")).collect();
    for name in &names {
        site.honest(name, "interval = \"5s\"\nisolation = \"none\"");
    }
    let mut daemon = site.start();
    wait_for_first_cycles(&mut daemon, names.iter().map(String::as_str));
    let events = daemon.events();
    let started = events.iter().filter(|event| event["event"] == "started");
    let counts: Vec<_> = started
        .map(|event| (event["done"].as_u64(), event["all"].as_u64()))
        .collect();
    let expected = [20, 40, 60, 80, 100].map(|done| (Some(done), Some(100)));
    assert_eq!(counts, expected);
    assert!(site.tickets().is_empty());
    daemon.stop();
}
