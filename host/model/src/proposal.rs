//! Proposals: what is to be done to a subject, and how far it has come.

mod approval;
mod life;
mod state;

use std::{fmt, ops::Deref};

use operator_plugin_api::Risk;
use serde::Serialize;

use super::{HeldBack, Mark, Plan, TicketId, TicketKey, Timestamp};

pub use approval::{Approval, TicketView};
pub use life::Lease;
pub use state::{ProposalState, Transition, WrongState};

/// Identifies a proposal for people and in the store; given in the order of creation.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ProposalId(pub i64);

impl fmt::Display for ProposalId {
    /// `@7`: tickets have the `#`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// What is known so far of whether a plan helped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Proof {
    /// What must hold.
    pub targets: Vec<TicketKey>,
    /// What was broken, or about to be, before it began; that it still is proves nothing against the plan.
    pub baseline: Vec<TicketKey>,
    /// How long all of it must hold. Milliseconds.
    pub window_ms: i64,
    /// If it is not verified by then, it has not helped.
    pub until: Timestamp,
    /// Since when all of it holds.
    pub holding_since: Option<Timestamp>,
    /// What was missing in the latest cycle; empty at first.
    pub missing: String,
    /// What was newly broken after it began, once that is certain; by the plan or by something else.
    pub broke: Vec<TicketKey>,
}

/// One proposal: reads like [`ProposalParts`], and changes only by the methods that keep its life cycle.
///
/// ```compile_fail,E0594
/// fn run(proposal: &mut operator_model::Proposal) {
///     proposal.state = operator_model::ProposalState::Executing;
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Proposal(ProposalParts);

/// All that is kept of one proposal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProposalParts {
    /// Given by the store; `ProposalId(0)` before it has been stored.
    pub id: ProposalId,
    /// Name of the subject.
    pub subject: String,
    /// The ticket that it is meant to fix.
    pub ticket: Option<TicketId>,
    /// The idempotency keys of its calls are derived from it.
    pub call_key: String,
    /// What is to be done.
    pub plan: Plan,
    /// The risk of its riskiest call.
    pub risk: Risk,
    /// Where it is in its life cycle.
    pub state: ProposalState,
    /// Who proposed it, when, and why.
    pub proposed: Mark,
    /// Its latest outcome, or why it was refused, in a sentence.
    pub note: String,
    /// It does not begin before this.
    pub not_before: Option<Timestamp>,
    /// It does not begin before this other one is over, and never if that one was not done.
    pub follows: Option<ProposalId>,
    /// The one that it undoes.
    pub undoes: Option<ProposalId>,
    /// The approval that it has, or had when it began.
    pub approval: Option<Approval>,
    /// The rule that keeps it from beginning for now.
    pub held_back: Option<HeldBack>,
    /// The next step to run, from 0.
    pub step: usize,
    /// How many calls of that step have been made.
    pub attempt: u32,
    /// The process that carries it out.
    pub owner: Option<String>,
    /// If that process has not renewed the lease by then, it is taken for dead.
    pub lease_until: Option<Timestamp>,
    /// When its first call was about to be made.
    pub begun_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// What is known of whether it helped.
    pub proof: Option<Proof>,
    /// It ended otherwise than its plan demands, after something may have been done; or it was to undo something, and did not.
    pub half_done: bool,
    /// A person has inspected what it left behind.
    pub settled: Option<Mark>,
}

impl Deref for Proposal {
    type Target = ProposalParts;

    fn deref(&self) -> &ProposalParts {
        &self.0
    }
}

/// A proposal that was kept, as the store reads it.
impl From<ProposalParts> for Proposal {
    fn from(kept: ProposalParts) -> Self {
        Self(kept)
    }
}

impl ProposalParts {
    /// Of a proposal to which nothing has happened yet, and that has no number.
    pub fn new(subject: &str, plan: Plan, risk: Risk, proposed: Mark) -> Self {
        Self {
            id: ProposalId(0),
            subject: subject.to_owned(),
            ticket: None,
            call_key: String::new(),
            plan,
            risk,
            state: ProposalState::Proposed,
            note: proposed.note.clone(),
            proposed,
            not_before: None,
            follows: None,
            undoes: None,
            approval: None,
            held_back: None,
            step: 0,
            attempt: 0,
            owner: None,
            lease_until: None,
            begun_at: None,
            ended_at: None,
            proof: None,
            half_done: false,
            settled: None,
        }
    }

    /// Whether a person must inspect what it left behind, and none has.
    pub fn is_unsettled(&self) -> bool {
        (self.state.needs_a_person() || self.half_done) && self.settled.is_none()
    }

    /// Whether later observations must still show that it helped.
    pub fn is_unproven(&self) -> bool {
        self.state == ProposalState::Completed && self.proof.is_some()
    }

    /// Whether its approval has expired. What follows another proposal is judged by when that one ends.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        let expires_at = self.approval.as_ref().map(|approval| approval.expires_at);
        expires_at.is_some_and(|at| at < now)
    }

    /// Whether it leaves something behind if it ends now: it has begun, or was to undo something.
    pub fn leaves_something(&self) -> bool {
        self.begun_at.is_some() || self.undoes.is_some()
    }

    /// The calls on one line: `restart node="a", wait for="10s"`.
    pub fn calls(&self) -> String {
        let calls: Vec<_> = self.plan.steps.iter().map(ToString::to_string).collect();
        calls.join(", ")
    }
}
