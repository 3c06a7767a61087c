//! Reports the daemon's status to other processes, through the store.

use std::time::Duration;

use operator_model::{DaemonStatus, LoopState, LoopStatus, Timestamp};
use operator_monitor::chain;
use operator_store::{Store, StoreError};

use crate::{daemons::STALE, machine};

/// Between two reports, unless a loop fails.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// The same, while a loop has yet to finish its first turn.
const FIRST_PERIOD: Duration = Duration::from_secs(1);
/// A report has at most this many loops.
const MOST_LOOPS: usize = 200;

/// Writes the daemon's row.
#[derive(Clone)]
pub(super) struct Reporter {
    store: Store,
    host: String,
    pid: u32,
    started_at: Timestamp,
}

impl Reporter {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            host: machine::name(),
            pid: std::process::id(),
            started_at: Timestamp::now(),
        }
    }

    /// The label that its tickets have.
    pub(super) fn label(&self) -> String {
        self.status(Vec::new()).label()
    }

    pub(super) async fn turn(&self, loops: Vec<LoopStatus>) -> Result<(), String> {
        self.report(loops).await.map_err(|error| chain(&error))
    }

    /// At the end of the daemon: it is not stale, but gone.
    pub(super) async fn withdraw(&self) {
        let status = self.status(Vec::new());
        if let Err(error) = self.store.remove_daemon(&status).await {
            tracing::warn!("{}", chain(&error));
        }
    }

    async fn report(&self, loops: Vec<LoopStatus>) -> Result<(), StoreError> {
        self.store.put_daemon(&self.status(loops)).await?;
        self.remove_the_dead().await
    }

    /// Daemons of this machine that were killed.
    async fn remove_the_dead(&self) -> Result<(), StoreError> {
        let since = Timestamp::now().minus(STALE);
        for daemon in self.store.daemons().await? {
            let is_stale = daemon.seen_at < since;
            if daemon.host == self.host && is_stale && !machine::is_alive(daemon.pid) {
                self.store.remove_daemon(&daemon).await?;
            }
        }
        Ok(())
    }

    fn status(&self, loops: Vec<LoopStatus>) -> DaemonStatus {
        let (loops, left_out) = shortened(loops);
        DaemonStatus {
            host: self.host.clone(),
            pid: self.pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            seen_at: Timestamp::now(),
            loops,
            left_out,
        }
    }
}

/// How long the next report can wait after one of these loops.
pub(super) fn pause(loops: &[LoopStatus]) -> Duration {
    let mut loops = loops.iter();
    let is_starting =
        |one: &LoopStatus| one.state == LoopState::Starting && one.stalled_for_ms.is_none();
    if loops.any(is_starting) {
        FIRST_PERIOD
    } else {
        PERIOD
    }
}

/// The unhealthy ones stay.
fn shortened(mut loops: Vec<LoopStatus>) -> (Vec<LoopStatus>, usize) {
    let left_out = loops.len().saturating_sub(MOST_LOOPS);
    if left_out > 0 {
        loops.sort_by_key(|one| !one.is_unhealthy());
        loops.truncate(MOST_LOOPS);
    }
    (loops, left_out)
}

#[cfg(test)]
mod tests {
    use operator_model::TurnResult;

    use super::*;

    fn one(result: TurnResult) -> LoopStatus {
        LoopStatus {
            name: "watch".into(),
            subject: None,
            period_ms: 1,
            state: LoopState::Waiting,
            stalled_for_ms: None,
            started_at: None,
            finished_at: None,
            took_ms: None,
            result: Some(result),
            iterations: 1,
            restarts: 0,
            last_error: None,
        }
    }

    #[test]
    fn a_long_report_keeps_the_unhealthy_loops() {
        let mut loops = vec![one(TurnResult::Ok); MOST_LOOPS + 5];
        loops.push(one(TurnResult::Failed));
        let (kept, left_out) = shortened(loops);
        assert_eq!((kept.len(), left_out), (MOST_LOOPS, 6));
        assert!(kept[0].is_unhealthy());
    }
}
