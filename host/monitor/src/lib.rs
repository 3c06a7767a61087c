//! Watches subjects and keeps their tickets. Gets an `Observer` of each, never an `Invoker`.

mod flap;
mod hub;
mod reconcile;
mod verdicts;
mod watch;

pub use hub::{Event, Hub, Status};
pub use reconcile::{Finding, Policy, REFRESH, Rules, Verdicts, reconcile};
pub use verdicts::{
    ACTION_UNSETTLED, CycleOutcome, INVARIANT_UNKNOWN, OWN, PLUGIN_FAILING, Tally, UNOBSERVABLE,
    is_own, left_behind, policies, tally, verdicts,
};
pub use watch::{Connect, Starting, Watch, chain};

#[cfg(test)]
mod tests;
