//! PD's own work: peers are put back where they belong.

use super::operator::kind;
use super::plan::{Aim, Title};
use super::region::{Peer, Region, Role};
use super::regions::{At, Check};
use super::store::{StateName, Store, Wanted};
use super::{StoreId, World};

/// Regions that the checkers look at in one turn.
const PATROL: usize = 256;

/// What is done about which finding, and the setting that forbids it.
struct Remedy {
    check: Check,
    switch: &'static str,
    desc: &'static str,
    adds: bool,
}

const REMEDIES: [Remedy; 4] = [
    Remedy {
        check: Check::OfflinePeer,
        switch: "enable-replace-offline-replica",
        desc: "replace-rule-offline-peer",
        adds: true,
    },
    Remedy {
        check: Check::DownPeer,
        switch: "enable-remove-down-replica",
        desc: "replace-rule-down-peer",
        adds: true,
    },
    Remedy {
        check: Check::MissPeer,
        switch: "enable-make-up-replica",
        desc: "add-rule-peer",
        adds: true,
    },
    Remedy {
        check: Check::ExtraPeer,
        switch: "enable-remove-extra-replica",
        desc: "remove-orphan-peer",
        adds: false,
    },
];

impl World {
    /// A look at the regions that need something.
    pub(super) fn patrol(&mut self) {
        let limit = self.config.number("replica-schedule-limit", self.now);
        for remedy in &REMEDIES {
            if !self.config.is_on(remedy.switch, self.now) {
                continue;
            }
            let found = self.regions.found_by(remedy.check).iter().take(PATROL);
            for at in found.copied().collect::<Vec<At>>() {
                if self.operators.of_kind(kind::REPLICA) >= limit {
                    return;
                }
                if !self.is_operated(at) {
                    self.mend(at, remedy);
                }
            }
        }
    }

    fn mend(&mut self, at: At, remedy: &Remedy) {
        let region = self.regions.get(at).clone();
        let gone = self.surplus(&region, remedy.check);
        let is_needed = gone.is_some() || remedy.check == Check::MissPeer;
        let home = remedy.adds.then(|| self.home_for(&region)).flatten();
        if !is_needed || (remedy.adds && home.is_none()) {
            return;
        }
        let title = Title {
            desc: remedy.desc,
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

    /// The store whose peer has to go.
    fn surplus(&self, region: &Region, check: Check) -> Option<StoreId> {
        let down_after = self.config.down_after(self.now);
        let is = |peer: &Peer, what: &dyn Fn(&Store) -> bool| {
            self.stores.get(&peer.store()).is_some_and(what)
        };
        let leaves = |peer: &&Peer| is(peer, &|store| store.wanted != Wanted::Up);
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

    /// The emptiest store that may take a peer of this region now.
    fn home_for(&self, region: &Region) -> Option<StoreId> {
        let down_after = self.config.down_after(self.now);
        let fits = |store: &&Store| {
            store.state_name(self.now, down_after) == StateName::Up
                && store.credit >= 1.0
                && region.peer_on(store.id).is_none()
                && !self.is_low_on_space(store.id)
        };
        let fitting = self.stores.values().filter(fits).map(|store| store.id);
        fitting.min_by_key(|store| self.regions.tally(*store).regions)
    }
}
