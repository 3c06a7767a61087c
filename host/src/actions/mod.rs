//! The one way to a subject's actions: a plan is proven valid, approved, and then carried out call by call. Every call passes
//! the gate, in the transaction that records it; later looks at the subject prove whether it helped.

mod call;
mod crash;
mod engine;
mod executor;
mod flow;
mod gate;
mod plan;
mod policy;
mod proof;
mod registry;
mod tools;
mod undo;

pub use call::{Begun, give_up};
pub use engine::{Engine, compensate};
pub use executor::{ActError, Ending, Stage};
pub use gate::{Refused, Wish, approve, cancel, propose, propose_invalid, refuse, rulings, settle};
pub use plan::ValidPlan;
pub use policy::{Approved, Refusal, Ruling, Weight, memory, needs_a_person};
pub use registry::{CallFault, Registry, ValidCall};
pub use tools::tools;

#[cfg(test)]
mod testing;
