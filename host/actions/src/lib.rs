//! The one way to a subject's actions: a plan is proven valid, approved, and then carried out call by call. Every call passes
//! the gate, in the transaction that records it; later assessments of the subject prove whether it helped.

mod call;
mod crash;
mod engine;
mod executor;
mod flow;
mod gate;
mod proof;
mod undo;

pub use call::{Begun, give_up};
pub use engine::{Engine, TICK as ENGINE_PERIOD, compensate};
pub use executor::{ActError, ActionContext, Shutdown};
pub use gate::{
    GateError, NewProposal, approve, cancel, propose, propose_invalid, refuse, rulings, settle,
};
pub use operator_policy::{
    CallFault, Consequence, Registry, RuleRefusal, Ruling, ValidCall, ValidPlan, memory,
    needs_a_person, tools,
};
