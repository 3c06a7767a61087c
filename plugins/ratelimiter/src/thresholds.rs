//! The numbers beyond which an invariant is violated, as they are configured and as they are part of an observation.

use operator_plugin_kit::Faults;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Beyond which the invariants are violated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// `high_latency`: the p99 of checks must not exceed this. Milliseconds.
    #[schemars(range(min = 0.1, max = 60_000.0))]
    pub latency_p99_ms: f64,
    /// `high_block_rate`: of all checks, at most this share may be blocked. Percent.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub block_rate_percent: f64,
    /// `counter_drift`: Redis and the nodes may differ by this share of the larger count. Percent.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub counter_drift_percent: f64,
    /// `counter_drift`: a smaller difference than this never counts, so that 1 against 2 is not a drift of 50 %.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub counter_drift_floor: u64,
    /// `checks_failing`: of the checks of one node, at most this share may fail. Percent.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub failed_checks_percent: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            latency_p99_ms: 50.0,
            block_rate_percent: 50.0,
            counter_drift_percent: 10.0,
            counter_drift_floor: 10,
            failed_checks_percent: 5.0,
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
            "thresholds.block_rate_percent",
            self.block_rate_percent,
            0.0..=100.0,
        );
        faults.within(
            "thresholds.counter_drift_percent",
            self.counter_drift_percent,
            0.0..=100.0,
        );
        faults.within(
            "thresholds.counter_drift_floor",
            self.counter_drift_floor,
            1..=1_000_000,
        );
        faults.within(
            "thresholds.failed_checks_percent",
            self.failed_checks_percent,
            0.0..=100.0,
        );
    }
}

/// The thresholds in force when an observation was made. `check` judges by these alone, so that an observation gets the same
/// report from every instance. One that is absent makes its invariant unknown: a default could hide a violation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedThresholds {
    /// See [`Thresholds::latency_p99_ms`].
    pub latency_p99_ms: Option<f64>,
    /// See [`Thresholds::block_rate_percent`].
    pub block_rate_percent: Option<f64>,
    /// See [`Thresholds::counter_drift_percent`].
    pub counter_drift_percent: Option<f64>,
    /// See [`Thresholds::counter_drift_floor`].
    pub counter_drift_floor: Option<u64>,
    /// See [`Thresholds::failed_checks_percent`].
    pub failed_checks_percent: Option<f64>,
}

impl From<Thresholds> for ObservedThresholds {
    fn from(thresholds: Thresholds) -> Self {
        Self {
            latency_p99_ms: Some(thresholds.latency_p99_ms),
            block_rate_percent: Some(thresholds.block_rate_percent),
            counter_drift_percent: Some(thresholds.counter_drift_percent),
            counter_drift_floor: Some(thresholds.counter_drift_floor),
            failed_checks_percent: Some(thresholds.failed_checks_percent),
        }
    }
}
