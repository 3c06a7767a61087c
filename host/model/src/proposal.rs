//! Proposals: what somebody wants done to a subject, and how far it has come.

use std::fmt;

use operator_plugin_api::{Outcome, Risk};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Mark, TicketId, TicketKey, Timestamp};

/// Identifies a proposal for people and in the store; given in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProposalId(pub i64);

impl fmt::Display for ProposalId {
    /// `@7`: tickets have the `#`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// Whether anything may be done to a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Proposals are recorded and shown; nothing runs.
    #[default]
    Observe,
    /// What passes the gate runs.
    Execute,
}

impl Mode {
    /// The name in the store, in documents and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Execute => "execute",
        }
    }
}

/// Where a proposal is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProposalState {
    /// Recorded, and not proven to fit.
    Proposed,
    /// Its calls exist and their parameters fit; it waits for an approval.
    Validated,
    /// It may run, as long as its approval counts.
    Approved,
    /// It does not fit, or a person or a rule refused it for good.
    Rejected,
    /// Somebody carries it out.
    Executing,
    /// All of it was done; whether that helped is being proven.
    Completed,
    /// It had no effect, or what was done has been compensated or left, as its plan says.
    Failed,
    /// It may or may not have had an effect. Never tried again by itself.
    OutcomeUnknown,
    /// A person, a rule or the kill switch ended it before it did anything more.
    Cancelled,
    /// Later observations have shown that it helped and broke nothing.
    Verified,
    /// They have not.
    NotVerified,
}

/// What can happen to a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// Its calls were proven to fit.
    Validated,
    /// A person, or a rule that asks nobody, agreed to it.
    Approved,
    /// It was refused for good.
    Rejected,
    /// Its approval does not count any more.
    Lapsed,
    /// Its first call, or that of another attempt, is about to be made.
    Begun,
    /// A call failed in a way that trying again can fix, and it will be tried again.
    Postponed,
    /// All of it was done.
    Completed,
    /// A call failed, and the plan ends.
    Failed,
    /// It is not known what a call did.
    LostTrack,
    /// It was ended before it did anything more.
    Cancelled,
    /// It was proven to have helped.
    Verified,
    /// It was not.
    Refuted,
}

impl ProposalState {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Proposed,
        Self::Validated,
        Self::Approved,
        Self::Rejected,
        Self::Executing,
        Self::Completed,
        Self::Failed,
        Self::OutcomeUnknown,
        Self::Cancelled,
        Self::Verified,
        Self::NotVerified,
    ];

    /// The name in the store, in documents and in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Validated => "validated",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Executing => "executing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Cancelled => "cancelled",
            Self::Verified => "verified",
            Self::NotVerified => "not_verified",
        }
    }

    /// The state that follows; none when this cannot happen here. The only definition of a proposal's life.
    pub fn after(self, transition: Transition) -> Option<Self> {
        use Transition as H;
        match (self, transition) {
            (Self::Proposed, H::Validated) | (Self::Approved, H::Lapsed) => Some(Self::Validated),
            (Self::Validated, H::Approved) | (Self::Executing, H::Postponed) => {
                Some(Self::Approved)
            }
            (Self::Proposed | Self::Validated | Self::Approved, H::Rejected) => {
                Some(Self::Rejected)
            }
            (Self::Proposed | Self::Validated | Self::Approved | Self::Executing, H::Cancelled) => {
                Some(Self::Cancelled)
            }
            (Self::Approved, H::Begun) => Some(Self::Executing),
            (Self::Executing, H::Completed) => Some(Self::Completed),
            (Self::Executing, H::Failed) => Some(Self::Failed),
            (Self::Executing, H::LostTrack) => Some(Self::OutcomeUnknown),
            (Self::Completed, H::Verified) => Some(Self::Verified),
            (Self::Completed, H::Refuted) => Some(Self::NotVerified),
            _ => None,
        }
    }

    /// Whether it has not begun and may still.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Proposed | Self::Validated | Self::Approved)
    }

    /// Whether a person must look at what it left behind.
    pub fn needs_a_person(self) -> bool {
        matches!(self, Self::OutcomeUnknown | Self::NotVerified)
    }
}

