//! Judging an observation: no I/O, no clock, no memory. What is missing is unknown, never healthy.

mod counters;
mod failing;
mod nodes;
mod rates;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod samples;

use operator_plugin_api::CheckReport;
use operator_plugin_kit::Findings;

use crate::observation::Data;

pub(crate) use counters::suspicion;

/// The names of the invariants.
pub(crate) mod names {
    pub(crate) const NODE_DOWN: &str = "node_down";
    pub(crate) const REDIS_DISCONNECTED: &str = "redis_disconnected";
    pub(crate) const CHECKS_FAILING: &str = "checks_failing";
    pub(crate) const HIGH_LATENCY: &str = "high_latency";
    pub(crate) const COUNTER_DRIFT: &str = "counter_drift";
    pub(crate) const GHOST_ALLOWING: &str = "ghost_allowing";
    pub(crate) const HIGH_BLOCK_RATE: &str = "high_block_rate";
    pub(crate) const OVER_LIMIT: &str = "over_limit";
}

/// Judges every invariant.
pub(crate) fn check(data: &Data) -> CheckReport {
    let mut findings = Findings::default();
    nodes::node_down(data, &mut findings);
    nodes::redis_disconnected(data, &mut findings);
    failing::check(data, &mut findings);
    rates::high_latency(data, &mut findings);
    rates::high_block_rate(data, &mut findings);
    counters::check(data, &mut findings);
    findings.report()
}
