//! Fake backends, processes and checks for a plugin's own tests. Everything here panics where a test must fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

pub mod definitions;
pub mod fake;
pub mod golden;
pub mod process;
pub mod properties;

use operator_plugin_api::CheckReport;

/// A report as sorted lines of the form `invariant resource verdict`, such as `node_down node-2 violated`. The resource is
/// `*` for the subject as a whole; a severity that a violation overrides follows its verdict.
pub fn verdicts(report: &CheckReport) -> Vec<String> {
    let whole = |resource: &Option<String>| resource.clone().unwrap_or_else(|| "*".into());
    let violated = report.violations.iter().map(|v| {
        let severity = v.severity.map(|severity| format!(" {}", severity.as_str()));
        let severity = severity.unwrap_or_default();
        format!("{} {} violated{severity}", v.invariant, whole(&v.resource))
    });
    let unknown = report.unknown.iter();
    let unknown = unknown.map(|u| format!("{} {} unknown", u.invariant, whole(&u.resource)));
    let mut verdicts: Vec<_> = violated.chain(unknown).collect();
    verdicts.sort();
    verdicts
}