/// When a step runs, given how the step before it ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Only after one that was done, or as the first.
    #[default]
    Done,
    /// Only after one that failed.
    Failed,
    /// In either case.
    Always,
    /// Only after one that was done and whose details have this value at this JSON pointer.
    Detail {
        /// Such as `/healthy`.
        pointer: String,
        /// What must be there.
        is: Value,
    },
}

/// What a plan does when one of its steps fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Leaves what was done as it is.
    #[default]
    Stop,
    /// Takes back what was done, the last first.
    Compensate,
}

/// One call of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Name of an action of the subject, or of a tool of the operator's.
    pub action: String,
    /// With what; what is secret is masked.
    pub params: Map<String, Value>,
    /// When it runs.
    #[serde(default)]
    pub when: When,
}

/// What is to be done: one call, or a workflow of several that are approved as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Of the workflow, or of the only action.
    pub name: String,
    /// In their order; never empty.
    pub steps: Vec<PlanStep>,
    /// What follows a failure.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Whether a call has secret parameters: then only the process that was given them can run it.
    #[serde(default)]
    pub has_secrets: bool,
}

/// What an approval was given for, besides the calls themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketView {
    /// The state that the ticket was in.
    pub state: super::TicketState,
    /// How bad it was.
    pub severity: operator_plugin_api::Severity,
    /// How often it had opened.
    pub occurrences: u32,
}

impl From<&super::Ticket> for TicketView {
    fn from(ticket: &super::Ticket) -> Self {
        Self {
            state: ticket.state,
            severity: ticket.severity,
            occurrences: ticket.occurrences,
        }
    }
}

/// Somebody's yes to one plan, on one state of its ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who, when, and in what words.
    #[serde(flatten)]
    pub mark: Mark,
    /// Nobody was asked: the rules ask no person.
    pub by_rule: bool,
    /// It does not count after this.
    pub expires_at: Timestamp,
    /// SHA-256 of the subject, the calls and the ticket that it was given for.
    pub digest: String,
    /// What the ticket was like; absent when there is none.
    pub ticket: Option<TicketView>,
}

/// What is known so far of whether a plan helped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// What must hold.
    pub targets: Vec<TicketKey>,
    /// What was broken, or about to be, before it began; that it still is proves nothing against it.
    pub baseline: Vec<TicketKey>,
    /// How long all of it must hold. Milliseconds.
    pub window_ms: i64,
    /// If it has not been proven by then, it has not helped.
    pub until: Timestamp,
    /// Since when all of it holds.
    pub holding_since: Option<Timestamp>,
    /// What was missing at the last look; empty at first.
    pub missing: String,
    /// What it broke, once that is certain.
    pub broke: Vec<TicketKey>,
}

/// One proposal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Given by the store.
    pub id: ProposalId,
    /// Name of the subject.
    pub subject: String,
    /// The ticket that it is meant to fix.
    pub ticket: Option<TicketId>,
    /// From it come the idempotency keys of its calls.
    pub call_key: String,
    /// What is to be done.
    pub plan: Plan,
    /// That of its riskiest call.
    pub risk: Risk,
    /// Where it is in its life.
    pub state: ProposalState,
    /// Who proposed it, when, and why.
    pub proposed: Mark,
    /// How it stands, in a sentence: the latest outcome, or why it was refused.
    pub note: String,
    /// It does not begin before this.
    pub not_before: Option<Timestamp>,
    /// It does not begin before this other one is over, and never if that one was not done.
    pub follows: Option<ProposalId>,
    /// The one that it takes back.
    pub undoes: Option<ProposalId>,
    /// The yes that it has, or had when it began.
    pub approval: Option<Approval>,
    /// The rule that keeps it from beginning for now.
    pub held_back: Option<String>,
    /// The next step to take.
    pub step: usize,
    /// How many calls of that step have been made.
    pub attempt: u32,
    /// The process that carries it out.
    pub owner: Option<String>,
    /// If that process has not said by then that it lives, it does not.
    pub lease_until: Option<Timestamp>,
    /// When its first call was about to be made.
    pub begun_at: Option<Timestamp>,
    /// When its last call had ended.
    pub ended_at: Option<Timestamp>,
    /// What is known of whether it helped.
    pub proof: Option<Proof>,
    /// It ended otherwise than its plan says, after something may have been done; or it was to take something back, and did not.
    pub half_done: bool,
    /// A person has looked at what it left behind.
    pub settled: Option<Mark>,
}

