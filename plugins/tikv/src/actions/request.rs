//! The request of an action.

use operator_plugin_api::{Call, Error};
use operator_plugin_kit::{
    Change, Method,
    endpoint::segment,
    params::{NoParams, parse, unknown_action},
};
use serde_json::{Value, json};

use super::{
    names,
    params::{self, SplitPolicy},
};

/// An action with valid parameters.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    TransferLeader(params::LeaderMove),
    TransferPeer(params::PeerMove),
    SplitRegion(params::Split),
    MergeRegion(params::Merge),
    ScatterRegion(params::Region),
    DrainStore(params::Store),
    UndrainStore(params::Store),
    SetStoreLimit(params::StoreLimit),
    PauseScheduler(params::Pause),
    ResumeScheduler(params::Scheduler),
    SetScheduleLimit(Schedule, params::ScheduleLimit),
    SetLowSpaceThreshold(params::LowSpace),
    CancelOperator(params::Region),
    ResignPdLeader,
    TransferPdLeader(params::PdMember),
}

/// Which kind of operator a limit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schedule {
    Leader,
    Region,
    Replica,
}

impl Schedule {
    /// The key of PD's schedule configuration.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Leader => "leader-schedule-limit",
            Self::Region => "region-schedule-limit",
            Self::Replica => "replica-schedule-limit",
        }
    }
}

impl Action {
    pub(super) fn parse(call: &Call) -> Result<Self, Error> {
        let limit = |schedule| parse(call).map(|limit| Self::SetScheduleLimit(schedule, limit));
        match call.action.as_str() {
            names::TRANSFER_LEADER => parse(call).map(Self::TransferLeader),
            names::TRANSFER_PEER => parse(call).map(Self::TransferPeer),
            names::SPLIT_REGION => parse(call).map(Self::SplitRegion),
            names::MERGE_REGION => parse(call).map(Self::MergeRegion),
            names::SCATTER_REGION => parse(call).map(Self::ScatterRegion),
            names::DRAIN_STORE => parse(call).map(Self::DrainStore),
            names::UNDRAIN_STORE => parse(call).map(Self::UndrainStore),
            names::SET_STORE_LIMIT => parse(call).map(Self::SetStoreLimit),
            names::PAUSE_SCHEDULER => parse(call).map(Self::PauseScheduler),
            names::RESUME_SCHEDULER => parse(call).map(Self::ResumeScheduler),
            names::SET_LEADER_SCHEDULE_LIMIT => limit(Schedule::Leader),
            names::SET_REGION_SCHEDULE_LIMIT => limit(Schedule::Region),
            names::SET_REPLICA_SCHEDULE_LIMIT => limit(Schedule::Replica),
            names::SET_LOW_SPACE_THRESHOLD => parse(call).map(Self::SetLowSpaceThreshold),
            names::CANCEL_OPERATOR => parse(call).map(Self::CancelOperator),
            names::RESIGN_PD_LEADER => parse(call).map(|NoParams {}| Self::ResignPdLeader),
            names::TRANSFER_PD_LEADER => parse(call).map(Self::TransferPdLeader),
            other => Err(unknown_action(other, names::ALL)),
        }
    }

    /// What is sent to PD.
    pub(super) fn request(&self) -> Change {
        match self {
            Self::TransferLeader(to) => operator(json!({
                "name": "transfer-leader", "region_id": to.region_id, "to_store_id": to.to_store_id,
            })),
            Self::TransferPeer(to) => operator(json!({
                "name": "transfer-peer", "region_id": to.region_id,
                "from_store_id": to.from_store_id, "to_store_id": to.to_store_id,
            })),
            Self::SplitRegion(split) => operator(split_body(split)),
            Self::MergeRegion(merge) => operator(json!({
                "name": "merge-region",
                "source_region_id": merge.source_region_id, "target_region_id": merge.target_region_id,
            })),
            Self::ScatterRegion(of) => {
                operator(json!({"name": "scatter-region", "region_id": of.region_id}))
            }
            Self::DrainStore(of) => post(
                "/schedulers",
                json!({"name": "evict-leader-scheduler", "store_id": of.store_id}),
            ),
            Self::UndrainStore(of) => delete(&format!(
                "/schedulers/evict-leader-scheduler-{}",
                of.store_id
            )),
            Self::SetStoreLimit(to) => post(
                &format!("/store/{}/limit", to.store_id),
                json!({"rate": number(to.rate), "type": to.kind}),
            ),
            Self::PauseScheduler(of) => pause(&of.name, of.seconds),
            Self::ResumeScheduler(of) => pause(&of.name, 0),
            Self::SetScheduleLimit(schedule, to) => match to.ttl_seconds {
                Some(ttl) => temporary(*schedule, to.limit, ttl),
                None => post("/config/schedule", json!({schedule.key(): to.limit})),
            },
            Self::SetLowSpaceThreshold(to) => post(
                "/config/schedule",
                json!({"low-space-ratio": to.used_percent / 100.0}),
            ),
            Self::CancelOperator(of) => delete(&format!("/operators/{}", of.region_id)),
            Self::ResignPdLeader => change(Method::POST, "/leader/resign"),
            Self::TransferPdLeader(to) => change(
                Method::POST,
                &format!("/leader/transfer/{}", segment(&to.name)),
            ),
        }
    }

