//! The conformance suite as a command.

mod cli;
pub(crate) mod table;
