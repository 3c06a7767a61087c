//! The one way to a subject's actions: a plan is checked, approved, and then carried out call by call. Every call passes the
//! rules of the gate in the transaction that records it; later cycles show whether it helped.
//!
//! The modules in the order in which a proposal meets them: `propose`, `decide`, `begin`, `call`, `finish` (with `flow`), all
//! of them driven by `execute`; then `prove` (with `proof`) and `compensate` (with `inverse`). `engine` is the daemon's loop.

mod begin;
mod call;
mod change;
mod compensate;
mod context;
mod crash;
mod decide;
mod engine;
mod error;
mod execute;
mod finish;
mod flow;
mod inverse;
mod proof;
mod propose;
mod prove;
#[cfg(test)]
mod tests;

pub use begin::Begun;
pub use compensate::compensate;
pub use context::{ActionContext, Shutdown};
pub use decide::{approve, cancel, refuse, rulings, settle};
pub use engine::{Engine, TICK as ENGINE_PERIOD};
pub use error::{ActError, GateError};
pub use finish::give_up;
pub use operator_model::{Consequence, RuleRefusal, Ruling};
pub use operator_policy::{
    CallFault, Registry, ValidCall, ValidPlan, changes, memory, needs_a_person, tools,
};
pub use propose::{NewProposal, Undone, propose, propose_invalid};
