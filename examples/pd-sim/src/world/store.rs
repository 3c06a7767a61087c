//! One TiKV store: its lifecycle, heartbeats, disk and injected faults.

use std::collections::BTreeMap;

use super::{MINUTE, Nanos, SECOND, StoreId};

/// Interval between two heartbeats of a store.
pub(crate) const HEARTBEAT: Nanos = 10 * SECOND;
/// Silence after which PD reports a store as disconnected.
pub(crate) const DISCONNECTED: Nanos = 20 * SECOND;
/// Silence after which PD schedules no peers onto a store.
pub(crate) const UNHEALTHY: Nanos = 10 * MINUTE;
/// PD persists heartbeat times at this interval; a new PD leader knows only those.
pub(crate) const WRITTEN_DOWN: Nanos = 5 * MINUTE;
/// The limit for removing peers of an offline store.
pub(crate) const UNLIMITED: f64 = 100_000_000.0;

pub(crate) const GIB: f64 = 1_073_741_824.0;

/// The state that PD was asked to bring a store to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetState {
    Up,
    Offline,
    Tombstone,
}

/// The state that PD reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreState {
    Up,
    Disconnected,
    Down,
    Offline,
    Tombstone,
}

impl StoreState {
    pub(crate) const ALL: [Self; 5] = [
        Self::Up,
        Self::Offline,
        Self::Tombstone,
        Self::Down,
        Self::Disconnected,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Up => "Up",
            Self::Disconnected => "Disconnected",
            Self::Down => "Down",
            Self::Offline => "Offline",
            Self::Tombstone => "Tombstone",
        }
    }
}

/// State of a store's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreProcess {
    Running,
    /// Not running, since then.
    Killed(Nanos),
    /// Suspended, since then.
    Stopped(Nanos),
}

/// Faults injected into a store.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoreFaults {
    /// The approximate 99th percentile of request latency. ms.
    pub(crate) latency_ms: f64,
    /// The longest write stall. µs.
    pub(crate) write_stall_us: f64,
    /// The number of entries by which the slowest follower lags.
    pub(crate) raft_lag: f64,
    /// Requests rejected with "server is busy", per second.
    pub(crate) busy_per_second: f64,
}

impl Default for StoreFaults {
    fn default() -> Self {
        Self {
            latency_ms: 6.0,
            write_stall_us: 0.0,
            raft_lag: 3.0,
            busy_per_second: 0.0,
        }
    }
}

/// Peers per minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    pub(crate) add_peer: f64,
    pub(crate) remove_peer: f64,
}

#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) id: StoreId,
    pub(crate) address: String,
    pub(crate) status_address: String,
    pub(crate) version: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) target_state: TargetState,
    pub(crate) destroyed: bool,
    pub(crate) process: StoreProcess,
    /// When the process started.
    pub(crate) started: Nanos,
    /// When its heartbeats began; from then on there is one every ten seconds.
    pub(crate) heartbeats_from: Nanos,
    /// The last heartbeat that PD knows: of a store that is not running, or whose next heartbeat is still to come.
    pub(crate) known: Option<Nanos>,
    /// After a change of PD's leader: no heartbeat before then.
    pub(crate) silent_until: Nanos,
    /// Bytes.
    pub(crate) capacity: f64,
    /// Bytes taken by files other than TiKV's.
    pub(crate) foreign: f64,
    /// Bytes that TiKV takes regardless of its regions; `None` for the size of its regions.
    pub(crate) used: Option<f64>,
    pub(crate) leader_weight: f64,
    pub(crate) region_weight: f64,
    pub(crate) limits: Limits,
    /// Peers that it can still take under its limit per minute.
    pub(crate) credit: f64,
    pub(crate) faults: StoreFaults,
}

