//! The life cycle of a proposal: its states, and the one table of what may follow what.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a proposal is in its life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProposalState {
    /// Recorded; its calls are not checked yet.
    Proposed,
    /// Its calls exist and their parameters fit; it waits for an approval.
    Validated,
    /// It may run, as long as its approval is valid.
    Approved,
    /// It does not fit, or a person or a rule refused it for good.
    Rejected,
    /// A process carries it out.
    Executing,
    /// All of it was done; whether that helped is being verified.
    Completed,
    /// It had no effect, or what was done has been undone or left, as its plan demands.
    Failed,
    /// It may or may not have had an effect. Never retried automatically.
    OutcomeUnknown,
    /// A person, a rule or the kill switch ended it before it did anything more.
    Cancelled,
    /// Later observations have shown that it helped and broke nothing.
    Verified,
    /// Later observations have not shown that.
    NotVerified,
}

/// What can happen to a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// Its calls were checked and fit.
    Validated,
    /// A person agreed to it, or the rules require no person.
    Approved,
    /// It was refused for good.
    Rejected,
    /// Its approval is no longer valid.
    Lapsed,
    /// Its first call, or the first after it was postponed, is about to be made.
    Begun,
    /// A call failed in a way that another attempt can fix, and there will be one.
    Postponed,
    /// All of it was done.
    Completed,
    /// A call failed, and the plan ends.
    Failed,
    /// The effect of a call is not known.
    LostTrack,
    /// It was ended before it did anything more.
    Cancelled,
    /// It was shown to have helped.
    Verified,
    /// It was not.
    Refuted,
}

/// The life cycle: from which state, by what, to which state. Whatever is not here cannot happen.
const LIFE_CYCLE: [(ProposalState, Transition, ProposalState); 17] = {
    use ProposalState as S;
    use Transition as T;
    [
        (S::Proposed, T::Validated, S::Validated),
        (S::Proposed, T::Rejected, S::Rejected),
        (S::Proposed, T::Cancelled, S::Cancelled),
        (S::Validated, T::Approved, S::Approved),
        (S::Validated, T::Rejected, S::Rejected),
        (S::Validated, T::Cancelled, S::Cancelled),
        (S::Approved, T::Begun, S::Executing),
        (S::Approved, T::Lapsed, S::Validated),
        (S::Approved, T::Rejected, S::Rejected),
        (S::Approved, T::Cancelled, S::Cancelled),
        (S::Executing, T::Postponed, S::Approved),
        (S::Executing, T::Completed, S::Completed),
        (S::Executing, T::Failed, S::Failed),
        (S::Executing, T::LostTrack, S::OutcomeUnknown),
        (S::Executing, T::Cancelled, S::Cancelled),
        (S::Completed, T::Verified, S::Verified),
        (S::Completed, T::Refuted, S::NotVerified),
    ]
};

/// Why something did not happen to a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is {state}")]
pub struct WrongState {
    /// The state that does not allow it.
    pub state: ProposalState,
}

impl Transition {
    /// Every transition.
    pub const ALL: [Self; 12] = [
        Self::Validated,
        Self::Approved,
        Self::Rejected,
        Self::Lapsed,
        Self::Begun,
        Self::Postponed,
        Self::Completed,
        Self::Failed,
        Self::LostTrack,
        Self::Cancelled,
        Self::Verified,
        Self::Refuted,
    ];
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

    /// The state that follows; none when this cannot happen here.
    pub fn after(self, transition: Transition) -> Option<Self> {
        LIFE_CYCLE
            .into_iter()
            .find(|(from, by, _)| (*from, *by) == (self, transition))
            .map(|(_, _, to)| to)
    }

    /// Whether it has not begun and may still, or waits for another attempt.
    pub fn is_pending(self) -> bool {
        self.can_execute() && !self.is_executing()
    }

    /// Whether a process carries it out. Only then does it have an owner and a lease.
    pub fn is_executing(self) -> bool {
        self == Self::Executing
    }

    /// Whether calls are made, or will be without another decision.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Approved | Self::Executing)
    }

    /// Whether nothing will be called for it any more.
    pub fn is_over(self) -> bool {
        !self.can_execute()
    }

    /// Whether a person must inspect what it left behind.
    pub fn needs_a_person(self) -> bool {
        matches!(self, Self::OutcomeUnknown | Self::NotVerified)
    }

    /// Whether it is being executed, or some sequence of transitions leads there.
    fn can_execute(self) -> bool {
        matches!(
            self,
            Self::Proposed | Self::Validated | Self::Approved | Self::Executing
        )
    }
}

impl fmt::Display for ProposalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
