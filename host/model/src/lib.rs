//! The nouns of the operator, without any I/O.

mod assessment;
pub mod audit;
mod clock;
mod control;
mod execution;
mod isolation;
mod loops;
mod nearest;
mod plan;
mod property;
mod proposal;
mod retention;
mod rules;
mod ruling;
mod sandbox;
mod schema;
mod secrets;
mod text;
mod ticket;
mod time;
mod window;

pub use assessment::Assessment;
pub use audit::{AuditBreak, AuditEntry, AuditEvent, AuditHead, ChainCheck, Record, hex};
pub use clock::{MachineClock, TOLERANCE_MS, slept_ms};
pub use control::{ALL_SUBJECTS, Control, GateView, Mode};
pub use execution::{Execution, ExecutionEnd};
pub use isolation::{Deadlines, Isolation};
pub use loops::{DaemonStatus, LoopError, LoopState, LoopStatus, TurnResult, loop_id};
pub use nearest::{nearest, suggestion};
pub use plan::{OnFailure, Plan, PlanStep, When};
pub use property::Property;
pub use proposal::{
    Approval, Lease, Proof, Proposal, ProposalId, ProposalParts, ProposalState, TicketView,
    Transition, WrongState,
};
pub use retention::Retention;
pub use rules::{ActionOverride, ActionRules, Approve, Workflow, matches as pattern_matches};
pub use ruling::{Consequence, HeldBack, Rule, RuleRefusal, Ruling};
pub use sandbox::{Lack, Sandbox};
pub use schema::{check_schema, check_schema_with, schema_validator};
pub use secrets::{
    DatabaseSecrets, Secrets, is_secret_at, masked, shown_database, sqlite_path, without_secrets,
};
pub use text::{bounded, visible, visible_json, without_invisible};
pub use ticket::{
    EventKind, Mark, OPERATOR, Ticket, TicketChange, TicketEvent, TicketId, TicketKey, TicketState,
};
pub use time::{Timestamp, millis};
pub use window::MaintenanceWindow;
