//! One TiKV store: its life, its heartbeats, its disk, and what ails it.

use std::collections::BTreeMap;

use super::{MINUTE, Nanos, SECOND, StoreId};

/// Between two heartbeats of a store.
pub(crate) const HEARTBEAT: Nanos = 10 * SECOND;
/// Silence after which PD calls a store disconnected.
pub(crate) const DISCONNECTED: Nanos = 20 * SECOND;
/// Silence after which PD gives a store no peer any more.
pub(crate) const UNHEALTHY: Nanos = 10 * MINUTE;
/// PD writes the heartbeats' times down this often; a new leader of PD's knows only those.
pub(crate) const WRITTEN_DOWN: Nanos = 5 * MINUTE;
/// What an offline store's limit for removing peers becomes.
pub(crate) const UNLIMITED: f64 = 100_000_000.0;

pub(crate) const GIB: f64 = 1_073_741_824.0;

/// What PD was told to make of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Up,
    Offline,
    Tombstone,
}

/// What PD calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateName {
    Up,
    Disconnected,
    Down,
    Offline,
    Tombstone,
}

impl StateName {
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

/// Whether the process is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    /// No process, since then.
    Killed(Nanos),
    /// A process that does nothing, since then.
    Stopped(Nanos),
}

/// What was done to a store on purpose.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ailments {
    /// The 99th percentile of requests, about. ms.
    pub(crate) latency_ms: f64,
    /// The longest write stall. µs.
    pub(crate) write_stall_us: f64,
    /// Entries by which the slowest follower lags.
    pub(crate) raft_lag: f64,
    /// Requests refused with "server is busy", per second.
    pub(crate) busy_per_second: f64,
}

impl Default for Ailments {
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

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) id: StoreId,
    pub(crate) address: String,
    pub(crate) status_address: String,
    pub(crate) version: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) wanted: Wanted,
    pub(crate) destroyed: bool,
    pub(crate) life: Life,
    /// When the process started.
    pub(crate) started: Nanos,
    /// When its heartbeats began: one each ten seconds from then on.
    pub(crate) beats_from: Nanos,
    /// The last heartbeat that PD knows of, of a store that is not running, and of one until it is heard again.
    pub(crate) known: Option<Nanos>,
    /// After PD's leader changed: not heard before then.
    pub(crate) silent_until: Nanos,
    /// Bytes.
    pub(crate) capacity: f64,
    /// Bytes that other files than TiKV's take.
    pub(crate) foreign: f64,
    /// Bytes that TiKV takes whatever its regions hold; none for what the regions hold.
    pub(crate) used: Option<f64>,
    pub(crate) leader_weight: f64,
    pub(crate) region_weight: f64,
    pub(crate) limits: Limits,
    /// How many peers it may take now, by the limit of a minute.
    pub(crate) credit: f64,
    pub(crate) ailments: Ailments,
}

impl Store {
    pub(crate) fn new(id: StoreId, address: String, status_address: String, now: Nanos) -> Self {
        Self {
            id,
            address,
            status_address,
            version: String::new(),
            labels: BTreeMap::new(),
            wanted: Wanted::Up,
            destroyed: false,
            life: Life::Running,
            started: now,
            beats_from: now,
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
            ailments: Ailments::default(),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.life == Life::Running && self.wanted != Wanted::Tombstone
    }

    /// When the last heartbeat that PD knows of came; none if there was none.
    pub(crate) fn last_heartbeat(&self, now: Nanos) -> Option<Nanos> {
        if self.life != Life::Running || now < self.silent_until {
            return self.known;
        }
        let beats = (now - self.beats_from).div_euclid(HEARTBEAT);
        if beats < 0 {
            return self.known;
        }
        Some(self.beats_from + beats * HEARTBEAT)
    }

    pub(crate) fn silence(&self, now: Nanos) -> Nanos {
        now - self.last_heartbeat(now).unwrap_or(0)
    }

    pub(crate) fn state_name(&self, now: Nanos, down_after: Nanos) -> StateName {
        match self.wanted {
            Wanted::Offline => StateName::Offline,
            Wanted::Tombstone => StateName::Tombstone,
            Wanted::Up if self.silence(now) > down_after => StateName::Down,
            Wanted::Up if self.silence(now) > DISCONNECTED => StateName::Disconnected,
            Wanted::Up => StateName::Up,
        }
    }

    pub(crate) fn is_unhealthy(&self, now: Nanos) -> bool {
        self.silence(now) > UNHEALTHY
    }

    /// The process ends, or stops doing anything.
    pub(crate) fn end(&mut self, life: Life, now: Nanos) {
        if self.life == Life::Running {
            self.known = self.last_heartbeat(now);
        }
        self.life = life;
    }

    /// A new process, or the stopped one going on.
    pub(crate) fn begin(&mut self, now: Nanos) {
        if matches!(self.life, Life::Killed(_)) {
            self.started = now;
        }
        self.life = Life::Running;
        self.beats_from = now;
        self.silent_until = now;
    }

    /// PD has a new leader, which knows only what was written down, and hears the next heartbeat after `extra`.
    pub(crate) fn forget_heartbeats(&mut self, now: Nanos, extra: Nanos) {
        let Some(last) = self.last_heartbeat(now) else {
            return;
        };
        let since = (last - self.started).max(0);
        let written = self.started + since.div_euclid(WRITTEN_DOWN) * WRITTEN_DOWN;
        self.known = Some(written.min(last - extra));
        self.silent_until = if self.life == Life::Running {
            last + HEARTBEAT + extra
        } else {
            now
        };
    }

    /// How slow PD takes it to be, from 1 to 100.
    pub(crate) fn slow_score(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 to 100"
        )]
        let score = (self.ailments.latency_ms / 4.0).clamp(1.0, 100.0) as u64;
        score
    }

    /// Bytes, given those of its regions.
    pub(crate) fn used(&self, regions: f64) -> f64 {
        self.used.unwrap_or(regions).min(self.capacity)
    }

    /// Bytes: what neither TiKV nor others have taken.
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
        store.end(Life::Killed(65 * SECOND), 65 * SECOND);
        let name = |at: Nanos| store.state_name(at, DOWN_AFTER).name();
        assert_eq!(name(80 * SECOND), "Up");
        assert_eq!(name(81 * SECOND), "Disconnected");
        assert_eq!(name(60 * SECOND + DOWN_AFTER), "Disconnected");
        assert_eq!(name(61 * SECOND + DOWN_AFTER), "Down");
    }

    #[test]
    fn an_offline_store_stays_offline_when_it_dies() {
        let mut store = store();
        store.wanted = Wanted::Offline;
        store.end(Life::Killed(0), 0);
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
        store.end(Life::Killed(5 * SECOND), 5 * SECOND);
        store.begin(DOWN_AFTER * 3);
        assert_eq!(store.state_name(DOWN_AFTER * 3, DOWN_AFTER).name(), "Up");
        assert_eq!(store.started, DOWN_AFTER * 3);
    }
}
