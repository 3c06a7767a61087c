//! More keys than one cycle reads: each has its turn, and what had none is not healthy.

use std::collections::BTreeSet;

use ratelimiter::Config;

use crate::support::{Cluster, Watch, wait_for};

const KEYS: usize = 2_000;

/// Entries of now, in that many counters.
const FILL: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for number = 1, ARGV[1] do
  redis.call('ZADD', string.format('ratelimit:k%04d', number), now, 'a')
end";
const PUSH_OVER: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for entry = 1, 200 do
  redis.call('ZADD', KEYS[1], now, 'b' .. entry)
end";

fn run(cluster: &Cluster, script: &str, key: Option<&str>, argument: usize) {
    let client = redis::Client::open(cluster.redis_url()).unwrap();
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(usize::from(key.is_some()));
    command.arg(key).arg(argument);
    command.exec(&mut client.get_connection().unwrap()).unwrap();
}

#[test]
fn keys_beyond_one_cycle_have_their_turn_and_are_unknown_before() {
    let cluster = Cluster::start(1, &["--default-window-ms", "600000"]);
    run(&cluster, FILL, None, KEYS);
    let over = ["k0001", "k1000", "k2000"];
    for key in over {
        run(&cluster, PUSH_OVER, Some(&format!("ratelimit:{key}")), 0);
    }
    let watch = Watch::new(Config {
        max_counters: 250,
        ..cluster.config()
    });
    let mut found = BTreeSet::new();
    let mut has_been_unknown = false;
    wait_for("every key to have had its turn", || {
        let (observation, report) = watch.cycle();
        let data = &observation.data;
        let read: BTreeSet<_> = data
            .counters
            .iter()
            .flatten()
            .map(|c| c.key.clone())
            .collect();
        assert!(read.len() < KEYS / 2, "{}", read.len());
        // What was not read is not among the resources, so that no ticket on it resolves.
        let listed = observation
            .resources
            .iter()
            .filter(|resource| resource.kind == "key");
        assert_eq!(read, listed.map(|resource| resource.id.clone()).collect());
        let whole = report
            .unknown
            .iter()
            .find(|unknown| unknown.invariant == "over_limit" && unknown.resource.is_none());
        assert_eq!(whole.is_some(), data.counters_swept != Some(true));
        has_been_unknown |= whole.is_some_and(|unknown| unknown.reason.contains("had their turn"));
        let violated = report
            .violations
            .into_iter()
            .filter(|v| v.invariant == "over_limit");
        found.extend(violated.filter_map(|v| v.resource));
        data.counters_swept.filter(|swept| *swept).map(|_| ())
    });
    assert!(has_been_unknown);
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), over);
    let (observation, _) = watch.cycle();
    assert_eq!(observation.data.counters_total, Some(KEYS as u64));
    assert!(
        observation.summary.contains(" of 2,000 keys"),
        "{}",
        observation.summary
    );
    // Those that were over are read in every cycle, whichever slice has its turn.
    for key in over {
        let counters = observation.data.counters.iter().flatten();
        assert!(counters.clone().any(|counter| counter.key == key), "{key}");
    }
}

#[test]
fn a_key_that_was_over_is_read_again_after_a_restart() {
    let cluster = Cluster::start(1, &["--default-window-ms", "600000"]);
    run(&cluster, FILL, None, 600);
    run(&cluster, PUSH_OVER, Some("ratelimit:k0600"), 0);
    let config = || Config {
        max_counters: 200,
        ..cluster.config()
    };
    let watch = Watch::new(config());
    let mut kept = None;
    wait_for("the sweep to have gone on", || {
        let observation = watch.observe().unwrap();
        kept = observation.memory.or(kept.take());
        let suspects = kept.as_ref().map(|kept| kept["suspects"].to_string());
        suspects.filter(|suspects| suspects.contains("k0600"))
    });
    // A slice that begins anew does not reach it.
    let (observation, _) = Watch::new(config()).cycle_with(kept.as_ref());
    let counters = observation.data.counters.unwrap();
    let suspect = counters.iter().find(|counter| counter.key == "k0600");
    assert_eq!(suspect.and_then(|counter| counter.redis_low), Some(201));
}
