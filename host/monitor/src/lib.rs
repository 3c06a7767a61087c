//! Watches subjects and keeps their tickets. Gets an `Observer` of each.
//!
//! It cannot act: an `Invoker` is made with a value of `operator-policy`, on which this crate does not depend.
//!
//! ```compile_fail,E0433
//! fn invoker(observer: &operator_loader::Observer) -> operator_loader::Invoker {
//!     operator_loader::Invoker::new(observer, operator_policy::Acting)
//! }
//! ```

mod flap;
mod hub;
mod keys;
mod ledger;
mod limit;
mod listed;
mod lost;
mod plugin_memory;
mod reconcile;
mod settle;
mod stalls;
mod verdicts;
mod watch;

pub use hub::{Event, Hub, Status};
pub use ledger::SharedLedger;
pub use listed::Listed;
pub use lost::open_lost_ticket;
pub use reconcile::{Finding, Policy, REFRESH, Reason, Rules, Verdicts, reconcile};
pub use stalls::StallTickets;
pub use verdicts::{
    ACTION_UNSETTLED, CycleOutcome, INVARIANT_UNKNOWN, LOOP_STALLED, OWN, PLUGIN_FAILING,
    STORE_LOST, Seen, TOO_MANY_VIOLATIONS, Tally, UNOBSERVABLE, is_own, left_behind, policies,
    tally, verdicts,
};
pub use watch::{Connect, Starting, Watch, chain};

#[cfg(test)]
mod tests;
