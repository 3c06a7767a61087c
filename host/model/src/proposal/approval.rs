//! Approvals: who agreed to a plan, and what the approval is bound to.

use operator_plugin_api::{ActionDefinition, Severity};
use serde::{Deserialize, Serialize};

use crate::{Mark, Ticket, TicketState, Timestamp};

/// The state of a ticket that an approval is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketView {
    /// The state that the ticket was in.
    pub state: TicketState,
    /// Its severity.
    pub severity: Severity,
    /// How often it had opened.
    pub occurrences: u32,
}

impl From<&Ticket> for TicketView {
    fn from(ticket: &Ticket) -> Self {
        Self {
            state: ticket.state,
            severity: ticket.severity,
            occurrences: ticket.occurrences,
        }
    }
}

/// An agreement to one plan, bound to one state of its ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Who, when, and in what words.
    #[serde(flatten)]
    pub mark: Mark,
    /// No person was asked: the rules require none.
    pub by_rule: bool,
    /// It is not valid after this.
    pub expires_at: Timestamp,
    /// SHA-256 of the subject, the calls, the definitions and the ticket that were approved.
    pub digest: String,
    /// The actions as they were then, and those that undo them; empty in what earlier versions wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub definitions: Vec<ActionDefinition>,
    /// The state of the ticket; absent when there is none.
    pub ticket: Option<TicketView>,
}
