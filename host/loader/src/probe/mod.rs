//! Calls that only the conformance suite makes, and what a plugin attempts while it is called.

pub(crate) mod bounds;
pub(crate) mod client;
#[cfg(target_os = "linux")]
pub(crate) mod listener;
#[cfg(not(target_os = "linux"))]
#[path = "no_listener.rs"]
pub(crate) mod listener;
pub(crate) mod messages;
pub(crate) mod server;
