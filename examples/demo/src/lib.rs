//! A real rate limiter cluster on this machine: Redis, three nodes, Prometheus, load; and an operator that watches it.
//!
//! Everything runs on free loopback ports and ends with the value that holds it.

pub mod cluster;
pub mod process;
pub mod redis;
pub mod wait;
pub mod watched;

pub use cluster::{Cluster, Options};
pub use process::Process;
pub use watched::Watched;
