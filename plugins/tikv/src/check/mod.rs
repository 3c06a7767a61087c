//! Judging an observation: no I/O, no clock, no memory. What is missing or impossible is unknown, never healthy.

mod leaders;
mod metrics;
mod pd;
mod regions;
mod schedulers;
mod store_health;
mod stores;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod samples;

use operator_plugin_api::CheckReport;
use operator_plugin_kit::Findings;

use crate::observation::{Data, Store};

pub(crate) use store_health::serving_stores;
pub(crate) use stores::disk_used_percent;

/// The names of the invariants.
pub(crate) mod names {
    pub(crate) const STORE_DOWN: &str = "store_down";
    pub(crate) const STORE_DISCONNECTED: &str = "store_disconnected";
    pub(crate) const STORE_OFFLINE: &str = "store_offline";
    pub(crate) const HIGH_LATENCY: &str = "high_latency";
    pub(crate) const LOW_DISK_SPACE: &str = "low_disk_space";
    pub(crate) const REGION_UNAVAILABLE: &str = "region_unavailable";
    pub(crate) const UNDER_REPLICATED: &str = "under_replicated";
    pub(crate) const RAFT_LOG_LAG: &str = "raft_log_lag";
    pub(crate) const LEADER_IMBALANCE: &str = "leader_imbalance";
    pub(crate) const PD_NO_LEADER: &str = "pd_no_leader";
    pub(crate) const PD_MEMBER_DOWN: &str = "pd_member_down";
    pub(crate) const PD_QUORUM_AT_RISK: &str = "pd_quorum_at_risk";
    pub(crate) const WRITE_STALL: &str = "write_stall";
    pub(crate) const SERVER_BUSY: &str = "server_busy";
    pub(crate) const SCHEDULER_PAUSED_TOO_LONG: &str = "scheduler_paused_too_long";
    pub(crate) const EVICT_LEADER_LEFT_BEHIND: &str = "evict_leader_left_behind";
}

/// Judges every invariant.
pub(crate) fn check(data: &Data) -> CheckReport {
    let mut findings = Findings::default();
    pd::check(data, &mut findings);
    stores::check(data, &mut findings);
    metrics::check(data, &mut findings);
    regions::check(data, &mut findings);
    leaders::check(data, &mut findings);
    schedulers::check(data, &mut findings);
    findings.report()
}

/// The kind of a store as a resource.
pub(crate) const STORE: &str = "store";

/// A store as a resource: stable for as long as it exists.
pub(crate) fn resource(id: u64) -> String {
    format!("store-{id}")
}

/// A store for people: `store 4 (tikv1:20160)`.
fn named(store: &Store) -> String {
    match &store.address {
        Some(address) => format!("store {} ({address})", store.id),
        None => format!("store {}", store.id),
    }
}

/// Milliseconds for people: `44 s`, `31 min`, `5 h`.
fn duration_text(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

/// The reason where the observation lacks a threshold.
fn no_threshold(name: &str) -> String {
    format!("the observation does not contain `thresholds.{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_down_to_a_readable_unit() {
        assert_eq!(
            [0, 119_999, 120_000, 7_199_999, 7_200_000].map(duration_text),
            ["0 s", "119 s", "2 min", "119 min", "2 h"]
        );
    }
}
