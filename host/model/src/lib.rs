//! The nouns of the operator, without any I/O.

mod assessment;
mod audit;
mod control;
mod isolation;
mod loops;
mod nearest;
mod property;
mod proposal;
mod retention;
mod rules;
mod sandbox;
mod secrets;
mod text;
mod ticket;
mod time;
mod window;

pub use assessment::Assessment;
pub use audit::{AuditBreak, AuditEntry, AuditHead, ChainCheck, Record, hex};
pub use control::{ALL_SUBJECTS, Control, GateView};
pub use isolation::{Deadlines, Isolation};
pub use loops::{DaemonStatus, LoopError, LoopState, LoopStatus, TurnResult, loop_id};
pub use nearest::{nearest, suggestion};
pub use property::Property;
pub use proposal::{
    Approval, Execution, ExecutionEnd, Mode, OnFailure, Plan, PlanStep, Proof, Proposal,
    ProposalId, ProposalState, TicketView, Transition, When,
};
pub use retention::Retention;
pub use rules::{ActionOverride, ActionRules, Approve, Workflow, matches as pattern_matches};
pub use sandbox::{Lack, Sandbox};
pub use secrets::{Secrets, is_secret_at, masked, shown_database, without_secrets};
pub use text::bounded;
pub use ticket::{
    EventKind, Mark, OPERATOR, Ticket, TicketChange, TicketEvent, TicketId, TicketKey, TicketState,
};
pub use time::{Timestamp, millis};
pub use window::MaintenanceWindow;
