//! Each action reaches its effect in a simulated cluster, and fails with PD's own message where PD refuses.

use std::time::Duration;

use operator_plugin_api::{ActionResult, Call, Deadline, Outcome, Subject};
use serde_json::{Value, json};
use tikv::Tikv;

use crate::simulated::{Simulated, wait_for};

fn invoke(sim: &Simulated, action: &str, params: Value) -> ActionResult {
    let call = Call::new(action, params, Deadline::after(Duration::from_mins(1)));
    let result = Tikv::create(sim.config()).unwrap().invoke(&call);
    result.unwrap_or_else(|error| panic!("{action}: {error}"))
}

fn done(sim: &Simulated, action: &str, params: Value) -> Value {
    let result = invoke(sim, action, params);
    assert_eq!(
        result.outcome,
        Outcome::Done,
        "{action}: {}",
        result.message
    );
    result.details
}

fn refused(sim: &Simulated, action: &str, params: Value, message: &str) {
    let result = invoke(sim, action, params);
    assert_eq!(
        result.outcome,
        Outcome::Failed,
        "{action}: {}",
        result.message
    );
    assert!(result.message.contains(message), "{}", result.message);
}

fn first_region(sim: &Simulated) -> Value {
    sim.pd_get("/regions/key?key=&limit=2")["regions"][0].clone()
}

/// A store without a peer of the region, and one with a follower.
fn places(region: &Value, stores: u64) -> (u64, u64) {
    let peers: Vec<_> = region["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| peer["store_id"].as_u64().unwrap())
        .collect();
    let free = (1..=stores).find(|id| !peers.contains(id)).unwrap();
    let follower = peers
        .into_iter()
        .find(|id| region["leader"]["store_id"] != *id)
        .unwrap();
    (free, follower)
}

#[test]
fn regions_are_moved_split_merged_and_scattered() {
    let sim = Simulated::start(&["--stores", "5", "--rate", "20"]);
    let region = first_region(&sim);
    let id = region["id"].as_u64().unwrap();
    let (free, follower) = places(&region, 5);
    let details = done(
        &sim,
        "transfer_leader",
        json!({"region_id": id, "to_store_id": follower}),
    );
    assert_eq!(
        details["previous_leader_store_id"],
        region["leader"]["store_id"]
    );
    done(
        &sim,
        "transfer_peer",
        json!({"region_id": id, "from_store_id": region["leader"]["store_id"], "to_store_id": free}),
    );
    let details = done(
        &sim,
        "split_region",
        json!({"region_id": id, "policy": "approximate"}),
    );
    let new = details["new_region_id"].as_u64().unwrap();
    let details = done(
        &sim,
        "merge_region",
        json!({"source_region_id": new, "target_region_id": id}),
    );
    assert!(details["boundary_key"].is_string(), "{details}");
    done(&sim, "scatter_region", json!({"region_id": id}));
    refused(
        &sim,
        "transfer_leader",
        json!({"region_id": 999_999, "to_store_id": 1}),
        "999999 not found",
    );
    refused(
        &sim,
        "transfer_leader",
        json!({"region_id": id, "to_store_id": 99}),
        "store 99",
    );
}

#[test]
fn what_pd_accepts_and_does_not_finish_is_not_a_success() {
    let sim = Simulated::start(&["--rate", "20"]);
    let region = first_region(&sim);
    let (_, follower) = places(&region, 4);
    sim.control("/operators/stall");
    let to = json!({"region_id": region["id"], "to_store_id": follower});
    refused(&sim, "transfer_leader", to, "TIMEOUT");
}

#[test]
fn stores_are_drained_and_undrained_and_limited() {
    let sim = Simulated::start(&["--stores", "4", "--rate", "20"]);
    let details = done(&sim, "drain_store", json!({"store_id": 2}));
    assert_eq!(details["leaders_left"], 0);
    assert_eq!(
        done(&sim, "drain_store", json!({"store_id": 2}))["already"],
        true
    );
    done(&sim, "undrain_store", json!({"store_id": 2}));
    assert_eq!(
        done(&sim, "undrain_store", json!({"store_id": 2}))["already"],
        true
    );
    refused(
        &sim,
        "drain_store",
        json!({"store_id": 99}),
        "store 99 not found",
    );
    let limit = json!({"store_id": 1, "type": "add-peer", "rate": 30});
    assert_eq!(done(&sim, "set_store_limit", limit)["previous_rate"], 15.0);
    let limit = json!({"store_id": 99, "type": "add-peer", "rate": 30});
    refused(&sim, "set_store_limit", limit, "store 99 not found");
}

#[test]
fn schedulers_and_limits_are_set_and_undone() {
    let sim = Simulated::start(&[]);
    let name = "balance-leader-scheduler";
    done(
        &sim,
        "pause_scheduler",
        json!({"name": name, "seconds": 300}),
    );
    let left = done(&sim, "resume_scheduler", json!({"name": name}))["remaining_seconds"]
        .as_u64()
        .unwrap();
    assert!((200..=301).contains(&left), "{left}");
    assert_eq!(
        done(&sim, "resume_scheduler", json!({"name": name}))["already"],
        true
    );
    refused(
        &sim,
        "pause_scheduler",
        json!({"name": "no-scheduler", "seconds": 300}),
        "scheduler not found",
    );
    for (action, before) in [
        ("set_leader_schedule_limit", 4),
        ("set_region_schedule_limit", 2_048),
        ("set_replica_schedule_limit", 64),
    ] {
        assert_eq!(
            done(&sim, action, json!({"limit": 0, "ttl_seconds": 600}))["previous_limit"],
            before
        );
        done(&sim, action, json!({"limit": 9}));
        let key = action.trim_start_matches("set_").replace('_', "-");
        assert_eq!(sim.pd_get("/config/schedule")[key], 9, "{action}");
    }
    let details = done(&sim, "set_low_space_threshold", json!({"used_percent": 85}));
    assert_eq!(details["previous_used_percent"], 80.0);
    refused(
        &sim,
        "set_low_space_threshold",
        json!({"used_percent": 50}),
        "larger than high-space-ratio",
    );
}

#[test]
fn operators_are_cancelled_and_pd_is_led_by_another() {
    let sim = Simulated::start(&["--stores", "4"]);
    let region = first_region(&sim);
    let (free, follower) = places(&region, 4);
    sim.control("/operators/stall");
    let body = json!({"name": "transfer-peer", "region_id": region["id"], "from_store_id": follower, "to_store_id": free});
    sim.pd_post("/operators", &body);
    done(&sim, "cancel_operator", json!({"region_id": region["id"]}));
    refused(
        &sim,
        "cancel_operator",
        json!({"region_id": 999_999}),
        "operator not found",
    );

    let leader = || {
        sim.pd_get("/members")["leader"]["name"]
            .as_str()
            .map(str::to_owned)
    };
    let first = leader().unwrap();
    let details = done(&sim, "resign_pd_leader", json!({}));
    assert_eq!(details["previous_leader"], json!(first));
    wait_for("the others to know", || {
        leader().filter(|now| *now != first)
    });
    let details = done(&sim, "transfer_pd_leader", json!({"name": first}));
    assert_eq!(details["leader"], json!(first));
    assert_eq!(
        done(&sim, "transfer_pd_leader", json!({"name": first}))["already"],
        true
    );
    refused(
        &sim,
        "transfer_pd_leader",
        json!({"name": "pd9"}),
        "no valid pd",
    );
}
