//! The health of a store, whether or not it is being removed from the cluster.

use crate::observation::{Data, Store, StoreState};

/// PD's own constant: a store whose heartbeat is older is Disconnected. Milliseconds.
const DISCONNECTED_AFTER_MS: u64 = 20_000;

/// The health of a store, by its heartbeats to PD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreHealth {
    /// It sends heartbeats.
    Up,
    /// Its last heartbeat is older than 20 s.
    Silent,
    /// Its last heartbeat is older than `max-store-down-time`: PD replaces it.
    Down,
    /// It has left the cluster.
    Gone,
}

/// PD calls a store that is being removed Offline, dead or alive; there its last heartbeat decides. None is unknown.
pub(super) fn of(store: &Store, data: &Data) -> Option<StoreHealth> {
    match store.state? {
        StoreState::Up => Some(StoreHealth::Up),
        StoreState::Disconnected => Some(StoreHealth::Silent),
        StoreState::Down => Some(StoreHealth::Down),
        StoreState::Tombstone => Some(StoreHealth::Gone),
        StoreState::Offline => match store.heartbeat_age_ms? {
            0..=DISCONNECTED_AFTER_MS => Some(StoreHealth::Up),
            age if age > data.config.max_store_down_time_ms? => Some(StoreHealth::Down),
            _ => Some(StoreHealth::Silent),
        },
    }
}

/// The same, except that a new leader does not decide about a store from which it has received no heartbeat itself.
pub(super) fn confirmed(store: &Store, data: &Data) -> Option<StoreHealth> {
    match of(store, data)? {
        missing @ (StoreHealth::Silent | StoreHealth::Down) => {
            store.heard_by_leader?.then_some(missing)
        }
        health => Some(health),
    }
}

/// The stores of TiKV that serve. None where it is unknown of one of them.
pub(crate) fn serving_stores(data: &Data) -> Option<Vec<&Store>> {
    let mut serving = Vec::new();
    for store in data.stores.as_ref()? {
        let is_up = matches!(of(store, data)?, StoreHealth::Up | StoreHealth::Silent);
        if is_up && !is_tiflash(store)? {
            serving.push(store);
        }
    }
    Some(serving)
}

/// Whether it is a TiFlash store, which has other metrics and never leads. None where its labels are unknown.
pub(super) fn is_tiflash(store: &Store) -> Option<bool> {
    let engine = store.labels.as_ref()?.get("engine");
    Some(engine.is_some_and(|engine| engine.starts_with("tiflash")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples;

    #[test]
    fn a_store_that_is_being_removed_is_judged_by_its_heartbeat() {
        let mut data = samples::healthy();
        let health = |age, data: &Data| {
            let store = Store {
                state: Some(StoreState::Offline),
                heartbeat_age_ms: age,
                ..samples::store(1)
            };
            of(&store, data)
        };
        assert_eq!(health(Some(20_000), &data), Some(StoreHealth::Up));
        assert_eq!(health(Some(20_001), &data), Some(StoreHealth::Silent));
        assert_eq!(health(Some(1_800_001), &data), Some(StoreHealth::Down));
        assert_eq!(health(None, &data), None);
        data.config.max_store_down_time_ms = None;
        assert_eq!(health(Some(1_000_000), &data), None);
    }
}
