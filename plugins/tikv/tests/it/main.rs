//! The plugin against PD's recorded answers, against PDs that are broken in every way, and against a simulated cluster.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

mod actions;
mod broken;
mod cluster;
mod conformance;
mod observe;
mod scale;
mod simulated;
mod simulated_actions;
mod simulated_faults;
