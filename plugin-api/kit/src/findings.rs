//! The violations and unknowns of one check, bounded in number.

use std::collections::{BTreeMap, BTreeSet};

use operator_plugin_api::{CheckReport, Unknown, Violation};
use serde_json::json;

/// How many resources of one invariant are reported one by one. The rest is reported as one, so that a fault of every
/// resource opens dozens of tickets and not thousands.
pub const MAX_RESOURCES: usize = 50;

/// The findings so far.
#[derive(Debug, Default)]
pub struct Findings(CheckReport);

impl Findings {
    /// Adds a violation.
    pub fn violation(&mut self, violation: Violation) {
        self.0.violations.push(violation);
    }

    /// Adds an unknown.
    pub fn unknown(&mut self, unknown: Unknown) {
        self.0.unknown.push(unknown);
    }

    /// Reports each of these invariants as unknown, for the same reason.
    pub fn all_unknown<'a>(&mut self, invariants: impl IntoIterator<Item = &'a str>, reason: &str) {
        for invariant in invariants {
            self.unknown(Unknown::new(invariant, reason));
        }
    }

    /// The report: at most one entry for each invariant and resource, the first of which counts, and at most
    /// [`MAX_RESOURCES`] resources of an invariant.
    pub fn report(self) -> CheckReport {
        let mut known = BTreeSet::new();
        let mut report = self.0;
        report
            .violations
            .retain(|v| known.insert((v.invariant.clone(), v.resource.clone())));
        report
            .unknown
            .retain(|u| known.insert((u.invariant.clone(), u.resource.clone())));
        for (invariant, beyond) in split_off(&mut report.violations) {
            let (count, first) = (beyond.len(), &beyond[0].message);
            let message = format!("{count} more resources violate it, for example: {first}");
            let rest = Violation::new(invariant, message).evidence(json!({"more": count}));
            report.violations.push(rest);
        }
        for (invariant, beyond) in split_off(&mut report.unknown) {
            let (count, first) = (beyond.len(), &beyond[0].reason);
            let reason = format!("{count} more resources are unknown, for example: {first}");
            report.unknown.push(Unknown::new(invariant, reason));
        }
        report
    }
}

trait Entry {
    fn invariant(&self) -> &str;
    fn resource(&self) -> Option<&str>;
}

impl Entry for Violation {
    fn invariant(&self) -> &str {
        &self.invariant
    }

    fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }
}

impl Entry for Unknown {
    fn invariant(&self) -> &str {
        &self.invariant
    }

    fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }
}

/// Takes out what is beyond the first resources of each invariant, in the order of their names: which of them are reported
/// one by one must not change from cycle to cycle.
fn split_off<E: Entry>(entries: &mut Vec<E>) -> BTreeMap<String, Vec<E>> {
    entries.sort_by(|a, b| (a.invariant(), a.resource()).cmp(&(b.invariant(), b.resource())));
    let mut kept = Vec::with_capacity(entries.len());
    let mut beyond: BTreeMap<String, Vec<E>> = BTreeMap::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries.drain(..) {
        let count = counts.entry(entry.invariant().to_owned()).or_default();
        *count += usize::from(entry.resource().is_some());
        if entry.resource().is_some() && *count > MAX_RESOURCES {
            let rest = beyond.entry(entry.invariant().to_owned()).or_default();
            rest.push(entry);
        } else {
            kept.push(entry);
        }
    }
    *entries = kept;
    beyond
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_resources_are_fifty_entries_and_one_for_the_rest() {
        let mut findings = Findings::default();
        for index in (0..1_000).rev() {
            let resource = format!("r{index:03}");
            findings.violation(Violation::new("broken", "b").resource(&resource));
            findings.unknown(Unknown::new("hidden", "h").resource(&resource));
        }
        let report = findings.report();
        assert_eq!((report.violations.len(), report.unknown.len()), (51, 51));
        assert_eq!(report.violations[0].resource.as_deref(), Some("r000"));
        let rest = &report.violations[50];
        let expected = "950 more resources violate it, for example: b";
        assert_eq!((&rest.resource, rest.message.as_str()), (&None, expected));
        assert!(
            report.unknown[50]
                .reason
                .starts_with("950 more resources are unknown")
        );
    }

    #[test]
    fn the_first_entry_of_a_resource_counts() {
        let mut findings = Findings::default();
        findings.unknown(Unknown::new("a", "it is unknown").resource("x"));
        findings.violation(Violation::new("a", "first").resource("x"));
        findings.violation(Violation::new("a", "second").resource("x"));
        findings.all_unknown(["b", "c"], "no source answered");
        let report = findings.report();
        assert_eq!(report.violations.len(), 1);
        assert_eq!(report.violations[0].message, "first");
        assert_eq!(report.unknown.len(), 2);
    }
}
