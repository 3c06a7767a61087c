//! From what a cycle found to what changes on the tickets. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use operator_model::{
    EventKind, OPERATOR, Ticket, TicketChange, TicketEvent, TicketId, TicketKey, TicketState,
    Timestamp,
};
use operator_plugin_api::{Severity, UnknownKind};
use serde_json::Value;

use super::{
    flap,
    keys::of_invariant,
    listed::{Listed, Listing},
};

/// How often a standing violation's message and evidence are written again.
pub const REFRESH: Duration = Duration::from_secs(10);

/// How the names of the host's own invariants begin. No plugin declares such a name.
const OWN_PREFIX: &str = "operator.";

/// How an invariant is treated, with the configuration's overrides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Severity of a violation that names none.
    pub severity: Severity,
    /// Whether `severity` comes from the configuration, and so overrides a violation's own.
    pub severity_overridden: bool,
    /// How long a violation must last before its ticket opens.
    pub grace_period: Duration,
    /// How long the invariant must hold again before its ticket resolves.
    pub keep_firing_for: Duration,
    /// The kind of the resources that it is judged on, where an observation lists them.
    pub on: Option<String>,
    /// Whether it is judged at all.
    pub enabled: bool,
}

/// One violation, as a ticket records it.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// One sentence with the numbers.
    pub message: String,
    /// The numbers themselves.
    pub evidence: Value,
}

/// Why something is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// In a sentence.
    pub text: String,
    /// Whether it should be known.
    pub kind: UnknownKind,
}

impl Reason {
    /// It should be known.
    pub fn missing(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            kind: UnknownKind::Missing,
        }
    }
}

/// The verdicts of one cycle. What it did not judge is unknown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdicts {
    /// What is broken.
    pub findings: BTreeMap<TicketKey, Finding>,
    /// What could not be evaluated, and why. A key without a resource stands for all resources.
    pub unknown: BTreeMap<TicketKey, Reason>,
    /// What nothing judges any more, and why: its ticket is resolved.
    pub retired: BTreeMap<TicketKey, String>,
    /// The resources that were looked at, for invariants that are declared on their kind.
    pub listed: Listed,
    /// Names of the invariants that were judged in this cycle.
    pub judged: BTreeSet<String>,
    /// Whether these are all the invariants that there are.
    pub is_whole: bool,
}

/// The verdict of one cycle on one ticket.
enum Verdict<'a> {
    Violated(&'a Finding),
    Holds,
    Unknown,
    /// Nothing judges it any more, for this reason.
    Retired(&'a str),
    /// An invariant of the operator's own that this version does not know: a newer daemon on the same database judges it.
    Foreign,
}

impl Verdicts {
    fn of(&self, key: &TicketKey, policies: &BTreeMap<String, Policy>) -> Verdict<'_> {
        match policies.get(&key.invariant) {
            Some(policy) if !policy.enabled => {
                return Verdict::Retired("the configuration disables this invariant");
            }
            None if key.invariant.starts_with(OWN_PREFIX) => return Verdict::Foreign,
            None if self.is_whole => {
                return Verdict::Retired("the plugin no longer declares this invariant");
            }
            _ => {}
        }
        if let Some(why) = self.retired.get(key) {
            return Verdict::Retired(why);
        }
        if let Some(finding) = self.findings.get(key) {
            return Verdict::Violated(finding);
        }
        let is_unknown = self.is_unknown(key) || !self.judged.contains(&key.invariant);
        let on = policies.get(&key.invariant).and_then(|p| p.on.as_deref());
        if is_unknown || on.is_some_and(|kind| self.is_unlisted(kind, key)) {
            Verdict::Unknown
        } else {
            Verdict::Holds
        }
    }

    /// Whether nobody looked at the resource, or it is gone: nothing is known to hold on it.
    fn is_unlisted(&self, kind: &str, key: &TicketKey) -> bool {
        let resource = key.resource.as_deref();
        resource.is_some_and(|name| self.listed.find(kind, name) != Listing::Present)
    }

    /// What is unknown of the whole is unknown of each resource, and the other way round.
    fn is_unknown(&self, key: &TicketKey) -> bool {
        let whole = TicketKey::new(&key.invariant, None);
        self.unknown.contains_key(key)
            || self.unknown.contains_key(&whole)
            || key.resource.is_none()
                && of_invariant(&self.unknown, &key.invariant).next().is_some()
    }
}

/// What `reconcile` needs in addition to the verdicts.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Name of the subject.
    pub subject: &'a str,
    /// By invariant name, the host's own included.
    pub policies: &'a BTreeMap<String, Policy>,
    /// A resolved ticket whose fault returns within this time is reopened.
    pub reopen_within: Duration,
}

impl<'a> Rules<'a> {
    /// None for an invariant that has no policy: it is unknown.
    fn step(&self, key: &TicketKey, now: Timestamp) -> Option<Step<'a>> {
        let policy = self.policies.get(&key.invariant)?;
        Some(Step { now, policy })
    }
}

