//! How a store stands, whether or not it is being taken out of the cluster.

use crate::observation::{Data, Store, StoreState};

/// PD's own constant: not heard of for longer is Disconnected. Milliseconds.
const DISCONNECTED_AFTER_MS: u64 = 20_000;

/// How PD hears of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Heard of.
    Up,
    /// Not heard of for more than 20 s.
    Silent,
    /// Not heard of for more than `max-store-down-time`: PD has given it up.
    Down,
    /// No longer of the cluster.
    Gone,
}

/// PD calls a store that is being taken out Offline, dead or alive: there its last heartbeat tells. None is unknown.
pub(super) fn of(store: &Store, data: &Data) -> Option<Standing> {
    match store.state? {
        StoreState::Up => Some(Standing::Up),
        StoreState::Disconnected => Some(Standing::Silent),
        StoreState::Down => Some(Standing::Down),
        StoreState::Tombstone => Some(Standing::Gone),
        StoreState::Offline => match store.heartbeat_age_ms? {
            0..=DISCONNECTED_AFTER_MS => Some(Standing::Up),
            age if age > data.config.max_store_down_time_ms? => Some(Standing::Down),
            _ => Some(Standing::Silent),
        },
    }
}

/// The same, but that a new leader's word on a store that it has not heard of itself is not taken.
pub(super) fn believed(store: &Store, data: &Data) -> Option<Standing> {
    match of(store, data)? {
        away @ (Standing::Silent | Standing::Down) => store.heard_by_leader?.then_some(away),
        standing => Some(standing),
    }
}

/// Whether it is no TiKV: TiFlash has metrics of its own and never leads. None where its labels are not known.
pub(super) fn is_tiflash(store: &Store) -> Option<bool> {
    let engine = store.labels.as_ref()?.get("engine");
    Some(engine.is_some_and(|engine| engine.starts_with("tiflash")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples;

    #[test]
    fn a_store_that_is_taken_out_stands_by_its_heartbeat() {
        let mut data = samples::healthy();
        let standing = |age, data: &Data| {
            let store = Store {
                state: Some(StoreState::Offline),
                heartbeat_age_ms: age,
                ..samples::store(1)
            };
            of(&store, data)
        };
        assert_eq!(standing(Some(20_000), &data), Some(Standing::Up));
        assert_eq!(standing(Some(20_001), &data), Some(Standing::Silent));
        assert_eq!(standing(Some(1_800_001), &data), Some(Standing::Down));
        assert_eq!(standing(None, &data), None);
        data.config.max_store_down_time_ms = None;
        assert_eq!(standing(Some(1_000_000), &data), None);
    }
}
