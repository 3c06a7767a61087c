//! What people decided about acting, and what the gate judges by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Execution, Mark, ProposalId, ProposalState, Ticket, Timestamp};

/// Every subject.
pub const ALL_SUBJECTS: &str = "*";

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

/// What people decided while the operator ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// Who engaged the kill switch; absent while it is not.
    pub kill_switch: Option<Mark>,
    /// How often it was engaged.
    pub engagements: i64,
    /// By subject; [`ALL_SUBJECTS`] for all that are not named.
    pub modes: BTreeMap<String, (Mode, Mark)>,
}

impl Control {
    /// The mode of a subject, given what its configuration says.
    pub fn mode(&self, subject: &str, configured: Mode) -> Mode {
        if self.kill_switch.is_some() {
            return Mode::Observe;
        }
        self.chosen(subject).map_or(configured, |(mode, _)| *mode)
    }

    /// What a person chose for a subject.
    pub fn chosen(&self, subject: &str) -> Option<&(Mode, Mark)> {
        self.modes
            .get(subject)
            .or_else(|| self.modes.get(ALL_SUBJECTS))
    }
}

/// What the gate judges by, read in the transaction in which its judgement takes effect.
#[derive(Debug, Clone, PartialEq)]
pub struct GateView {
    /// What people decided.
    pub control: Control,
    /// The proposal's ticket as it is now; absent when it has none, or it is no longer kept.
    pub ticket: Option<Ticket>,
    /// The live tickets of the subject.
    pub live: Vec<Ticket>,
    /// What is being executed on the subject.
    pub busy: Vec<ProposalId>,
    /// The subject's calls of actions that began since the asked time, oldest first.
    pub recent: Vec<Execution>,
    /// The state of the proposal that this one follows, and when that ended.
    pub follows: Option<(ProposalState, Option<Timestamp>)>,
}
