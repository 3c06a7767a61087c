//! From a cycle's outcome to verdicts, the host's own invariants included. Pure.

use std::{collections::BTreeMap, time::Duration};

use operator_config::{InvariantOverride, SubjectConfig};
use operator_model::{Proposal, Ticket, TicketKey, bounded};
use operator_plugin_api::{
    CheckReport, Descriptor, Resource, Severity, Unknown, UnknownKind, Violation,
};
use serde_json::Value;

use super::{
    keys::of_invariant,
    listed::{Listed, Listing},
    reconcile::{Finding, Policy, Reason, Verdicts},
};

/// The subject could not be observed at all.
pub const UNOBSERVABLE: &str = "operator.subject_unobservable";
/// The plugin crashed, hung or broke its contract.
pub const PLUGIN_FAILING: &str = "operator.plugin_failing";
/// An invariant has been unknown for too long; its resource is the invariant.
pub const INVARIANT_UNKNOWN: &str = "operator.invariant_unknown";

/// An action left something behind that no person has settled; its resource is the proposal.
pub const ACTION_UNSETTLED: &str = "operator.action_unsettled";
/// A loop of a daemon has not turned for too long; its resource is the loop and the daemon. No cycle judges it.
pub const LOOP_STALLED: &str = "operator.loop_stalled";

/// More is violated than a subject has tickets for.
pub const TOO_MANY_VIOLATIONS: &str = "operator.too_many_violations";

/// The store was lost, and another one took its place. No cycle judges it.
pub const STORE_LOST: &str = "operator.store_lost";

/// The host's own invariants: name, severity, and what a breach means.
pub const OWN: [(&str, Severity, &str); 7] = [
    (
        UNOBSERVABLE,
        Severity::Critical,
        "The subject can be observed. While it cannot, nothing is known and nothing resolves.",
    ),
    (
        PLUGIN_FAILING,
        Severity::Critical,
        "The plugin answers in time and keeps its contract. While it does not, nothing is known and nothing resolves.",
    ),
    (
        INVARIANT_UNKNOWN,
        Severity::Warning,
        "Every invariant can be evaluated. The resource is the invariant that cannot.",
    ),
    (
        ACTION_UNSETTLED,
        Severity::Critical,
        "The outcome of every action is known, and it helped. Otherwise a person must examine the subject, and record that with \
         `operator proposals settle`. The resource is the proposal.",
    ),
    (
        TOO_MANY_VIOLATIONS,
        Severity::Critical,
        "Every violation has a ticket. While more is violated than a subject may have tickets for, only the worst get one.",
    ),
    (
        LOOP_STALLED,
        Severity::Critical,
        "Every loop of the daemon turns; `operator status` lists them. The resource is the loop and its daemon. For loops that \
         serve all subjects, the subject is `operator`.",
    ),
    (
        STORE_LOST,
        Severity::Critical,
        "The database is the one that the daemon opened. When it is lost, a new one takes its place, without the audit and the \
         approvals, and with the kill switch engaged. Resolve the ticket once you know why.",
    ),
];

/// How one cycle went.
#[derive(Debug, Clone, PartialEq)]
pub enum CycleOutcome {
    /// Observed and judged.
    Judged(CheckReport),
    /// The plugin reports that the subject cannot be observed.
    Unobservable(String),
    /// The plugin itself failed.
    PluginFailing(String),
}

/// How every invariant of a subject is treated: what the plugin's author declares, overridden by the configuration.
pub fn policies(
    descriptor: Option<&Descriptor>,
    subject: &SubjectConfig,
) -> BTreeMap<String, Policy> {
    let declared = descriptor
        .into_iter()
        .flat_map(|d| &d.invariants)
        .map(|invariant| {
            let policy = Policy {
                severity: invariant.severity,
                severity_overridden: false,
                grace_period: Duration::from_millis(invariant.grace_period_ms),
                keep_firing_for: Duration::from_millis(invariant.keep_firing_for_ms),
                on: invariant.on.clone(),
                enabled: true,
            };
            (invariant.name.clone(), policy)
        });
    let own = OWN.map(|(name, severity, _)| {
        let grace_period = match name {
            UNOBSERVABLE => subject.unobservable_after,
            INVARIANT_UNKNOWN => subject.unknown_after,
            _ => Duration::ZERO,
        };
        let policy = Policy {
            severity,
            severity_overridden: false,
            grace_period,
            keep_firing_for: Duration::ZERO,
            on: None,
            enabled: true,
        };
        (name.to_owned(), policy)
    });
    declared
        .chain(own)
        .map(|(name, policy)| {
            let changed = match subject.invariants.get(&name) {
                Some(change) => overridden(&policy, change),
                None => policy,
            };
            (name, changed)
        })
        .collect()
}