/// What must change on a subject's tickets, given all its live ones and those resolved within the reopen window.
///
/// Unknown changes no state: it neither opens nor resolves. A held ticket never resolves.
pub fn reconcile(
    tickets: &[Ticket],
    verdicts: &Verdicts,
    rules: Rules<'_>,
    now: Timestamp,
) -> Vec<TicketChange> {
    let live: BTreeMap<&TicketKey, &Ticket> = tickets
        .iter()
        .filter(|ticket| ticket.is_live())
        .map(|ticket| (&ticket.key, ticket))
        .collect();
    let mut changes: Vec<TicketChange> = live
        .values()
        .filter_map(|ticket| match verdicts.of(&ticket.key, rules.policies) {
            Verdict::Foreign => None,
            Verdict::Unknown => stop_the_clock(ticket),
            Verdict::Retired(why) => retire(ticket, why, now),
            Verdict::Violated(finding) => rules.step(&ticket.key, now)?.violated(ticket, finding),
            Verdict::Holds => rules.step(&ticket.key, now)?.holds(ticket),
        })
        .collect();
    let fresh = verdicts
        .findings
        .iter()
        .filter(|(key, _)| !live.contains_key(key));
    changes.extend(fresh.filter_map(|(key, finding)| {
        let policy = rules.policies.get(&key.invariant).filter(|p| p.enabled)?;
        let earlier = latest_resolved(tickets, key, now.minus(rules.reopen_within));
        let step = Step { now, policy };
        Some(step.begin(rules.subject, key, finding, earlier))
    }));
    changes
}

fn latest_resolved<'a>(
    tickets: &'a [Ticket],
    key: &TicketKey,
    since: Timestamp,
) -> Option<&'a Ticket> {
    tickets
        .iter()
        .filter(|ticket| !ticket.is_live() && &ticket.key == key)
        .filter(|ticket| ticket.resolved_at.is_some_and(|at| at >= since))
        .max_by_key(|ticket| ticket.resolved_at)
}

/// A ticket that nothing judges any more is over, unless a person holds it.
fn retire(ticket: &Ticket, why: &str, now: Timestamp) -> Option<TicketChange> {
    if ticket.held.is_some() {
        return None;
    }
    if ticket.state == TicketState::Pending && ticket.resolved_at.is_none() {
        return Some(TicketChange::Drop(ticket.id));
    }
    let mut next = ticket.clone();
    let mut events = Vec::new();
    resolve(&mut next, &mut events, why, now);
    Some(put(next, events))
}

/// Time in which nothing is known does not count as time in which the invariant held.
fn stop_the_clock(ticket: &Ticket) -> Option<TicketChange> {
    ticket.holding_since?;
    let next = Ticket {
        holding_since: None,
        ..ticket.clone()
    };
    Some(put(next, Vec::new()))
}

/// One step of one ticket.
struct Step<'a> {
    now: Timestamp,
    policy: &'a Policy,
}

