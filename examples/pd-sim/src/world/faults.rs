//! What can be done to the cluster on purpose, and undone.

use super::region::RegionId;
use super::regions::{At, Check};
use super::store::{Ailments, Life};
use super::{Nanos, StoreId, World};

/// Faults that are of no store.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Operators start and get no further.
    pub(crate) operators_stall: bool,
    /// Every request is refused as one too many.
    pub(crate) too_many_requests: bool,
    /// After PD's next change of leader, heartbeats are this much older, and the next ones this much later.
    pub(crate) next_reign_is_deaf_for: Nanos,
    /// Regions with far more traffic than the others.
    pub(crate) hot: Vec<At>,
}

impl World {
    /// Ends a store's process, or stops it.
    pub(crate) fn end_store(&mut self, id: StoreId, life: fn(Nanos) -> Life) {
        let now = self.now;
        let Some(store) = self.stores.get_mut(&id) else {
            return;
        };
        let was_running = store.is_running();
        store.end(life(now), now);
        if was_running {
            self.sweep_after_death(id);
            self.find_lost();
        }
    }

    /// Starts it again, or lets it go on.
    pub(crate) fn begin_store(&mut self, id: StoreId) {
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

    /// Which regions are without a majority can only have changed when two stores or more are away.
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

    /// So many regions lose their leader, and elect none before [`World::heal_regions`].
    pub(crate) fn lose_leaders(&mut self, regions: &[At]) {
        for at in regions {
            self.regions.edit(*at, |region| region.leader = 0);
        }
    }

    /// Regions lose a peer: one that does not lead.
    pub(crate) fn lose_peers(&mut self, regions: &[At]) {
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

    /// Regions with so many bytes written within a minute.
    pub(crate) fn heat(&mut self, regions: &[At], written: u32) {
        for at in regions {
            self.regions.edit(*at, |region| region.written = written);
        }
        self.faults.hot = regions.to_vec();
    }

    /// Regions without a leader elect one.
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

    /// The first regions in the order of their keys that have a leader, or the one of this number.
    pub(crate) fn pick_regions(&self, id: Option<RegionId>, count: usize) -> Vec<At> {
        if let Some(id) = id {
            return self.regions.find(id).into_iter().collect();
        }
        let led = |at: &At| self.regions.get(*at).leader().is_some();
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
        let could = |at: &At| {
            let region = self.regions.get(*at);
            region.voter_on(store).is_some() && region.leader().is_some_and(|it| it != store)
        };
        let taken: Vec<At> = self.regions.all().filter(could).take(missing).collect();
        let leader = u32::try_from(store).unwrap_or(0);
        for at in taken {
            self.regions.edit(at, |region| region.leader = leader);
        }
    }

    /// Everything that was done on purpose is undone. Peers that were lost are for PD to replace.
    pub(crate) fn heal(&mut self) {
        self.faults = Faults::default();
        for member in &mut self.members.list {
            if member.life != super::members::Life::Removed {
                member.life = super::members::Life::Running;
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
        store.ailments = Ailments::default();
        store.foreign = 0.0;
        store.used = None;
        self.begin_store(id);
    }
}
