//! The numbers beyond which an invariant is broken. They travel in every observation, so that judging one needs
//! nothing else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Beyond which the invariants are broken.
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
    /// `counter_drift`: a smaller difference than this never counts, so that 1 against 2 is no drift of 50 %.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub counter_drift_floor: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            latency_p99_ms: 50.0,
            block_rate_percent: 50.0,
            counter_drift_percent: 10.0,
            counter_drift_floor: 10,
        }
    }
}

impl Thresholds {
    pub(crate) fn validate(&self, faults: &mut Vec<String>) {
        let numbers = [
            ("latency_p99_ms", self.latency_p99_ms, 0.1, 60_000.0),
            ("block_rate_percent", self.block_rate_percent, 0.0, 100.0),
            (
                "counter_drift_percent",
                self.counter_drift_percent,
                0.0,
                100.0,
            ),
        ];
        for (key, value, least, most) in numbers {
            // Written so that NaN is refused too.
            if !(least..=most).contains(&value) {
                faults.push(format!(
                    "`thresholds.{key}` must be from {least} to {most}, not {value}"
                ));
            }
        }
        if !(1..=1_000_000).contains(&self.counter_drift_floor) {
            faults.push(format!(
                "`thresholds.counter_drift_floor` must be from 1 to 1000000, not {}",
                self.counter_drift_floor
            ));
        }
    }
}