fn overridden(policy: &Policy, change: &InvariantOverride) -> Policy {
    Policy {
        severity: change.severity.unwrap_or(policy.severity),
        severity_overridden: change.severity.is_some(),
        grace_period: change.grace_period.unwrap_or(policy.grace_period),
        keep_firing_for: change.keep_firing_for.unwrap_or(policy.keep_firing_for),
        on: policy.on.clone(),
        enabled: change.enabled.unwrap_or(policy.enabled),
    }
}

/// Which parts of the subject there are, as far as the observation and the tickets say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'a> {
    /// What the observation lists.
    pub resources: &'a [Resource],
    /// The subject's tickets; those that are over do not matter.
    pub tickets: &'a [Ticket],
}

/// The verdict of a cycle's outcome on every invariant.
pub fn verdicts(
    outcome: &CycleOutcome,
    seen: Seen<'_>,
    policies: &BTreeMap<String, Policy>,
) -> Verdicts {
    match outcome {
        CycleOutcome::Judged(report) => judged(report, seen, policies),
        CycleOutcome::Unobservable(why) => {
            let mut verdicts = Verdicts::default();
            verdicts
                .judged
                .extend([UNOBSERVABLE, PLUGIN_FAILING].map(str::to_owned));
            own_finding(
                &mut verdicts,
                TicketKey::new(UNOBSERVABLE, None),
                why.clone(),
                policies,
            );
            verdicts
        }
        // Without an observation it is unknown whether the subject could be observed.
        CycleOutcome::PluginFailing(why) => {
            let mut verdicts = Verdicts::default();
            verdicts.judged.insert(PLUGIN_FAILING.to_owned());
            own_finding(
                &mut verdicts,
                TicketKey::new(PLUGIN_FAILING, None),
                why.clone(),
                policies,
            );
            verdicts
        }
    }
}

/// Adds what actions have left behind, which is known whatever the cycle saw.
pub fn left_behind(
    verdicts: &mut Verdicts,
    unsettled: &[Proposal],
    policies: &BTreeMap<String, Policy>,
) {
    verdicts.judged.insert(ACTION_UNSETTLED.to_owned());
    for proposal in unsettled {
        let message = format!(
            "{} {} is {}: {}; when you have examined the subject: `operator proposals settle {}`",
            proposal.id,
            proposal.calls(),
            proposal.state.as_str(),
            proposal.note,
            proposal.id.0,
        );
        let key = TicketKey::new(ACTION_UNSETTLED, Some(&proposal.id.to_string()));
        own_finding(verdicts, key, message, policies);
    }
}

impl Verdicts {
    /// Whether the plugin failed or broke its contract.
    pub fn blames_plugin(&self) -> bool {
        self.findings
            .contains_key(&TicketKey::new(PLUGIN_FAILING, None))
    }
}

