//! The conformance suite: judges a plugin that its operator did not write.
//!
//! Three processes stand between the suite and a plugin's faults. The suite starts one process for each case
//! ([`case_main`]); that process decides, and never runs code of the plugin; the plugin runs in a worker below it, as it
//! does in the daemon. So a plugin can end its own worker, and at worst its own case, and it cannot write a verdict: the
//! case's process sends its result over a socket that the worker does not have.

mod backends;
mod case;
mod case_process;
mod cases;
mod context;
mod golden;
mod process;
mod process_pool;
mod protocol;
mod random;
mod report;
mod samples;
mod suite;
mod verdict;
mod worker;

pub use case_process::case_main;
pub use report::{CaseReport, Report};
pub use suite::{Listed, Options, SuiteError, listed, run};
pub use verdict::Status;
