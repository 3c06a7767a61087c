//! A daemon that is killed at any moment: its tickets continue without a loss.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::support::{
    common::{self, misbehaving_subject},
    daemon::{Daemon, Site, put, text},
};

const KILLS: usize = 50;
const INTERVAL: Duration = Duration::from_millis(100);

fn site(lines: &str) -> Site {
    let mut site = Site::new();
    let observation = site.path("observation.json");
    let lines = format!("interval = \"100ms\"\nconfig.observation_file = {observation:?}\n{lines}");
    site.subject("synthetic", misbehaving_subject(), &lines);
    site
}

/// Has the subject break these invariants on these resources.
fn breach(site: &Site, broken: impl IntoIterator<Item = (&'static str, String)>) {
    let violations: Vec<Value> = broken
        .into_iter()
        .map(|(invariant, resource)| {
            json!({"invariant": invariant, "resource": resource, "message": "broken"})
        })
        .collect();
    put(
        &site.path("observation.json"),
        &json!({"violations": violations}).to_string(),
    );
}

/// Reproducible random numbers: xorshift64.
struct Chance(u64);

impl Chance {
    #[allow(clippy::print_stdout, reason = "the seed reproduces a failed run")]
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed: Option<u64> = std::env::var("SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(since.subsec_nanos().into()) | 1;
        println!("SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What is broken: always `standing`, and each of the nodes or not.
fn any_of_the_nodes(chance: &mut Chance) -> Vec<(&'static str, String)> {
    let nodes = (0..4).filter(|_| chance.below(2) == 0);
    let nodes: Vec<_> = nodes
        .map(|node| ("first", format!("node-{node}")))
        .collect();
    [vec![("second", "standing".to_owned())], nodes].concat()
}

/// Runs a daemon for a random time while faults come and go, and kills it.
fn short_life(site: &Site, chance: &mut Chance) -> Vec<Value> {
    let daemon = site.start();
    for _ in 0..chance.below(4) {
        breach(site, any_of_the_nodes(chance));
        thread::sleep(Duration::from_millis(chance.below(600)));
    }
    let events = daemon.events();
    daemon.kill();
    events
}

fn by_key(tickets: &[Value]) -> BTreeMap<String, &Value> {
    let key = |ticket: &Value| format!("{} {}", ticket["invariant"], ticket["resource"]);
    let found: BTreeMap<_, _> = tickets.iter().map(|ticket| (key(ticket), ticket)).collect();
    assert_eq!(
        found.len(),
        tickets.len(),
        "a ticket is duplicated: {tickets:#?}"
    );
    found
}

/// The kinds of a ticket's events, in order.
fn story(site: &Site, id: &Value) -> Vec<String> {
    let shown = site.ask(&["tickets", "show", &id.to_string(), "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let events = shown["events"].as_array().unwrap();
    events.iter().map(|event| text(&event["kind"])).collect()
}

/// Whether each event can follow the one before it.
#[track_caller]
fn assert_is_a_life(story: &[String]) {
    let marks = ["flapping_started", "flapping_stopped"];
    let states = story.iter().map(String::as_str);
    let states: Vec<&str> = states.filter(|kind| !marks.contains(kind)).collect();
    assert_eq!(states.first(), Some(&"seen"), "{story:?}");
    for pair in states.windows(2) {
        let may_follow: &[&str] = match pair[0] {
            "seen" => &["opened", "reopened", "resolved"],
            "opened" | "reopened" | "relapsed" => &["recovering", "resolved"],
            "recovering" => &["relapsed", "resolved"],
            "resolved" => &["seen"],
            other => panic!("{other} in {story:?}"),
        };
        assert!(may_follow.contains(&pair[1]), "{pair:?} in {story:?}");
    }
}

#[test]
fn no_ticket_is_lost_duplicated_or_restarted_when_the_daemon_is_killed_repeatedly() {
    let site =
        site("invariants.first = { grace_period = \"300ms\", keep_firing_for = \"300ms\" }\n");
    let mut chance = Chance::new();
    breach(&site, any_of_the_nodes(&mut chance));
    let mut first = site.start();
    let standing = first.wait_for_ticket("synthetic", "second", "opened");
    first.kill();

    let mut seen: BTreeSet<(i64, String)> = BTreeSet::new();
    let mut eventful = 0;
    for _ in 0..KILLS {
        let events = short_life(&site, &mut chance);
        eventful += u32::from(events.iter().any(|event| event["event"] == "ticket"));
        for event in events {
            assert_ne!(event["event"], "trouble", "{event}");
            if event["event"] == "ticket" {
                let ticket = &event["ticket"];
                seen.insert((ticket["id"].as_i64().unwrap(), text(&ticket["resource"])));
            }
        }
    }

    breach(
        &site,
        [("second", "standing".into()), ("first", "node-1".into())],
    );
    let mut last = site.start();
    common::wait_for("the final state", || {
        let tickets = site.tickets();
        let settled = |ticket: &Value| match text(&ticket["resource"]).as_str() {
            "standing" | "node-1" => ticket["state"] == "open",
            // What flaps is given time to calm down.
            _ => ticket["state"] == "resolved" || ticket["flapping"] == true,
        };
        let node_1 = tickets.iter().any(|ticket| ticket["resource"] == "node-1");
        (node_1 && tickets.iter().all(settled)).then_some(())
    });
    last.next_heartbeat("synthetic");
    last.stop();

    let tickets = site.tickets();
    let found = by_key(&tickets);
    let still = found["\"second\" \"standing\""];
    assert_eq!(still["id"], standing["id"]);
    assert_eq!(still["first_seen"], standing["first_seen"]);
    assert_eq!(still["occurrences"], 1);
    assert_eq!(story(&site, &still["id"]), ["seen", "opened"]);
    for ticket in &tickets {
        assert_is_a_life(&story(&site, &ticket["id"]));
    }
    for (id, resource) in &seen {
        let is_it = |ticket: &&Value| ticket["id"] == *id;
        let kept = tickets.iter().find(is_it);
        let kept = kept.unwrap_or_else(|| panic!("ticket {id} of {resource} is lost"));
        assert_eq!(kept["resource"], resource.as_str());
    }
    assert!(
        eventful >= 10,
        "too few runs had ticket events: {eventful}, {seen:?}"
    );
    println!("{eventful} of {KILLS} runs had ticket events");
    site.wait_for_no_workers();
    assert_eq!(integrity(&site), "ok");
}

fn integrity(site: &Site) -> String {
    common::sqlite3(&site.path("state/operator.db"), "PRAGMA integrity_check")
}

fn millis(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

#[test]
fn a_grace_period_goes_on_while_the_daemon_is_dead() {
    const GRACE_MS: i64 = 6000;
    let site = site("invariants.third.grace_period = \"6s\"\n");
    let mut daemon = site.start();
    daemon.next_heartbeat("synthetic");
    breach(&site, [("third", "node-1".into())]);
    let pending = common::wait_for("the grace period to begin", || site.tickets().pop());
    assert_eq!(pending["state"], "pending");
    daemon.kill();
    for _ in 0..3 {
        let daemon = site.start();
        thread::sleep(Duration::from_millis(500));
        daemon.kill();
    }
    let mut daemon = site.start();
    daemon.wait_for("the first cycle", |event| event["event"] == "heartbeat");
    let watched_since = jiff::Timestamp::now().as_millisecond();
    let opened = daemon.wait_for_ticket("synthetic", "third", "opened");
    assert_eq!(opened["id"], pending["id"]);
    assert_eq!(opened["violated_since"], pending["violated_since"]);
    let due = millis(&opened["violated_since"]) + GRACE_MS;
    let opened_at = millis(&opened["opened_at"]);
    let slack = 1000 + i64::try_from(INTERVAL.as_millis()).unwrap();
    assert!(opened_at >= due, "{} ms too early", due - opened_at);
    assert!(
        opened_at <= due.max(watched_since) + slack,
        "{} ms too late",
        opened_at - due
    );
    daemon.stop();
}

/// A daemon that is killed without warning leaves no process behind, whatever its plugin was doing.
#[test]
fn a_killed_daemon_leaves_no_worker_behind() {
    let site = site("deadlines.observe = \"1m\"\nconfig.latency_ms = 50000\n");
    let daemon: Daemon = site.start();
    common::wait_for("a worker in its cycle", || {
        daemon
            .events()
            .iter()
            .any(|event| event["event"] == "watching")
            .then_some(())?;
        (!site.workers().is_empty()).then_some(())
    });
    daemon.kill();
    site.wait_for_no_workers();
}
