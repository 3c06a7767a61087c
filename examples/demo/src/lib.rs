//! Clusters on this machine to watch and to break, and an operator that watches them: a real rate limiter with Redis,
//! Prometheus and load, or a TiKV cluster as `pd-sim` shows it, with Prometheus.
//!
//! Everything runs on free loopback ports and ends with the value that holds it.

pub mod cluster;
pub mod process;
pub mod prometheus;
pub mod redis;
pub mod tikv;
pub mod wait;
pub mod watched;

pub use cluster::{Cluster, Options};
pub use process::Process;
pub use tikv::Tikv;
pub use watched::Watched;
