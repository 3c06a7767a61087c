//! The built service against a real Redis: each test has its own Redis, nodes and free loopback ports.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected has failed"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "a body is written where it is sent"
)]

mod api;
mod chaos;
mod clock;
mod cluster;
mod concurrency;
mod load;
mod nodes;
mod outage;
mod refusals;
mod sharing;
mod support;