    /// Removes the temporary value that blocks a permanent one, where there can be one.
    pub(super) fn request_to_clear(&self) -> Option<Change> {
        match self {
            // PD removes the temporary value when it gets any value with a time of 0.
            Self::SetScheduleLimit(schedule, to) if to.ttl_seconds.is_none() => {
                Some(temporary(*schedule, to.limit, 0))
            }
            _ => None,
        }
    }
}

fn split_body(split: &params::Split) -> Value {
    let mut body =
        json!({"name": "split-region", "region_id": split.region_id, "policy": split.policy});
    if let (SplitPolicy::Usekey, Some(key)) = (split.policy, &split.key) {
        body["keys"] = json!([key]);
    }
    body
}

fn pause(name: &str, seconds: u64) -> Change {
    post(
        &format!("/schedulers/{}", segment(name)),
        json!({"delay": seconds}),
    )
}

fn temporary(schedule: Schedule, limit: u64, ttl_seconds: u64) -> Change {
    let key = format!("schedule.{}", schedule.key());
    post(
        &format!("/config?ttlSecond={ttl_seconds}"),
        json!({key: limit}),
    )
}

/// A whole number stays whole.
fn number(number: f64) -> Value {
    if number.fract() == 0.0 {
        serde_json::from_str(&format!("{number:.0}")).unwrap_or_else(|_| json!(number))
    } else {
        json!(number)
    }
}

fn operator(body: Value) -> Change {
    post("/operators", body)
}

fn post(path: &str, body: Value) -> Change {
    change(Method::POST, path).body(body)
}

fn delete(path: &str) -> Change {
    change(Method::DELETE, path)
}

