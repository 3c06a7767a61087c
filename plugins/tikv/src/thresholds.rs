//! The numbers beyond which an invariant is violated, as they are configured and as they are part of an observation.

use operator_plugin_kit::Faults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Beyond which the invariants are violated. The defaults follow the official alert rules where those can fire.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// `high_latency`: the p99 of a store's gRPC requests must not exceed this. Milliseconds.
    #[schemars(range(min = 0.1, max = 60_000.0))]
    pub latency_p99_ms: f64,
    /// `low_disk_space`, critical: at least this share of a store's capacity must be available. Percent.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub disk_available_percent: f64,
    /// `low_disk_space`, warning: at most this share of a store's capacity may be used, by any program. Percent.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub disk_used_percent: f64,
    /// `raft_log_lag`: the p99 of how far a store's followers lie behind must not exceed this. Entries.
    #[schemars(range(min = 1.0, max = 1_000_000_000.0))]
    pub raft_log_lag_entries: f64,
    /// `leader_imbalance`: a store's leader score may differ from the mean by at most this. Percent.
    #[schemars(range(min = 1.0, max = 1_000.0))]
    pub leader_imbalance_percent: f64,
    /// `leader_imbalance`: a smaller difference from the mean than this never counts. Leaders.
    #[schemars(range(min = 1.0, max = 1_000_000.0))]
    pub leader_imbalance_floor: f64,
    /// `scheduler_paused_too_long`: how long a scheduler may be paused. Seconds.
    #[schemars(range(min = 1, max = 604_800))]
    pub scheduler_paused_s: u64,
    /// `evict_leader_left_behind`: how long an evict-leader scheduler may hold a store. Seconds.
    #[schemars(range(min = 1, max = 604_800))]
    pub evict_leader_s: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            latency_p99_ms: 100.0,
            disk_available_percent: 20.0,
            disk_used_percent: 70.0,
            raft_log_lag_entries: 5_000.0,
            leader_imbalance_percent: 50.0,
            leader_imbalance_floor: 10.0,
            scheduler_paused_s: 1_800,
            evict_leader_s: 1_800,
        }
    }
}

impl Thresholds {
    pub(crate) fn validate(&self, faults: &mut Faults) {
        faults.within(
            "thresholds.latency_p99_ms",
            self.latency_p99_ms,
            0.1..=60_000.0,
        );
        faults.within(
            "thresholds.disk_available_percent",
            self.disk_available_percent,
            0.0..=100.0,
        );
        faults.within(
            "thresholds.disk_used_percent",
            self.disk_used_percent,
            0.0..=100.0,
        );
        faults.within(
            "thresholds.raft_log_lag_entries",
            self.raft_log_lag_entries,
            1.0..=1e9,
        );
        faults.within(
            "thresholds.leader_imbalance_percent",
            self.leader_imbalance_percent,
            1.0..=1_000.0,
        );
        faults.within(
            "thresholds.leader_imbalance_floor",
            self.leader_imbalance_floor,
            1.0..=1e6,
        );
        faults.within(
            "thresholds.scheduler_paused_s",
            self.scheduler_paused_s,
            1..=604_800,
        );
        faults.within(
            "thresholds.evict_leader_s",
            self.evict_leader_s,
            1..=604_800,
        );
    }
}

/// The thresholds in force when an observation was made. `check` judges by these alone, so that an observation gets the same
/// report from every instance. One that is absent makes its invariant unknown: a default could hide a violation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedThresholds {
    /// See [`Thresholds::latency_p99_ms`].
    pub latency_p99_ms: Option<f64>,
    /// See [`Thresholds::disk_available_percent`].
    pub disk_available_percent: Option<f64>,
    /// See [`Thresholds::disk_used_percent`].
    pub disk_used_percent: Option<f64>,
    /// See [`Thresholds::raft_log_lag_entries`].
    pub raft_log_lag_entries: Option<f64>,
    /// See [`Thresholds::leader_imbalance_percent`].
    pub leader_imbalance_percent: Option<f64>,
    /// See [`Thresholds::leader_imbalance_floor`].
    pub leader_imbalance_floor: Option<f64>,
    /// See [`Thresholds::scheduler_paused_s`].
    pub scheduler_paused_s: Option<u64>,
    /// See [`Thresholds::evict_leader_s`].
    pub evict_leader_s: Option<u64>,
}

impl From<Thresholds> for ObservedThresholds {
    fn from(thresholds: Thresholds) -> Self {
        Self {
            latency_p99_ms: Some(thresholds.latency_p99_ms),
            disk_available_percent: Some(thresholds.disk_available_percent),
            disk_used_percent: Some(thresholds.disk_used_percent),
            raft_log_lag_entries: Some(thresholds.raft_log_lag_entries),
            leader_imbalance_percent: Some(thresholds.leader_imbalance_percent),
            leader_imbalance_floor: Some(thresholds.leader_imbalance_floor),
            scheduler_paused_s: Some(thresholds.scheduler_paused_s),
            evict_leader_s: Some(thresholds.evict_leader_s),
        }
    }
}