impl Step<'_> {
    /// A violation without a live ticket: a new ticket, or the earlier one again.
    fn begin(
        &self,
        subject: &str,
        key: &TicketKey,
        finding: &Finding,
        earlier: Option<&Ticket>,
    ) -> TicketChange {
        let mut ticket = match earlier {
            Some(earlier) => Ticket {
                acknowledged: None,
                holding_since: None,
                ..earlier.clone()
            },
            None => self.blank(subject, key),
        };
        ticket.state = TicketState::Pending;
        ticket.violated_since = self.now;
        self.describe(&mut ticket, finding);
        let mut events = vec![self.event(EventKind::Seen, &finding.message)];
        if self.policy.grace_period.is_zero() {
            self.open(&mut ticket, &mut events);
        }
        put(ticket, events)
    }

    fn blank(&self, subject: &str, key: &TicketKey) -> Ticket {
        Ticket {
            id: TicketId(0),
            subject: subject.to_owned(),
            key: key.clone(),
            severity: self.policy.severity,
            state: TicketState::Pending,
            message: String::new(),
            evidence: Value::Null,
            first_seen: self.now,
            violated_since: self.now,
            last_seen: self.now,
            opened_at: None,
            holding_since: None,
            resolved_at: None,
            occurrences: 0,
            acknowledged: None,
            held: None,
            flapping: false,
            transitions: Vec::new(),
        }
    }

    fn violated(&self, ticket: &Ticket, finding: &Finding) -> Option<TicketChange> {
        let mut next = ticket.clone();
        let mut events = Vec::new();
        self.describe(&mut next, finding);
        if next.severity != ticket.severity && ticket.state != TicketState::Pending {
            let note = format!("{} -> {}", ticket.severity.as_str(), next.severity.as_str());
            events.push(self.event(EventKind::SeverityChanged, &note));
        }
        match ticket.state {
            TicketState::Pending
                if ticket.violated_since.until(self.now) >= self.policy.grace_period =>
            {
                self.open(&mut next, &mut events);
            }
            TicketState::Recovering => {
                next.state = TicketState::Open;
                next.holding_since = None;
                if !ticket.flapping {
                    events.push(self.event(EventKind::Relapsed, &finding.message));
                }
                self.transition(&mut next, &mut events);
            }
            _ => self.calm_down(&mut next, &mut events),
        }
        let stale = ticket.last_seen.until(self.now) >= REFRESH;
        let changed = next.state != ticket.state || !events.is_empty();
        (stale || changed).then(|| put(next, events))
    }

    fn holds(&self, ticket: &Ticket) -> Option<TicketChange> {
        let mut next = ticket.clone();
        let mut events = Vec::new();
        match ticket.state {
            TicketState::Pending if ticket.resolved_at.is_none() => {
                return Some(TicketChange::Drop(ticket.id));
            }
            TicketState::Pending => {
                next.state = TicketState::Resolved;
                events.push(self.event(EventKind::Resolved, "gone within its grace period"));
            }
            TicketState::Open => {
                next.state = TicketState::Recovering;
                next.holding_since = Some(self.now);
                self.transition(&mut next, &mut events);
                if !self.resolve_if_due(&mut next, &mut events) && !ticket.flapping {
                    events.insert(0, self.event(EventKind::Recovering, "holds again"));
                }
            }
            TicketState::Recovering if ticket.holding_since.is_none() => {
                next.holding_since = Some(self.now);
                return Some(put(next, events));
            }
            TicketState::Recovering => {
                self.resolve_if_due(&mut next, &mut events);
            }
            TicketState::Resolved => {}
        }
        (next.state != ticket.state || !events.is_empty()).then(|| put(next, events))
    }

    fn open(&self, ticket: &mut Ticket, events: &mut Vec<TicketEvent>) {
        let kind = match ticket.occurrences {
            0 => EventKind::Opened,
            _ => EventKind::Reopened,
        };
        ticket.state = TicketState::Open;
        ticket.opened_at = Some(self.now);
        ticket.resolved_at = None;
        ticket.occurrences += 1;
        events.push(self.event(kind, &ticket.message));
        self.transition(ticket, events);
    }

    fn resolve_if_due(&self, ticket: &mut Ticket, events: &mut Vec<TicketEvent>) -> bool {
        let keep = if ticket.flapping {
            self.policy.keep_firing_for.max(flap::CALM)
        } else {
            self.policy.keep_firing_for
        };
        let held_for = ticket.holding_since.map(|since| since.until(self.now));
        let due = ticket.held.is_none() && held_for.is_some_and(|held_for| held_for >= keep);
        if due {
            resolve(ticket, events, "the invariant holds again", self.now);
        }
        due
    }

    fn transition(&self, ticket: &mut Ticket, events: &mut Vec<TicketEvent>) {
        flap::record(&mut ticket.transitions, self.now);
        if !ticket.flapping && flap::is_flapping(&ticket.transitions, self.now) {
            ticket.flapping = true;
            let note = "comes and goes; it resolves once it has been calm";
            events.push(self.event(EventKind::FlappingStarted, note));
        }
    }

    fn calm_down(&self, ticket: &mut Ticket, events: &mut Vec<TicketEvent>) {
        if ticket.flapping && flap::is_calm(&ticket.transitions, self.now) {
            ticket.flapping = false;
            events.push(self.event(EventKind::FlappingStopped, "broken all the time now"));
        }
    }

    fn describe(&self, ticket: &mut Ticket, finding: &Finding) {
        ticket.severity = finding.severity;
        ticket.message.clone_from(&finding.message);
        ticket.evidence.clone_from(&finding.evidence);
        ticket.last_seen = self.now;
    }

    fn event(&self, kind: EventKind, note: &str) -> TicketEvent {
        event(self.now, kind, note)
    }
}

fn resolve(ticket: &mut Ticket, events: &mut Vec<TicketEvent>, why: &str, now: Timestamp) {
    if ticket.flapping {
        ticket.flapping = false;
        events.push(event(now, EventKind::FlappingStopped, "calm again"));
    }
    ticket.state = TicketState::Resolved;
    ticket.resolved_at = Some(now);
    ticket.held = None;
    events.push(event(now, EventKind::Resolved, why));
}

fn event(at: Timestamp, kind: EventKind, note: &str) -> TicketEvent {
    TicketEvent {
        at,
        kind,
        actor: OPERATOR.to_owned(),
        note: note.to_owned(),
    }
}

fn put(ticket: Ticket, events: Vec<TicketEvent>) -> TicketChange {
    TicketChange::Put {
        ticket: Box::new(ticket),
        events,
    }
}
