//! Judging a plugin that anyone wrote.
//!
//! Three processes stand between the suite and a plugin's faults. The suite starts one process for each case
//! ([`case_main`]); that one decides, and never runs code of the plugin; the plugin runs in a worker below it, as it does
//! in the daemon. So a plugin can end its own worker, and at worst its own case, and it cannot write a verdict: what the
//! case's process says comes over a socket that the worker does not have.

mod backends;
mod bench;
mod case;
mod cases;
mod child;
mod golden;
mod judge;
mod lab;
mod order;
mod process;
mod random;
mod report;
mod samples;
mod suite;
mod verdict;

pub use judge::case_main;
pub use report::{CaseReport, Report};
pub use suite::{Listed, Options, SuiteError, listed, run};
pub use verdict::Status;
