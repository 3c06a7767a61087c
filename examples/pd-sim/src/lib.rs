//! A simulated TiKV cluster as PD and Prometheus see it, for machines without TiKV. The binary only calls [`run`].

#![allow(
    clippy::struct_field_names,
    reason = "documents have the names that PD gives them"
)]

mod api;
mod args;
mod clock;
mod control;
mod go_format;
mod metrics;
mod release;
mod server;
mod sim;
mod world;

pub use self::args::Args;
pub use self::server::run;
