//! The rules of the gate. Pure: a plan is proven to fit the plugin's actions, every rule is asked about it, and only an agreement
//! of all of them makes the [`Approved`] without which nothing can be invoked.
//!
//! Only `operator-loader`, whose `Invoker` demands an `Approved`, and `operator-actions`, which asks the rules in the transaction
//! that records the call, depend on this crate; a test of the workspace keeps it so.

mod changes;
mod plan;
mod registry;
mod rules;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tools;

pub use changes::changes;
pub use plan::ValidPlan;
pub use registry::{CallFault, Registry, ValidCall};
pub use rules::{Approved, Case, approval_by, may_undo, memory, needs_a_person, permit, rulings};
pub use tools::{LOG_MESSAGE, OBSERVE_NOW, WAIT, tools, wait};

/// What an `Invoker` is made with. Only a crate that depends on this one can name it.
#[derive(Debug, Clone, Copy)]
pub struct Acting;
