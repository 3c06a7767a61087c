//! The conformance suite as a command.

mod cli;
mod table;
