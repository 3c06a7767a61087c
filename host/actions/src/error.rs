//! Why a proposal was not changed, or not carried out.

use operator_loader::CallError;
use operator_model::{ProposalId, ProposalState, RuleRefusal, WrongState};
use operator_policy::CallFault;
use operator_store::{AlreadyUndone, StoreError};
use operator_subject::SubjectError;

/// Why a proposal was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// A rule refused.
    #[error("proposal {id}: {refusal}")]
    ByRule {
        /// Which proposal.
        id: ProposalId,
        /// The rule.
        refusal: RuleRefusal,
        /// Whether this process was carrying it out, and it has failed by this.
        fails: bool,
    },
    /// It is not in a state in which this can happen.
    #[error("proposal {id} is {state}: {what}")]
    State {
        /// Which proposal.
        id: ProposalId,
        /// Its state.
        state: ProposalState,
        /// What is not possible.
        what: &'static str,
    },
    /// It is not as the caller saw it.
    #[error("proposal {id}: {what}")]
    Other {
        /// Which proposal.
        id: ProposalId,
        /// Why not.
        what: String,
    },
}

/// Explains a refused transition.
pub(super) fn wrong_state(
    id: ProposalId,
    what: &'static str,
) -> impl FnOnce(WrongState) -> GateError {
    move |refused| GateError::State {
        id,
        state: refused.state,
        what,
    }
}

/// Why something could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The gate refused.
    #[error(transparent)]
    Refused(#[from] GateError),
    /// The calls do not fit the plugin as it is now.
    #[error(transparent)]
    Fault(#[from] CallFault),
    /// Another proposal undoes the same one already.
    #[error(transparent)]
    AlreadyUndone(#[from] AlreadyUndone),
    /// The subject's plugin cannot be reached.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The subject's plugin is in quarantine.
    #[error("the plugin is quarantined: {0}")]
    Quarantined(String),
    /// The subject's plugin does not list its actions.
    #[error(transparent)]
    Plugin(#[from] CallError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A call was made, and how it ended could not be recorded.
    #[error("{what}; but this could not be recorded: {}", chain(cause))]
    Unrecorded {
        /// The call and its outcome.
        what: String,
        /// Why not.
        cause: StoreError,
    },
}

/// An error and its sources in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    let messages: Vec<_> = std::iter::once(error.to_string())
        .chain(sources.map(ToString::to_string))
        .collect();
    messages.join(": ")
}
