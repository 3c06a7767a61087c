//! Decommissioning of stores: from `Offline` to `Tombstone`, or cancelled before that.

use super::store::{Limits, TargetState, UNLIMITED};
use super::{StoreId, World};

/// Why PD refuses to take a store offline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OfflineError {
    NotFound,
    Removed,
    Destroyed,
    /// The number of stores that would be left, and the number needed.
    NotEnough(usize, usize),
    NoLeaders,
}

/// Progress of a decommissioning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) done: f64,
    /// MiB/s.
    pub(crate) speed: f64,
    pub(crate) left_seconds: f64,
}

impl World {
    pub(crate) fn take_offline(&mut self, id: StoreId, force: bool) -> Result<(), OfflineError> {
        let store = self.stores.get(&id).ok_or(OfflineError::NotFound)?;
        if store.target_state == TargetState::Tombstone {
            return Err(OfflineError::Removed);
        }
        if store.target_state == TargetState::Offline {
            return if store.destroyed && !force {
                Err(OfflineError::Destroyed)
            } else {
                Ok(())
            };
        }
        if !force {
            self.check_enough_stay(id)?;
        }
        self.leaving
            .insert(id, (self.regions.totals_of(id).region_size, self.now));
        if let Some(store) = self.stores.get_mut(&id) {
            store.target_state = TargetState::Offline;
            store.destroyed = force;
            store.limits.remove_peer = UNLIMITED;
        }
        self.regions.set_removing(id, true);
        Ok(())
    }

    fn check_enough_stay(&self, id: StoreId) -> Result<(), OfflineError> {
        let needed = self.config.number("max-replicas", self.now);
        let stay = self
            .stores
            .values()
            .filter(|it| it.target_state == TargetState::Up && it.id != id);
        let stay: Vec<StoreId> = stay.map(|store| store.id).collect();
        if stay.len() < needed {
            return Err(OfflineError::NotEnough(stay.len(), needed));
        }
        if stay.iter().all(|store| self.schedulers.evicts(*store)) {
            return Err(OfflineError::NoLeaders);
        }
        Ok(())
    }

    pub(crate) fn bring_back(&mut self, id: StoreId) -> Result<(), OfflineError> {
        let default = Limits {
            add_peer: 15.0,
            remove_peer: 15.0,
        };
        let store = self.stores.get_mut(&id).ok_or(OfflineError::NotFound)?;
        match store.target_state {
            TargetState::Tombstone => return Err(OfflineError::Removed),
            TargetState::Offline if store.destroyed => return Err(OfflineError::Destroyed),
            TargetState::Offline => store.limits = default,
            TargetState::Up => {}
        }
        store.target_state = TargetState::Up;
        self.leaving.remove(&id);
        self.regions.set_removing(id, false);
        Ok(())
    }

    /// Turns offline stores without regions into tombstones.
    pub(super) fn bury(&mut self) {
        for store in self.stores.values_mut() {
            if store.target_state == TargetState::Offline
                && self.regions.totals_of(store.id).regions == 0
            {
                store.end(super::store::StoreProcess::Killed(self.now), self.now);
                store.target_state = TargetState::Tombstone;
                self.leaving.remove(&store.id);
            }
        }
    }

    pub(crate) fn progress(&self, id: StoreId) -> Option<Progress> {
        let (all, since) = *self.leaving.get(&id)?;
        let left = self.regions.totals_of(id).region_size;
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

    /// The stores that are being decommissioned, with their progress.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = (StoreId, Progress)> {
        let stores = self.leaving.keys();
        stores.filter_map(|id| Some((*id, self.progress(*id)?)))
    }
}
