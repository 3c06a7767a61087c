//! How long things are kept.

use std::time::Duration;

/// Bounds on what the store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Resolved tickets older than this go, with all that belongs to them.
    pub tickets: Duration,
    /// Actions are kept at least this long: the gate's limits count them.
    pub actions: Duration,
    /// Observations older than this go.
    pub observations: Duration,
    /// At most this many observations are kept for one subject.
    pub observations_per_subject: u32,
}
