//! The cluster: stores, regions, PD's members and PD's schedulers, as a function of time. It does no I/O and reads no clock:
//! the caller brings it up to date with [`World::advance`].

mod admin;
mod checkers;
mod cluster_spec;
pub(crate) mod config;
mod controller;
mod faults;
pub(crate) mod members;
mod offline;
pub(crate) mod operator;
mod plan;
pub(crate) mod region;
pub(crate) mod regions;
pub(crate) mod schedulers;
pub(crate) mod store;
mod sweep;

use std::collections::{BTreeMap, HashMap};

pub(crate) use self::cluster_spec::ClusterSpec;
pub(crate) use self::faults::Faults;
pub(crate) use self::offline::{OfflineError, Progress};

use self::config::Config;
use self::controller::Controller;
use self::members::Members;
use self::regions::{Check, RegionIndex, Regions};
use self::schedulers::Schedulers;
use self::store::{GIB, Store, TargetState};
use self::sweep::{REGION_HEARTBEAT, Sweep};
use crate::clock::Reading;
use crate::metrics::Meter;
use crate::release::Release;

/// Nanoseconds; a point in time is counted from 1970.
pub(crate) type Nanos = i64;
/// A store id as PD assigns it.
pub(crate) type StoreId = u64;

pub(crate) const SECOND: Nanos = 1_000_000_000;
pub(crate) const MINUTE: Nanos = 60 * SECOND;
/// The interval at which PD advances operators.
const TICK: Nanos = SECOND / 2;
const TICKS_PER_MINUTE: f64 = 120.0;
/// A store with fewer regions than this and more free space than this is never low on space.
const NEVER_LOW: (u64, f64) = (100, 8.0 * GIB);

/// The whole simulated cluster.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Nanos,
    /// See [`Reading::offset`].
    pub(crate) offset: Nanos,
    ticked: Nanos,
    pub(crate) release: Release,
    pub(crate) cluster_id: u64,
    /// When PD's processes started, by the wall clock.
    pub(crate) origin: Nanos,
    pub(crate) bootstrapped: Nanos,
    pub(crate) members: Members,
    pub(crate) stores: BTreeMap<StoreId, Store>,
    pub(crate) regions: Regions,
    pub(crate) operators: Controller,
    pub(crate) schedulers: Schedulers,
    pub(crate) config: Config,
    pub(crate) faults: Faults,
    pub(crate) meters: HashMap<StoreId, Meter>,
    sweeps: Vec<Sweep>,
    /// Since when regions report to the current PD leader.
    reports_from: Nanos,
    /// Regions that lost their majority with their stores' processes.
    lost: Vec<RegionIndex>,
    /// Size at the start of the decommissioning, and its start time.
    leaving: BTreeMap<StoreId, (u64, Nanos)>,
    next_id: u64,
}

impl World {
    /// Simulates everything up to this time.
    pub(crate) fn advance(&mut self, to: Reading) {
        let Reading { now, offset } = to;
        self.offset = offset;
        while self.ticked + TICK <= now {
            self.ticked += TICK;
            self.now = self.ticked;
            self.tick();
        }
        self.now = now;
    }

    fn tick(&mut self) {
        if self.members.tick(self.now) {
            self.take_over();
        }
        self.run_sweeps();
        // Without a PD leader there are no decisions and no heartbeats.
        if self.members.leader.is_some() {
            self.run_operators();
            self.schedule();
            self.bury();
        }
        for store in self.stores.values_mut() {
            let credit = store.credit + store.limits.add_peer / TICKS_PER_MINUTE;
            store.credit = credit.min(store.limits.add_peer);
        }
    }

    /// A new PD leader takes over; in-memory state of the old one is lost.
    fn take_over(&mut self) {
        self.operators = Controller::default();
        self.schedulers.forget_pauses();
        self.reports_from = self.now;
        let extra = std::mem::take(&mut self.faults.heartbeat_delay_after_leader_change);
        for store in self.stores.values_mut() {
            store.forget_heartbeats(self.now, extra);
        }
    }

    /// The time to report for a cluster time.
    pub(crate) fn shown(&self, at: Nanos) -> Nanos {
        at + self.offset
    }

    /// The current wall-clock time.
    pub(crate) fn wall(&self) -> Nanos {
        self.now + self.offset
    }

    /// Whether this store's process is running and not stopped.
    pub(crate) fn runs(&self, store: StoreId) -> bool {
        self.stores.get(&store).is_some_and(Store::is_running)
    }

    pub(crate) fn is_bootstrapped(&self) -> bool {
        !self.stores.is_empty()
    }

    /// Whether this region has reported to the current PD leader: all have within a minute.
    pub(crate) fn has_reported(&self, at: RegionIndex) -> bool {
        // Spread over the minute in a pseudo-random order.
        let turn = Nanos::from(at.wrapping_mul(2_654_435_761) % 60_000);
        self.now - self.reports_from >= REGION_HEARTBEAT * turn / 60_000
    }

    pub(crate) fn has_all_reported(&self) -> bool {
        self.now - self.reports_from >= REGION_HEARTBEAT
    }

    #[cfg(test)]
    pub(crate) fn set_next_id(&mut self, id: u64) {
        self.next_id = id;
    }

    #[cfg(test)]
    pub(crate) fn set_leaving(&mut self, store: StoreId, size: u64, since: Nanos) {
        self.leaving.insert(store, (size, since));
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Bytes of a store's regions.
    fn region_bytes(&self, store: StoreId) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "MiB stay far below 2^52")]
        let mebibytes = self.regions.totals_of(store).region_size as f64;
        mebibytes * 1_048_576.0
    }

    /// Bytes used by TiKV, and bytes available.
    pub(crate) fn space(&self, store: &Store) -> (f64, f64) {
        let regions = self.region_bytes(store.id);
        (store.used(regions), store.available(regions))
    }

    /// Whether PD considers the store low on space.
    pub(crate) fn is_low_on_space(&self, store: StoreId) -> bool {
        let Some(store) = self.stores.get(&store) else {
            return false;
        };
        let (_, available) = self.space(store);
        let regions = self.regions.totals_of(store.id).regions;
        let left = 1.0 - self.config.ratio("low-space-ratio", self.now);
        let is_never_low = regions < NEVER_LOW.0 && available > NEVER_LOW.1;
        store.target_state != TargetState::Tombstone
            && !is_never_low
            && available / store.capacity < left
    }

    /// The number of a store's peers without a leader, as in the store's own metric.
    pub(crate) fn leader_missing(&self, store: StoreId) -> usize {
        let leaderless = self.regions.found_by(Check::Leaderless).iter();
        let has_peer = |at: &&RegionIndex| self.regions.get(**at).peer_on(store).is_some();
        let lost = self.lost.iter().filter(has_peer);
        leaderless.filter(has_peer).chain(lost).count()
    }
}

#[cfg(test)]
mod tests;