impl Proposal {
    /// One that nothing has happened to yet, and that has no number.
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

    /// Whether a person must look at what it left behind, and none has.
    pub fn is_unsettled(&self) -> bool {
        (self.state.needs_a_person() || self.half_done) && self.settled.is_none()
    }

    /// The calls on one line: `restart node="a", wait for="10s"`.
    pub fn calls(&self) -> String {
        let calls: Vec<_> = self.plan.steps.iter().map(ToString::to_string).collect();
        calls.join(", ")
    }
}

impl fmt::Display for PlanStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.action)?;
        for (name, value) in &self.params {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

/// One call of an action or a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Execution {
    /// Unique.
    pub id: String,
    /// What it belongs to.
    pub proposal: ProposalId,
    /// Which step of it.
    pub step: usize,
    /// From 1.
    pub attempt: u32,
    /// Name of the subject.
    pub subject: String,
    /// Name of the action or tool.
    pub action: String,
    /// Its parameters, without secrets.
    pub params: Value,
    /// What it touches.
    pub resources: Vec<String>,
    /// Whether it is a tool of the operator's own, which touches nothing.
    pub is_tool: bool,
    /// When it was about to be made.
    pub begun_at: Timestamp,
    /// How it ended; absent while it runs.
    pub end: Option<ExecutionEnd>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExecutionEnd {
    /// When.
    pub at: Timestamp,
    /// What is known of the effect.
    pub outcome: Outcome,
    /// One sentence.
    pub message: String,
    /// What the subject answered.
    pub details: Value,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRANSITIONS: [Transition; 12] = [
        Transition::Validated,
        Transition::Approved,
        Transition::Rejected,
        Transition::Lapsed,
        Transition::Begun,
        Transition::Postponed,
        Transition::Completed,
        Transition::Failed,
        Transition::LostTrack,
        Transition::Cancelled,
        Transition::Verified,
        Transition::Refuted,
    ];

    proptest! {
        /// Told without looking at the table: what must have happened before a state can be reached.
        #[test]
        fn no_sequence_of_happenings_executes_without_an_approval(
            happenings in prop::collection::vec(prop::sample::select(TRANSITIONS.to_vec()), 0..40)
        ) {
            let mut state = ProposalState::Proposed;
            let (mut is_valid, mut is_approved, mut has_begun, mut is_over) = (false, false, false, false);
            for transition in happenings {
                let Some(next) = state.after(transition) else { continue };
                prop_assert!(!is_over, "{state:?} is an end, and {transition:?} happened");
                match transition {
                    Transition::Validated => is_valid = true,
                    Transition::Approved => { prop_assert!(is_valid); is_approved = true; }
                    Transition::Lapsed => { prop_assert!(is_approved); is_approved = false; }
                    Transition::Begun => { prop_assert!(is_approved); has_begun = true; }
                    Transition::Completed | Transition::Failed | Transition::LostTrack | Transition::Postponed => {
                        prop_assert!(has_begun && is_approved);
                    }
                    Transition::Verified | Transition::Refuted => prop_assert_eq!(state, ProposalState::Completed),
                    Transition::Rejected | Transition::Cancelled => {}
                }
                state = next;
                prop_assert!(state != ProposalState::Executing || (is_valid && is_approved));
                is_over = TRANSITIONS.iter().all(|transition| state.after(*transition).is_none());
            }
        }
    }

    #[test]
    fn what_was_executed_is_never_executed_again() {
        let mut reached = vec![ProposalState::Completed, ProposalState::Failed];
        reached.extend([
            ProposalState::OutcomeUnknown,
            ProposalState::Cancelled,
            ProposalState::Rejected,
        ]);
        while let Some(state) = reached.pop() {
            assert_ne!(state, ProposalState::Executing);
            reached.extend(
                TRANSITIONS
                    .iter()
                    .filter_map(|transition| state.after(*transition)),
            );
        }
    }

    #[test]
    fn a_state_has_one_name() {
        for state in ProposalState::ALL {
            assert_eq!(serde_json::json!(state), state.as_str());
        }
    }
}
