//! Clusters to watch and to break on this machine, and an operator that watches them: a real rate limiter with Redis,
//! Prometheus and load, or a TiKV cluster simulated by `pd-sim`, with Prometheus.
//!
//! Everything runs on free loopback ports and is stopped when its value is dropped.

pub mod cluster;
pub mod operator;
pub mod process;
pub mod prometheus;
pub mod redis;
pub mod tikv;
pub mod wait;

pub use cluster::{Cluster, Options};
pub use operator::Operator;
pub use process::Process;
pub use tikv::Tikv;
