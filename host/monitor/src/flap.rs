//! Recognises a fault that comes and goes. Pure.

use std::time::Duration;

use operator_model::Timestamp;

/// This many transitions within [`WINDOW`] are flapping: five times broken and recovered.
const LIMIT: usize = 10;
/// How far back transitions count.
const WINDOW: Duration = Duration::from_mins(30);
/// Without a transition for this long, a ticket is calm.
pub(super) const CALM: Duration = Duration::from_mins(5);

/// Notes a transition, keeping no more than are needed to judge.
pub(super) fn record(transitions: &mut Vec<Timestamp>, now: Timestamp) {
    transitions.push(now);
    let surplus = transitions.len().saturating_sub(LIMIT);
    transitions.drain(..surplus);
}

/// Whether the latest transitions lie too close together for people to follow.
pub(super) fn is_flapping(transitions: &[Timestamp], now: Timestamp) -> bool {
    transitions.len() >= LIMIT && transitions[0] >= now.minus(WINDOW)
}

/// Whether nothing has changed for [`CALM`].
pub(super) fn is_calm(transitions: &[Timestamp], now: Timestamp) -> bool {
    transitions
        .last()
        .is_none_or(|last| last.until(now) >= CALM)
}