fn judged(report: &CheckReport, seen: Seen<'_>, policies: &BTreeMap<String, Policy>) -> Verdicts {
    let mut verdicts = Verdicts {
        judged: policies
            .keys()
            .filter(|name| *name != LOOP_STALLED)
            .cloned()
            .collect(),
        listed: Listed::new(seen.resources, |name| bounded(name, LONGEST_RESOURCE)),
        is_whole: true,
        ..Verdicts::default()
    };
    let declared = |name: &str| policies.get(name).filter(|_| !is_own(name));
    for violation in &report.violations {
        match declared(&violation.invariant) {
            Some(policy) => violated(&mut verdicts, violation, policy),
            None => undeclared(&mut verdicts, &violation.invariant, policies),
        }
    }
    for unknown in &report.unknown {
        match declared(&unknown.invariant) {
            Some(_) => not_known(&mut verdicts, unknown),
            None => undeclared(&mut verdicts, &unknown.invariant, policies),
        }
    }
    unlisted(&mut verdicts, seen.tickets, policies);
    for (name, _) in policies.iter().filter(|(_, policy)| policy.enabled) {
        if let Some(message) = unknown_message(&verdicts.unknown, name) {
            let own = TicketKey::new(INVARIANT_UNKNOWN, Some(name));
            own_finding(&mut verdicts, own, message, policies);
        }
    }
    verdicts
}

/// Of two violations of one key the worse counts.
fn violated(verdicts: &mut Verdicts, violation: &Violation, policy: &Policy) {
    let own = violation.severity.filter(|_| !policy.severity_overridden);
    let finding = Finding {
        severity: own.unwrap_or(policy.severity),
        message: bounded(&violation.message, LONGEST_MESSAGE),
        evidence: violation.evidence.clone(),
    };
    let key = key(&violation.invariant, violation.resource.as_deref());
    match verdicts.findings.get(&key) {
        Some(worse) if worse.severity >= finding.severity => {}
        _ => {
            verdicts.findings.insert(key, finding);
        }
    }
}

/// Of two reasons for one key the one that should warn somebody counts.
fn not_known(verdicts: &mut Verdicts, unknown: &Unknown) {
    let key = key(&unknown.invariant, unknown.resource.as_deref());
    let known = verdicts.unknown.get(&key);
    if known.is_none_or(|known| !known.kind.is_missing()) {
        let reason = Reason {
            text: bounded(&unknown.reason, LONGEST_MESSAGE),
            kind: unknown.kind,
        };
        verdicts.unknown.insert(key, reason);
    }
}

/// Live tickets on resources that the observation does not mention: of these nothing is known. Those on resources that are gone
/// are over, unless the plugin reports on them all the same.
fn unlisted(verdicts: &mut Verdicts, tickets: &[Ticket], policies: &BTreeMap<String, Policy>) {
    for ticket in tickets.iter().filter(|ticket| ticket.is_live()) {
        let key = &ticket.key;
        let on = policies.get(&key.invariant).and_then(|p| p.on.as_deref());
        let (Some(kind), Some(name)) = (on, key.resource.as_deref()) else {
            continue;
        };
        if verdicts.findings.contains_key(key) || verdicts.unknown.contains_key(key) {
            continue;
        }
        match verdicts.listed.find(kind, name) {
            Listing::Present => {}
            Listing::Gone(why) => {
                let why = format!("the {kind} is gone: {}", bounded(why, LONGEST_MESSAGE));
                verdicts.retired.insert(key.clone(), why);
            }
            Listing::Missing => {
                let why = format!(
                    "the {kind} has a ticket, and the observation does not mention it: nobody looked"
                );
                verdicts.unknown.insert(key.clone(), Reason::missing(why));
            }
        }
    }
}

/// The plugin breaks its contract. What else it reported counts all the same.
fn undeclared(verdicts: &mut Verdicts, name: &str, policies: &BTreeMap<String, Policy>) {
    let message = format!(
        "check reported on `{}`, which is not an invariant that the plugin declares; this is a defect of the plugin",
        bounded(name, LONGEST_RESOURCE)
    );
    own_finding(
        verdicts,
        TicketKey::new(PLUGIN_FAILING, None),
        message,
        policies,
    );
}

/// Why an invariant is unknown that should be known, in one sentence for all of its resources.
fn unknown_message(unknown: &BTreeMap<TicketKey, Reason>, invariant: &str) -> Option<String> {
    let mut of_it = of_invariant(unknown, invariant).filter(|(_, reason)| reason.kind.is_missing());
    let (key, reason) = of_it.next()?;
    let reason = &reason.text;
    Some(match (of_it.count(), &key.resource) {
        (_, None) => reason.clone(),
        (0, Some(resource)) => format!("{resource}: {reason}"),
        (others, Some(resource)) => format!("{resource} and {others} more: {reason}"),
    })
}

