//! The cases, a file for each group.

mod actions;
mod check;
mod concurrency;
mod config;
mod configurations;
mod describe;
mod fuzz;
mod invoke;
mod lifecycle;
mod load;
mod observe;
mod resources;
mod robustness;
mod sandbox;
mod secrets;
mod strange;
mod tour;

use super::case::Case;

/// Every group, in the order of reports.
pub(super) const GROUPS: [&[Case]; 13] = [
    &load::CASES,
    &describe::CASES,
    &config::CASES,
    &observe::CASES,
    &check::CASES,
    &actions::CASES,
    &invoke::CASES,
    &robustness::CASES,
    &sandbox::CASES,
    &secrets::CASES,
    &concurrency::CASES,
    &resources::CASES,
    &lifecycle::CASES,
];
