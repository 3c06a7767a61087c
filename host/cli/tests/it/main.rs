//! The host from outside: the `operator` binary and the loader, with real plugins and real processes.

#![allow(
    clippy::unwrap_used,
    clippy::unnecessary_debug_formatting,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail like tests; a path in quotes is one in TOML; counts are small"
)]

mod actions;
mod cli;
mod conformance;
mod daemon;
mod loader;
mod support;