fn change(method: Method, path: &str) -> Change {
    Change::new(method, format!("/pd/api/v1{path}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use operator_plugin_api::{Deadline, ErrorKind};

    use super::*;

    fn call(action: &str, params: Value) -> Call {
        Call::new(action, params, Deadline::after(Duration::from_secs(1)))
    }

    fn line(action: &str, params: Value) -> String {
        let change = Action::parse(&call(action, params)).unwrap().request();
        change.to_string().replacen("/pd/api/v1", "", 1)
    }

    #[test]
    fn each_action_is_its_request() {
        for (action, params, expected) in [
            (
                "transfer_leader",
                json!({"region_id": 14, "to_store_id": 4}),
                r#"POST /operators {"name":"transfer-leader","region_id":14,"to_store_id":4}"#,
            ),
            (
                "transfer_peer",
                json!({"region_id": 18, "from_store_id": 5, "to_store_id": 6}),
                r#"POST /operators {"from_store_id":5,"name":"transfer-peer","region_id":18,"to_store_id":6}"#,
            ),
            (
                "split_region",
                json!({"region_id": 14, "policy": "approximate"}),
                r#"POST /operators {"name":"split-region","policy":"approximate","region_id":14}"#,
            ),
            (
                "split_region",
                json!({"region_id": 14, "policy": "usekey", "key": "74FF"}),
                r#"POST /operators {"keys":["74FF"],"name":"split-region","policy":"usekey","region_id":14}"#,
            ),
            (
                "merge_region",
                json!({"source_region_id": 14, "target_region_id": 18}),
                r#"POST /operators {"name":"merge-region","source_region_id":14,"target_region_id":18}"#,
            ),
            (
                "scatter_region",
                json!({"region_id": 14}),
                r#"POST /operators {"name":"scatter-region","region_id":14}"#,
            ),
            (
                "drain_store",
                json!({"store_id": 1}),
                r#"POST /schedulers {"name":"evict-leader-scheduler","store_id":1}"#,
            ),
            (
                "undrain_store",
                json!({"store_id": 1}),
                "DELETE /schedulers/evict-leader-scheduler-1",
            ),
            (
                "set_store_limit",
                json!({"store_id": 1, "type": "remove-peer", "rate": 30}),
                r#"POST /store/1/limit {"rate":30,"type":"remove-peer"}"#,
            ),
            (
                "set_store_limit",
                json!({"store_id": 1, "type": "add-peer", "rate": 1.5}),
                r#"POST /store/1/limit {"rate":1.5,"type":"add-peer"}"#,
            ),
            (
                "pause_scheduler",
                json!({"name": "balance-leader-scheduler", "seconds": 300}),
                r#"POST /schedulers/balance-leader-scheduler {"delay":300}"#,
            ),
            (
                "resume_scheduler",
                json!({"name": "balance-leader-scheduler"}),
                r#"POST /schedulers/balance-leader-scheduler {"delay":0}"#,
            ),
            (
                "set_leader_schedule_limit",
                json!({"limit": 8}),
                r#"POST /config/schedule {"leader-schedule-limit":8}"#,
            ),
            (
                "set_region_schedule_limit",
                json!({"limit": 0, "ttl_seconds": 600}),
                r#"POST /config?ttlSecond=600 {"schedule.region-schedule-limit":0}"#,
            ),
            (
                "set_replica_schedule_limit",
                json!({"limit": 64, "ttl_seconds": null}),
                r#"POST /config/schedule {"replica-schedule-limit":64}"#,
            ),
            (
                "set_low_space_threshold",
                json!({"used_percent": 85}),
                r#"POST /config/schedule {"low-space-ratio":0.85}"#,
            ),
            (
                "cancel_operator",
                json!({"region_id": 18}),
                "DELETE /operators/18",
            ),
            ("resign_pd_leader", json!({}), "POST /leader/resign"),
            (
                "transfer_pd_leader",
                json!({"name": "pd 1/.."}),
                "POST /leader/transfer/pd%201%2F..",
            ),
        ] {
            assert_eq!(line(action, params), expected);
        }
    }

    #[test]
    fn invalid_parameters_are_rejected() {
        for (action, params) in [
            ("nothing", json!({})),
            ("transfer_leader", json!({})),
            ("transfer_leader", json!({"region_id": 0, "to_store_id": 1})),
            (
                "transfer_leader",
                json!({"region_id": "14", "to_store_id": 1}),
            ),
            (
                "transfer_leader",
                json!({"region_id": u64::MAX, "to_store_id": 1}),
            ),
            (
                "transfer_leader",
                json!({"region_id": 1, "to_store_id": 1, "more": 1}),
            ),
            (
                "transfer_peer",
                json!({"region_id": 1, "from_store_id": 1, "to_store_id": 1}),
            ),
            ("split_region", json!({"region_id": 1, "policy": "half"})),
            ("split_region", json!({"region_id": 1, "policy": "usekey"})),
            (
                "split_region",
                json!({"region_id": 1, "policy": "scan", "key": "74"}),
            ),
            (
                "split_region",
                json!({"region_id": 1, "policy": "usekey", "key": "7"}),
            ),
            (
                "split_region",
                json!({"region_id": 1, "policy": "usekey", "key": "7g"}),
            ),
            (
                "merge_region",
                json!({"source_region_id": 1, "target_region_id": 1}),
            ),
            (
                "set_store_limit",
                json!({"store_id": 1, "type": "add-peer", "rate": 0}),
            ),
            (
                "set_store_limit",
                json!({"store_id": 1, "type": "both", "rate": 1}),
            ),
            ("pause_scheduler", json!({"name": "all", "seconds": 300})),
            (
                "pause_scheduler",
                json!({"name": "balance-leader-scheduler/..", "seconds": 300}),
            ),
            (
                "pause_scheduler",
                json!({"name": "balance-leader-scheduler", "seconds": 3_601}),
            ),
            (
                "pause_scheduler",
                json!({"name": "balance-leader-scheduler", "seconds": 30.5}),
            ),
            ("set_leader_schedule_limit", json!({"limit": -1})),
            (
                "set_leader_schedule_limit",
                json!({"limit": 1, "ttl_seconds": 9}),
            ),
            ("set_low_space_threshold", json!({"used_percent": 100})),
            ("resign_pd_leader", json!({"name": "pd0"})),
            ("transfer_pd_leader", json!({"name": ""})),
        ] {
            let refused = Action::parse(&call(action, params.clone())).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Invalid, "{action} {params}");
        }
        let faults = Action::parse(&call(
            "transfer_leader",
            json!({"region_id": 0, "to_store_id": 0}),
        ))
        .unwrap_err();
        assert!(
            faults.message.contains("`region_id`") && faults.message.contains("`to_store_id`"),
            "{faults}"
        );
    }
}
