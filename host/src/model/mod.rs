//! The nouns of the operator, without any I/O.

mod audit;
mod look;
mod proposal;
mod retention;
mod text;
mod ticket;
mod time;

pub use audit::{AuditBreak, AuditEntry, AuditHead, ChainCheck, Record, hex};
pub use look::Look;
pub use proposal::{
    Approval, Execution, ExecutionEnd, Happening, Mode, OnFailure, Plan, PlanStep, Proof, Proposal,
    ProposalId, ProposalState, TicketView, When,
};
pub use retention::Retention;
pub use text::bounded;
pub use ticket::{
    EventKind, Mark, OPERATOR, Ticket, TicketChange, TicketEvent, TicketId, TicketKey, TicketState,
};
pub use time::{Timestamp, millis};
