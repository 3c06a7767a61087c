//! Proposals and executions.

mod crash;
mod gate;
