//! PD's replica checkers: they replace, add and remove peers.

use super::operator::kind;
use super::plan::{Aim, Title};
use super::region::{Peer, Region, Role};
use super::regions::{Check, RegionIndex};
use super::store::{Store, StoreState, TargetState};
use super::{StoreId, World};

/// Regions that the checkers process per tick.
const PATROL_LIMIT: usize = 256;

/// The repair for a condition, and the setting that disables it.
struct Repair {
    check: Check,
    switch: &'static str,
    desc: &'static str,
    adds: bool,
}

const REPAIRS: [Repair; 4] = [
    Repair {
        check: Check::OfflinePeer,
        switch: "enable-replace-offline-replica",
        desc: "replace-rule-offline-peer",
        adds: true,
    },
    Repair {
        check: Check::DownPeer,
        switch: "enable-remove-down-replica",
        desc: "replace-rule-down-peer",
        adds: true,
    },
    Repair {
        check: Check::MissPeer,
        switch: "enable-make-up-replica",
        desc: "add-rule-peer",
        adds: true,
    },
    Repair {
        check: Check::ExtraPeer,
        switch: "enable-remove-extra-replica",
        desc: "remove-orphan-peer",
        adds: false,
    },
];

impl World {
    /// Creates operators for the regions that need a repair.
    pub(super) fn patrol(&mut self) {
        let limit = self.config.number("replica-schedule-limit", self.now);
        for repair in &REPAIRS {
            if !self.config.is_on(repair.switch, self.now) {
                continue;
            }
            let found = self
                .regions
                .found_by(repair.check)
                .iter()
                .take(PATROL_LIMIT);
            for at in found.copied().collect::<Vec<RegionIndex>>() {
                if self.operators.of_kind(kind::REPLICA) >= limit {
                    return;
                }
                if !self.is_operated(at) {
                    self.repair(at, repair);
                }
            }
        }
    }

    fn repair(&mut self, at: RegionIndex, repair: &Repair) {
        let region = self.regions.get(at).clone();
        let gone = self.surplus(&region, repair.check);
        let is_needed = gone.is_some() || repair.check == Check::MissPeer;
        let home = repair.adds.then(|| self.target_for(&region)).flatten();
        if !is_needed || (repair.adds && home.is_none()) {
            return;
        }
        let title = Title {
            desc: repair.desc,
            kind: kind::REPLICA,
            urgent: false,
        };
        let aim = Aim {
            add: home.map(|store| (store, Role::Voter)).into_iter().collect(),
            remove: gone.into_iter().collect(),
            leader: None,
        };
        let planned = self.plan(at, &title, &aim);
        if planned.is_ok_and(|operator| self.operators.add(operator))
            && let Some(store) = home.and_then(|store| self.stores.get_mut(&store))
        {
            store.credit -= 1.0;
        }
    }

    /// The store whose peer must be removed.
    fn surplus(&self, region: &Region, check: Check) -> Option<StoreId> {
        let down_after = self.config.down_after(self.now);
        let is = |peer: &Peer, what: &dyn Fn(&Store) -> bool| {
            self.stores.get(&peer.store()).is_some_and(what)
        };
        let leaves = |peer: &&Peer| is(peer, &|store| store.target_state != TargetState::Up);
        let is_down =
            |peer: &&Peer| peer.down && is(peer, &|store| store.silence(self.now) > down_after);
        let mut peers = region.peers.iter();
        let found = match check {
            Check::OfflinePeer => peers.find(leaves),
            Check::DownPeer => peers.find(is_down),
            Check::ExtraPeer => peers.rfind(|peer| peer.store != region.leader),
            _ => None,
        };
        found.map(Peer::store)
    }

    /// The store with the fewest regions that can take a peer of this region now.
    fn target_for(&self, region: &Region) -> Option<StoreId> {
        let down_after = self.config.down_after(self.now);
        let fits = |store: &&Store| {
            store.state_name(self.now, down_after) == StoreState::Up
                && store.credit >= 1.0
                && region.peer_on(store.id).is_none()
                && !self.is_low_on_space(store.id)
        };
        let fitting = self.stores.values().filter(fits).map(|store| store.id);
        fitting.min_by_key(|store| self.regions.totals_of(*store).regions)
    }
}