impl Store {
    pub(crate) fn new(id: StoreId, address: String, status_address: String, now: Nanos) -> Self {
        Self {
            id,
            address,
            status_address,
            version: String::new(),
            labels: BTreeMap::new(),
            target_state: TargetState::Up,
            destroyed: false,
            process: StoreProcess::Running,
            started: now,
            heartbeats_from: now,
            known: None,
            silent_until: Nanos::MIN,
            capacity: 100.0 * GIB,
            foreign: 0.0,
            used: None,
            leader_weight: 1.0,
            region_weight: 1.0,
            limits: Limits {
                add_peer: 15.0,
                remove_peer: 15.0,
            },
            credit: 15.0,
            faults: StoreFaults::default(),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process == StoreProcess::Running && self.target_state != TargetState::Tombstone
    }

    /// The time of the last heartbeat that PD knows; `None` if there was none.
    pub(crate) fn last_heartbeat(&self, now: Nanos) -> Option<Nanos> {
        if self.process != StoreProcess::Running || now < self.silent_until {
            return self.known;
        }
        let beats = (now - self.heartbeats_from).div_euclid(HEARTBEAT);
        if beats < 0 {
            return self.known;
        }
        Some(self.heartbeats_from + beats * HEARTBEAT)
    }

    pub(crate) fn silence(&self, now: Nanos) -> Nanos {
        now - self.last_heartbeat(now).unwrap_or(0)
    }

    pub(crate) fn state_name(&self, now: Nanos, down_after: Nanos) -> StoreState {
        match self.target_state {
            TargetState::Offline => StoreState::Offline,
            TargetState::Tombstone => StoreState::Tombstone,
            TargetState::Up if self.silence(now) > down_after => StoreState::Down,
            TargetState::Up if self.silence(now) > DISCONNECTED => StoreState::Disconnected,
            TargetState::Up => StoreState::Up,
        }
    }

    pub(crate) fn is_unhealthy(&self, now: Nanos) -> bool {
        self.silence(now) > UNHEALTHY
    }

    /// Ends or suspends the process.
    pub(crate) fn end(&mut self, process: StoreProcess, now: Nanos) {
        if self.process == StoreProcess::Running {
            self.known = self.last_heartbeat(now);
        }
        self.process = process;
    }

    /// Starts a new process, or resumes a suspended one.
    pub(crate) fn begin(&mut self, now: Nanos) {
        if matches!(self.process, StoreProcess::Killed(_)) {
            self.started = now;
        }
        self.process = StoreProcess::Running;
        self.heartbeats_from = now;
        self.silent_until = now;
    }

    /// A new PD leader knows only persisted heartbeats, and receives the next one after `extra`.
    pub(crate) fn forget_heartbeats(&mut self, now: Nanos, extra: Nanos) {
        let Some(last) = self.last_heartbeat(now) else {
            return;
        };
        let since = (last - self.started).max(0);
        let written = self.started + since.div_euclid(WRITTEN_DOWN) * WRITTEN_DOWN;
        self.known = Some(written.min(last - extra));
        self.silent_until = if self.process == StoreProcess::Running {
            last + HEARTBEAT + extra
        } else {
            now
        };
    }

    /// PD's slow score, from 1 to 100.
    pub(crate) fn slow_score(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 to 100"
        )]
        let score = (self.faults.latency_ms / 4.0).clamp(1.0, 100.0) as u64;
        score
    }

    /// Bytes used, given those of its regions.
    pub(crate) fn used(&self, regions: f64) -> f64 {
        self.used.unwrap_or(regions).min(self.capacity)
    }

    /// Bytes that neither TiKV nor other files have taken.
    pub(crate) fn available(&self, regions: f64) -> f64 {
        (self.capacity - self.used(regions) - self.foreign).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN_AFTER: Nanos = 30 * MINUTE;

    fn store() -> Store {
        Store::new(1, String::new(), String::new(), 0)
    }

    #[test]
    fn a_silent_store_is_disconnected_then_down() {
        let mut store = store();
        store.end(StoreProcess::Killed(65 * SECOND), 65 * SECOND);
        let name = |at: Nanos| store.state_name(at, DOWN_AFTER).name();
        assert_eq!(name(80 * SECOND), "Up");
        assert_eq!(name(81 * SECOND), "Disconnected");
        assert_eq!(name(60 * SECOND + DOWN_AFTER), "Disconnected");
        assert_eq!(name(61 * SECOND + DOWN_AFTER), "Down");
    }

    #[test]
    fn an_offline_store_stays_offline_when_it_dies() {
        let mut store = store();
        store.target_state = TargetState::Offline;
        store.end(StoreProcess::Killed(0), 0);
        assert_eq!(
            store.state_name(DOWN_AFTER * 2, DOWN_AFTER).name(),
            "Offline"
        );
    }

    #[test]
    fn a_new_leader_of_pd_knows_old_heartbeats_for_ten_seconds_at_most() {
        let mut store = store();
        let now = 299 * SECOND;
        store.forget_heartbeats(now, 0);
        assert_eq!(store.last_heartbeat(now), Some(0));
        assert_eq!(store.state_name(now, DOWN_AFTER).name(), "Disconnected");
        assert_eq!(store.state_name(300 * SECOND, DOWN_AFTER).name(), "Up");
    }

    #[test]
    fn a_store_that_comes_back_is_up_at_once() {
        let mut store = store();
        store.end(StoreProcess::Killed(5 * SECOND), 5 * SECOND);
        store.begin(DOWN_AFTER * 3);
        assert_eq!(store.state_name(DOWN_AFTER * 3, DOWN_AFTER).name(), "Up");
        assert_eq!(store.started, DOWN_AFTER * 3);
    }
}
