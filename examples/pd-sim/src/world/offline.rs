//! Stores that are decommissioned: from `Offline` to `Tombstone`, and back while there is time.

use super::store::{Limits, UNLIMITED, Wanted};
use super::{StoreId, World};

/// Why PD does not take a store offline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    Removed,
    Destroyed,
    /// So many would be left, so many are needed.
    NotEnough(usize, usize),
    NoLeaders,
}

/// How far a decommissioning has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) done: f64,
    /// MiB/s.
    pub(crate) speed: f64,
    pub(crate) left_seconds: f64,
}

impl World {
    pub(crate) fn take_offline(&mut self, id: StoreId, force: bool) -> Result<(), Refusal> {
        let store = self.stores.get(&id).ok_or(Refusal::NotFound)?;
        if store.wanted == Wanted::Tombstone {
            return Err(Refusal::Removed);
        }
        if store.wanted == Wanted::Offline {
            return if store.destroyed && !force {
                Err(Refusal::Destroyed)
            } else {
                Ok(())
            };
        }
        if !force {
            self.check_enough_stay(id)?;
        }
        self.leaving
            .insert(id, (self.regions.tally(id).region_size, self.now));
        if let Some(store) = self.stores.get_mut(&id) {
            store.wanted = Wanted::Offline;
            store.destroyed = force;
            store.limits.remove_peer = UNLIMITED;
        }
        self.regions.set_removing(id, true);
        Ok(())
    }

    fn check_enough_stay(&self, id: StoreId) -> Result<(), Refusal> {
        let needed = self.config.number("max-replicas", self.now);
        let stay = self
            .stores
            .values()
            .filter(|it| it.wanted == Wanted::Up && it.id != id);
        let stay: Vec<StoreId> = stay.map(|store| store.id).collect();
        if stay.len() < needed {
            return Err(Refusal::NotEnough(stay.len(), needed));
        }
        if stay.iter().all(|store| self.schedulers.evicts(*store)) {
            return Err(Refusal::NoLeaders);
        }
        Ok(())
    }

    pub(crate) fn bring_back(&mut self, id: StoreId) -> Result<(), Refusal> {
        let default = Limits {
            add_peer: 15.0,
            remove_peer: 15.0,
        };
        let store = self.stores.get_mut(&id).ok_or(Refusal::NotFound)?;
        match store.wanted {
            Wanted::Tombstone => return Err(Refusal::Removed),
            Wanted::Offline if store.destroyed => return Err(Refusal::Destroyed),
            Wanted::Offline => store.limits = default,
            Wanted::Up => {}
        }
        store.wanted = Wanted::Up;
        self.leaving.remove(&id);
        self.regions.set_removing(id, false);
        Ok(())
    }

    /// Offline stores that hold nothing any more become tombstones.
    pub(super) fn bury(&mut self) {
        for store in self.stores.values_mut() {
            if store.wanted == Wanted::Offline && self.regions.tally(store.id).regions == 0 {
                store.end(super::store::Life::Killed(self.now), self.now);
                store.wanted = Wanted::Tombstone;
                self.leaving.remove(&store.id);
            }
        }
    }

    pub(crate) fn progress(&self, id: StoreId) -> Option<Progress> {
        let (all, since) = *self.leaving.get(&id)?;
        let left = self.regions.tally(id).region_size;
        #[expect(
            clippy::cast_precision_loss,
            reason = "MiB and seconds stay far below 2^52"
        )]
        let (all, left, took) = (all as f64, left as f64, (self.now - since) as f64 / 1e9);
        let speed = if took > 0.0 { (all - left) / took } else { 0.0 };
        Some(Progress {
            done: if all > 0.0 { (all - left) / all } else { 1.0 },
            speed,
            left_seconds: if speed > 0.0 { left / speed } else { f64::MAX },
        })
    }

    /// The stores that leave, with their progress.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = (StoreId, Progress)> {
        let stores = self.leaving.keys();
        stores.filter_map(|id| Some((*id, self.progress(*id)?)))
    }
}
