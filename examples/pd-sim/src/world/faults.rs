//! Injects faults into the cluster and undoes them.

use super::region::RegionId;
use super::regions::{Check, RegionIndex};
use super::store::{StoreFaults, StoreProcess};
use super::{Nanos, StoreId, World};

/// Faults that do not belong to a store.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Operators start but make no progress.
    pub(crate) operators_stall: bool,
    /// Every request is rejected with 429.
    pub(crate) too_many_requests: bool,
    /// After PD's next leader change, heartbeats are this much older, and the next ones this much later.
    pub(crate) heartbeat_delay_after_leader_change: Nanos,
    /// Regions with far more traffic than the others.
    pub(crate) hot: Vec<RegionIndex>,
}

impl World {
    /// Ends or suspends a store's process.
    pub(crate) fn stop_store(&mut self, id: StoreId, process: fn(Nanos) -> StoreProcess) {
        let now = self.now;
        let Some(store) = self.stores.get_mut(&id) else {
            return;
        };
        let was_running = store.is_running();
        store.end(process(now), now);
        if was_running {
            self.sweep_after_death(id);
            self.find_lost();
        }
    }

    /// Starts it again, or resumes it.
    pub(crate) fn start_store(&mut self, id: StoreId) {
        let now = self.now;
        let Some(store) = self.stores.get_mut(&id) else {
            return;
        };
        if !store.is_running() {
            store.begin(now);
            self.sweep_after_return(id);
            self.find_lost();
        }
    }

    /// The set of regions without a majority changes only when two or more stores are unavailable.
    fn find_lost(&mut self) {
        let away = self
            .stores
            .values()
            .filter(|store| !store.is_running())
            .count();
        self.lost = if away < 2 && self.config.number("max-replicas", self.now) > 2 {
            Vec::new()
        } else {
            self.regions
                .all()
                .filter(|at| !self.has_majority(*at))
                .collect()
        };
    }

    /// Takes the leaders of these regions; none is elected before [`World::heal_regions`].
    pub(crate) fn lose_leaders(&mut self, regions: &[RegionIndex]) {
        for at in regions {
            self.regions.edit(*at, |region| region.leader = 0);
        }
    }

    /// Removes one peer, not the leader, from each of these regions.
    pub(crate) fn lose_peers(&mut self, regions: &[RegionIndex]) {
        for at in regions {
            self.regions.edit(*at, |region| {
                let leader = region.leader;
                let follower = region.peers.iter().rposition(|peer| peer.store != leader);
                if let Some(place) = follower {
                    region.peers.remove(place);
                    region.conf_ver += 1;
                }
            });
        }
    }

    /// Sets the bytes written per minute in these regions.
    pub(crate) fn heat(&mut self, regions: &[RegionIndex], written: u32) {
        for at in regions {
            self.regions.edit(*at, |region| region.written = written);
        }
        self.faults.hot = regions.to_vec();
    }

    /// Lets regions without a leader elect one.
    pub(crate) fn heal_regions(&mut self) {
        for at in self.regions.found_by(Check::Leaderless).clone() {
            let region = self.regions.get(at);
            let runs = |store: &StoreId| self.runs(*store);
            let elected = region.voters().map(super::region::Peer::store).find(runs);
            let elected = elected
                .and_then(|store| u32::try_from(store).ok())
                .unwrap_or(0);
            self.regions.edit(at, |region| region.leader = elected);
        }
    }

    /// The first regions in key order that have a leader, or the region with this id.
    pub(crate) fn pick_regions(&self, id: Option<RegionId>, count: usize) -> Vec<RegionIndex> {
        if let Some(id) = id {
            return self.regions.find(id).into_iter().collect();
        }
        let led = |at: &RegionIndex| self.regions.get(*at).leader().is_some();
        self.regions.all().filter(led).take(count).collect()
    }

    /// Gives a store this share of all leaders that it could have.
    pub(crate) fn gather_leaders(&mut self, store: StoreId, share: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let wanted = (self.regions.totals().count as f64 * share) as usize;
        let missing = wanted.saturating_sub(self.regions.led_by(store).len());
        let could = |at: &RegionIndex| {
            let region = self.regions.get(*at);
            region.voter_on(store).is_some() && region.leader().is_some_and(|it| it != store)
        };
        let taken: Vec<RegionIndex> = self.regions.all().filter(could).take(missing).collect();
        let leader = u32::try_from(store).unwrap_or(0);
        for at in taken {
            self.regions.edit(at, |region| region.leader = leader);
        }
    }

    /// Undoes all injected faults. Replacing lost peers is left to PD.
    pub(crate) fn heal(&mut self) {
        self.faults = Faults::default();
        for member in &mut self.members.list {
            if member.process != super::members::PdProcess::Removed {
                member.process = super::members::PdProcess::Running;
            }
        }
        for id in self.stores.keys().copied().collect::<Vec<_>>() {
            self.heal_store(id);
        }
        self.heal_regions();
    }

    pub(crate) fn heal_store(&mut self, id: StoreId) {
        let Some(store) = self.stores.get_mut(&id) else {
            return;
        };
        store.faults = StoreFaults::default();
        store.foreign = 0.0;
        store.used = None;
        self.start_store(id);
    }
}
