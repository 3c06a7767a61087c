//! The daemons that use the database, and how they are doing.

use std::time::Duration;

use operator_model::{DaemonStatus, LoopStatus, Timestamp};
use serde::Serialize;

use super::{Service, ServiceError, machine};

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
    /// All of its loops turn, or have just started.
    Healthy,
    /// Its process is gone, or it has not reported for a while: then it is unknown whether it runs.
    Stale,
    /// A loop is stalled, or its last turn failed.
    Unhealthy,
}

impl DaemonHealth {
    /// As seen from a process on the machine `here`.
    fn of(status: &DaemonStatus, now: Timestamp, here: &str) -> Self {
        let is_gone = || status.host == here && !machine::is_alive(status.pid);
        if status.seen_at.until(now) > STALE || is_gone() {
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
        let store = match self.reading().await {
            Ok(store) => store,
            Err(ServiceError::NoDatabase(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let (now, here) = (Timestamp::now(), machine::name());
        let daemons = store.daemons().await?.into_iter();
        let known = daemons.map(|status| KnownDaemon {
            health: DaemonHealth::of(&status, now, &here),
            status,
        });
        Ok(known.collect())
    }

    /// Daemons of this machine that run and have not reported for a while: they cannot write, and what they found since is not
    /// in the store.
    pub async fn mute_daemons(&self) -> Result<Vec<DaemonStatus>, ServiceError> {
        let here = machine::name();
        let daemons = self.daemons().await?.into_iter();
        let mute = daemons.filter(|daemon| {
            let status = &daemon.status;
            let runs = status.host == here && machine::is_alive(status.pid);
            runs && daemon.health == DaemonHealth::Stale
        });
        Ok(mute.map(|daemon| daemon.status).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_whose_process_is_gone_is_stale_at_once() {
        let health = |host: &str, pid, seen_at| {
            let status = DaemonStatus {
                host: host.into(),
                pid,
                version: "0.1.0".into(),
                started_at: Timestamp(0),
                seen_at: Timestamp(seen_at),
                loops: Vec::new(),
                left_out: 0,
            };
            DaemonHealth::of(&status, Timestamp(60_000), "web-1")
        };
        let here = std::process::id();
        assert_eq!(health("web-1", here, 59_000), DaemonHealth::Healthy);
        assert_eq!(health("web-1", here, 44_000), DaemonHealth::Stale);
        assert_eq!(health("web-1", u32::MAX, 59_000), DaemonHealth::Stale);
        // Nothing is known of the processes of another machine.
        assert_eq!(health("web-2", u32::MAX, 59_000), DaemonHealth::Healthy);
    }
}