/// Longer messages are cut. Characters.
const LONGEST_MESSAGE: usize = 2_000;
/// Longer resources are cut. Characters.
const LONGEST_RESOURCE: usize = 500;

/// A key as tickets have it: an empty resource counts as none.
fn key(invariant: &str, resource: Option<&str>) -> TicketKey {
    let resource = resource.filter(|resource| !resource.is_empty());
    let resource = resource.map(|resource| bounded(resource, LONGEST_RESOURCE));
    TicketKey::new(invariant, resource.as_deref())
}

fn own_finding(
    verdicts: &mut Verdicts,
    key: TicketKey,
    message: String,
    policies: &BTreeMap<String, Policy>,
) {
    let severity = policies
        .get(&key.invariant)
        .map_or(Severity::Critical, |policy| policy.severity);
    let finding = Finding {
        severity,
        message: bounded(&message, LONGEST_MESSAGE),
        evidence: Value::Null,
    };
    verdicts.findings.insert(key, finding);
}

/// How many of the plugin's enabled invariants hold, are broken, and are unknown; and of how many nothing is to be known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Neither broken nor unknown.
    pub holding: usize,
    /// Broken on at least one resource.
    pub violated: usize,
    /// Not broken as far as is known, and unknown at least in part.
    pub unknown: usize,
    /// Nothing is missing, and this subject can never tell of at least a part.
    pub not_supported: usize,
    /// The same, and there is nothing to judge at present.
    pub not_applicable: usize,
}

impl Tally {
    /// Whether nothing is violated or missing, and something is known to hold where there is anything that could.
    pub fn is_healthy(&self) -> bool {
        let is_quiet = self.not_supported + self.not_applicable > 0;
        self.violated == 0 && self.unknown == 0 && (self.holding > 0 || !is_quiet)
    }
}

impl std::fmt::Display for Tally {
    /// `7 hold, 0 violated, 1 unknown, 2 not supported`; what nobody is to find out is left out where there is none of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            holding,
            violated,
            unknown,
            not_supported,
            not_applicable,
        } = self;
        write!(f, "{holding} hold, {violated} violated, {unknown} unknown")?;
        if *not_supported > 0 {
            write!(f, ", {not_supported} not supported")?;
        }
        if *not_applicable > 0 {
            write!(f, ", {not_applicable} not applicable")?;
        }
        Ok(())
    }
}

/// Counts invariants by what is known of them.
pub fn tally(verdicts: &Verdicts, policies: &BTreeMap<String, Policy>) -> Tally {
    let mut tally = Tally::default();
    let of_plugin = policies
        .iter()
        .filter(|(name, policy)| policy.enabled && !is_own(name));
    for (name, _) in of_plugin {
        let count = if of_invariant(&verdicts.findings, name).next().is_some() {
            &mut tally.violated
        } else if !verdicts.judged.contains(name) {
            &mut tally.unknown
        } else {
            match worst_unknown(verdicts, name) {
                Some(UnknownKind::Missing) => &mut tally.unknown,
                Some(UnknownKind::NotSupported) => &mut tally.not_supported,
                Some(UnknownKind::NotApplicable) => &mut tally.not_applicable,
                None => &mut tally.holding,
            }
        };
        *count += 1;
    }
    tally
}

/// Of all that is unknown of an invariant, the kind that matters most to people.
fn worst_unknown(verdicts: &Verdicts, invariant: &str) -> Option<UnknownKind> {
    of_invariant(&verdicts.unknown, invariant)
        .map(|(_, reason)| reason.kind)
        .min_by_key(|kind| match kind {
            UnknownKind::Missing => 0,
            UnknownKind::NotSupported => 1,
            UnknownKind::NotApplicable => 2,
        })
}

/// Whether an invariant is one of the host's own.
pub fn is_own(invariant: &str) -> bool {
    OWN.iter().any(|(name, ..)| *name == invariant)
}
