//! Judging an observation: no I/O, no clock, no memory. What is missing or impossible is unknown, never healthy.

mod leaders;
mod metrics;
mod pd;
mod regions;
mod schedulers;
mod standing;
mod stores;

#[cfg(test)]
mod laws;
#[cfg(test)]
pub(crate) mod samples;

use std::collections::{BTreeMap, BTreeSet};

use operator_plugin_api::{CheckReport, Severity, Unknown, Violation};
use serde_json::Value;

use crate::{
    observation::{Data, Store},
    thresholds::Thresholds,
};

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

/// Of one invariant, this many resources are reported one by one, and the rest as one.
const MAX_RESOURCES: usize = 50;

/// Judges every invariant.
pub(crate) fn check(data: &Data, thresholds: &Thresholds) -> CheckReport {
    let mut findings = Findings::default();
    pd::check(data, &mut findings);
    stores::check(data, thresholds, &mut findings);
    metrics::check(data, thresholds, &mut findings);
    regions::check(data, &mut findings);
    leaders::check(data, thresholds, &mut findings);
    schedulers::check(data, thresholds, &mut findings);
    findings.report()
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(CheckReport);

impl Findings {
    fn violate(
        &mut self,
        invariant: &str,
        resource: Option<String>,
        message: String,
        evidence: Value,
    ) {
        self.0.violations.push(Violation {
            invariant: invariant.into(),
            resource,
            severity: None,
            message,
            evidence,
        });
    }

    /// Of the violation that was told last.
    fn severity(&mut self, severity: Severity) {
        if let Some(last) = self.0.violations.last_mut() {
            last.severity = Some(severity);
        }
    }

    fn unknown(&mut self, invariant: &str, resource: Option<String>, reason: impl Into<String>) {
        self.0.unknown.push(Unknown {
            invariant: invariant.into(),
            resource,
            reason: reason.into(),
        });
    }

    /// At most one entry for each invariant and resource, and not too many of them.
    fn report(self) -> CheckReport {
        let mut known = BTreeSet::new();
        let mut report = self.0;
        report
            .violations
            .retain(|v| known.insert((v.invariant.clone(), v.resource.clone())));
        report
            .unknown
            .retain(|u| known.insert((u.invariant.clone(), u.resource.clone())));
        shorten_violations(&mut report.violations);
        shorten_unknown(&mut report.unknown);
        report
    }
}

fn shorten_violations(violations: &mut Vec<Violation>) {
    for (invariant, left_out) in shorten(violations, |v| (&v.invariant, v.resource.is_some())) {
        violations.push(Violation {
            message: format!("{left_out} more stores break `{invariant}`"),
            evidence: serde_json::json!({"more": left_out}),
            invariant,
            resource: None,
            severity: None,
        });
    }
}

fn shorten_unknown(unknown: &mut Vec<Unknown>) {
    for (invariant, left_out) in shorten(unknown, |u| (&u.invariant, u.resource.is_some())) {
        unknown.push(Unknown {
            reason: format!("it is unknown of {left_out} more"),
            invariant,
            resource: None,
        });
    }
}

/// Drops what is beyond the first so many resources of each invariant, and says how many that were.
fn shorten<T>(entries: &mut Vec<T>, of: fn(&T) -> (&String, bool)) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    entries.retain(|entry| {
        let (invariant, has_resource) = of(entry);
        let count = counts.entry(invariant.clone()).or_default();
        *count += usize::from(has_resource);
        !has_resource || *count <= MAX_RESOURCES
    });
    counts.retain(|_, count| *count > MAX_RESOURCES);
    counts
        .into_iter()
        .map(|(invariant, count)| (invariant, count - MAX_RESOURCES))
        .collect()
}

/// A store as a resource: stable for as long as it exists.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the field that it fills is optional"
)]
fn resource(id: u64) -> Option<String> {
    Some(format!("store-{id}"))
}

/// A store for people: `store 4 (tikv1:20160)`.
fn named(store: &Store) -> String {
    match &store.address {
        Some(address) => format!("store {} ({address})", store.id),
        None => format!("store {}", store.id),
    }
}

/// Milliseconds in words: `44 s`, `31 min`, `5 h`.
fn in_words(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_stores_are_told_as_fifty_and_the_rest() {
        let mut findings = Findings::default();
        for id in 0..1_000 {
            findings.violate(names::STORE_DOWN, resource(id), String::new(), Value::Null);
            findings.unknown(names::HIGH_LATENCY, resource(id), "");
            findings.unknown(names::HIGH_LATENCY, resource(id), "twice");
        }
        let report = findings.report();
        assert_eq!((report.violations.len(), report.unknown.len()), (51, 51));
        let rest = report.violations.last().unwrap();
        assert_eq!(
            (rest.resource.as_ref(), rest.message.as_str()),
            (None, "950 more stores break `store_down`")
        );
    }

    #[test]
    fn times_are_told_in_words() {
        assert_eq!(
            [0, 119_999, 120_000, 7_199_999, 7_200_000].map(in_words),
            ["0 s", "119 s", "2 min", "119 min", "2 h"]
        );
    }
}
