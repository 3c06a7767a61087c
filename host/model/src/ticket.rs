//! Tickets: what the operator knows of one broken invariant on one resource.

use std::fmt;

use operator_plugin_api::Severity;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Timestamp, bounded};

/// Identifies a ticket for people and in the store; given in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TicketId(pub i64);

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where a ticket is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketState {
    /// Broken, but not yet for as long as its grace period; not announced.
    Pending,
    /// Broken.
    Open,
    /// Holding again, but not yet for long enough to be believed.
    Recovering,
    /// Over.
    Resolved,
}

impl TicketState {
    /// The name in the store, in documents and in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Open => "open",
            Self::Recovering => "recovering",
            Self::Resolved => "resolved",
        }
    }
}

/// What a ticket is about. At most one live ticket has a given subject and key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TicketKey {
    /// Name of an invariant of the plugin, or one of the host's own, which begin with `operator.`.
    pub invariant: String,
    /// What it is broken on; absent when it is the subject as a whole.
    pub resource: Option<String>,
}

impl TicketKey {
    /// A key for a resource, or for the subject as a whole.
    pub fn new(invariant: &str, resource: Option<&str>) -> Self {
        Self {
            invariant: invariant.to_owned(),
            resource: resource.map(str::to_owned),
        }
    }
}

impl fmt::Display for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Some(resource) => write!(f, "{} {resource}", self.invariant),
            None => f.write_str(&self.invariant),
        }
    }
}

/// Who decided something, when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in the person's words; may be empty.
    pub note: String,
}

/// Longer notes are cut. Characters.
const LONGEST_NOTE: usize = 4_000;

impl Mark {
    /// A mark that is made now.
    pub fn now(by: &str, note: &str) -> Self {
        Self {
            by: by.to_owned(),
            at: Timestamp::now(),
            note: bounded(note, LONGEST_NOTE),
        }
    }
}

/// One ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// Given by the store; `TicketId(0)` before it has been stored.
    pub id: TicketId,
    /// Name of the subject in the configuration.
    pub subject: String,
    /// What it is about.
    #[serde(flatten)]
    pub key: TicketKey,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is in its life.
    pub state: TicketState,
    /// One sentence with the latest numbers.
    pub message: String,
    /// The latest numbers themselves.
    pub evidence: Value,
    /// When this ticket's fault was first seen, over all its occurrences.
    pub first_seen: Timestamp,
    /// When the present (or last) occurrence began; the grace period counts from here.
    pub violated_since: Timestamp,
    /// When it was last seen broken, to within the monitor's refresh interval.
    pub last_seen: Timestamp,
    /// When the present (or last) occurrence opened.
    pub opened_at: Option<Timestamp>,
    /// Since when the invariant holds again.
    pub holding_since: Option<Timestamp>,
    /// When it was last resolved.
    pub resolved_at: Option<Timestamp>,
    /// How often it has opened.
    pub occurrences: u32,
    /// A person is working on it.
    pub acknowledged: Option<Mark>,
    /// It never resolves on its own.
    pub held: Option<Mark>,
    /// It comes and goes faster than people can follow.
    pub flapping: bool,
    /// The latest moments at which it opened or began to hold, oldest first; for telling flapping.
    pub transitions: Vec<Timestamp>,
}

impl Ticket {
    /// Moves every time of it by so many milliseconds, as the clock was.
    pub fn move_times(&mut self, by_ms: i64) {
        let past = [
            &mut self.first_seen,
            &mut self.violated_since,
            &mut self.last_seen,
        ];
        let maybe = [
            &mut self.opened_at,
            &mut self.holding_since,
            &mut self.resolved_at,
        ];
        let all = past.into_iter().chain(maybe.into_iter().flatten());
        for at in all.chain(&mut self.transitions) {
            at.0 = at.0.saturating_add(by_ms);
        }
    }

    /// Whether it is anything but resolved.
    pub fn is_live(&self) -> bool {
        self.state != TicketState::Resolved
    }
}

/// What happened to a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// First seen; its grace period runs.
    Seen,
    /// Its grace period is over.
    Opened,
    /// Open again within the reopen window.
    Reopened,
    /// The invariant holds again.
    Recovering,
    /// Broken again before it was resolved.
    Relapsed,
    /// Over.
    Resolved,
    /// The severity changed.
    SeverityChanged,
    /// It began to flap.
    FlappingStarted,
    /// It is calm again.
    FlappingStopped,
    /// A person is working on it.
    Acknowledged,
    /// A person forbade that it resolves on its own.
    Held,
    /// A person allowed it again.
    Unheld,
    /// An action did not help, or it is not known what it did: a person must inspect the subject.
    Escalated,
}

impl EventKind {
    /// The name in the store, in documents and in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Opened => "opened",
            Self::Reopened => "reopened",
            Self::Recovering => "recovering",
            Self::Relapsed => "relapsed",
            Self::Resolved => "resolved",
            Self::SeverityChanged => "severity_changed",
            Self::FlappingStarted => "flapping_started",
            Self::FlappingStopped => "flapping_stopped",
            Self::Acknowledged => "acknowledged",
            Self::Held => "held",
            Self::Unheld => "unheld",
            Self::Escalated => "escalated",
        }
    }
}

/// One line of a ticket's story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Who did it: `operator`, or a person.
    pub actor: String,
    /// The message of that moment, or the person's words.
    pub note: String,
}

/// The actor of everything that the operator does by itself.
pub const OPERATOR: &str = "operator";

/// One change of a subject's tickets.
#[derive(Debug, Clone, PartialEq)]
pub enum TicketChange {
    /// A ticket as it is from now on, and what happened to it. New when its id is 0.
    Put {
        /// The whole ticket.
        ticket: Box<Ticket>,
        /// May be empty: only the numbers were refreshed.
        events: Vec<TicketEvent>,
    },
    /// A pending ticket whose violation went away within its grace period.
    Drop(TicketId),
}
