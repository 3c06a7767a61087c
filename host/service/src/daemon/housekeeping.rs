//! Removes what is older than it is to be kept.

use std::time::Duration;

use operator_actions as actions;
use operator_config::Config;
use operator_model::{Retention, Timestamp};
use operator_monitor::chain;
use operator_store::Store;

/// Between two runs.
pub(super) const PERIOD: Duration = Duration::from_hours(1);
/// On a database of many gigabytes.
pub(super) const LONGEST_TURN: Duration = Duration::from_mins(1);
/// A daemon that has not reported for this long, and has not stopped gracefully, is gone.
const GONE: Duration = Duration::from_hours(24);

/// How long things are kept. What the limits of the gate count is kept in any case.
pub(super) fn retention(config: &Config) -> Retention {
    let memories = config
        .subjects
        .iter()
        .map(|subject| actions::memory(&subject.actions));
    Retention {
        actions: memories
            .max()
            .unwrap_or_default()
            .max(config.retention.actions),
        ..config.retention
    }
}

/// `watched` are the configured subjects: what a plugin knows of another one goes when no daemon has watched it for as long as
/// its resolved tickets are kept.
pub(super) async fn turn(
    store: &Store,
    retention: &Retention,
    watched: &[&str],
) -> Result<(), String> {
    let now = Timestamp::now();
    let pruned = store.prune(retention, now).await;
    let (tickets, observations) = pruned.map_err(|error| chain(&error))?;
    let gone = store.prune_daemons(now.minus(GONE)).await;
    let daemons = gone.map_err(|error| chain(&error))?;
    let unwatched = store.prune_memories(watched, now, now.minus(retention.tickets));
    let memories = unwatched.await.map_err(|error| chain(&error))?;
    if tickets + observations + daemons + memories > 0 {
        tracing::info!(
            tickets,
            observations,
            daemons,
            memories,
            "removed what is too old"
        );
    }
    Ok(())
}
