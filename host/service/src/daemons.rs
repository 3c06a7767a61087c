//! The daemons that use the database, and how they are doing.

use std::time::Duration;

use operator_model::{DaemonStatus, LoopStatus, Timestamp};
use operator_store::Store;
use serde::Serialize;

use super::{Service, ServiceError};

/// A daemon that has not reported for this long may not run any more: three of its reports are missing.
pub(crate) const STALE: Duration = Duration::from_secs(15);

/// A daemon, as it last reported.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnownDaemon {
    /// What is to be made of the report.
    pub health: DaemonHealth,
    /// The report.
    #[serde(flatten)]
    pub status: DaemonStatus,
}

/// What is to be made of a daemon's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DaemonHealth {
    /// All of its loops turn.
    Healthy,
    /// It has not reported for a while: it is unknown whether it runs.
    Stale,
    /// A loop is stalled, or its last turn failed.
    Unhealthy,
}

impl DaemonHealth {
    fn of(status: &DaemonStatus, now: Timestamp) -> Self {
        if status.seen_at.until(now) > STALE {
            Self::Stale
        } else if status.loops.iter().any(LoopStatus::is_unhealthy) {
            Self::Unhealthy
        } else {
            Self::Healthy
        }
    }
}

impl Service {
    /// Every daemon that has reported and not stopped gracefully. Creates no database.
    pub async fn daemons(&self) -> Result<Vec<KnownDaemon>, ServiceError> {
        if !Store::may_exist(&self.loaded().config.database) {
            return Ok(Vec::new());
        }
        let now = Timestamp::now();
        let daemons = self.store().await?.daemons().await?.into_iter();
        let known = daemons.map(|status| KnownDaemon {
            health: DaemonHealth::of(&status, now),
            status,
        });
        Ok(known.collect())
    }
}
