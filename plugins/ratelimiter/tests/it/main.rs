//! The plugin against everything it asks: the real service with Redis and Prometheus, the older form of the API byte for
//! byte, and backends that are broken in every way.
#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test may fail it, as the test itself may"
)]

mod actions;
mod broken;
mod cluster;
mod conformance;
mod coverage;
mod older;
mod older_service;
mod rights;
mod soak;
mod support;
