//! A TiKV cluster as PD and Prometheus show it, for machines without TiKV. The binary is thin: it runs [`run`].

#![allow(
    clippy::struct_field_names,
    reason = "documents have the names that PD gives them"
)]

mod api;
mod args;
mod clock;
mod control;
mod go;
mod listen;
mod metrics;
mod release;
mod sim;
mod world;

pub use self::args::Args;
pub use self::listen::run;
