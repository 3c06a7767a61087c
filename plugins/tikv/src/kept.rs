//! What the host keeps for the plugin over restarts: what was seen, and for how long.
//!
//! Only time in which somebody watched is counted, so that no step of a clock and no pause is taken for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use operator_plugin_api::MAX_MEMORY;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::memory::{Leadership, MAX_GONE, Memory};

/// The document, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    cluster_id: Option<u64>,
    leader_id: Option<u64>,
    /// While the leader is new.
    leader_changed_s: Option<u64>,
    evicting_s: BTreeMap<u64, u64>,
    halted_s: Option<u64>,
    stores: BTreeSet<u64>,
    gone: BTreeMap<u64, String>,
}

/// Fills a new memory from what was kept. What does not parse was written by another version.
pub(crate) fn restore(memory: &mut Memory, kept: &Value, now: Instant) {
    let Ok(kept) = serde_json::from_value::<Kept>(kept.clone()) else {
        return;
    };
    let since = |seconds: u64| {
        let since = now.checked_sub(Duration::from_secs(seconds));
        since.unwrap_or(now)
    };
    memory.leader = Leadership::restored(kept.leader_id, kept.leader_changed_s.map(since));
    memory.evicting = kept
        .evicting_s
        .into_iter()
        .map(|(store, seconds)| (store, since(seconds)))
        .collect();
    memory.halted = kept.halted_s.map(since);
    memory.cluster_id = kept.cluster_id;
    memory.stores = kept.stores;
    memory.gone = kept.gone;
}

/// What to keep of it.
pub(crate) fn keep(memory: &Memory, now: Instant) -> Value {
    let seconds = |since: &Instant| coarse(now.saturating_duration_since(*since));
    let gone = memory.gone.iter().rev().take(MAX_GONE);
    let mut kept = Kept {
        cluster_id: memory.cluster_id,
        leader_id: memory.leader.id(),
        leader_changed_s: memory.leader.unsettled_for(now).map(coarse),
        evicting_s: memory
            .evicting
            .iter()
            .map(|(store, since)| (*store, seconds(since)))
            .collect(),
        halted_s: memory.halted.as_ref().map(seconds),
        stores: memory.stores.clone(),
        gone: gone.map(|(id, why)| (*id, why.clone())).collect(),
    };
    loop {
        let document = json!(kept);
        if kept.stores.is_empty() || document.to_string().len() <= MAX_MEMORY {
            return document;
        }
        // A store that is not remembered is never called gone; its tickets stay until somebody looks.
        let middle = kept.stores.iter().nth(kept.stores.len() / 2).copied();
        kept.stores = kept.stores.split_off(&middle.unwrap_or_default());
        if kept.stores.len() == 1 {
            kept.stores.clear();
        }
    }
}

/// Whole minutes after the first one, so that the document changes seldom.
fn coarse(time: Duration) -> u64 {
    let seconds = time.as_secs();
    if seconds < 60 {
        seconds
    } else {
        seconds - seconds % 60
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_known_after_a_restart() {
        let start = Instant::now();
        let now = start + Duration::from_secs(1_900);
        let mut memory = Memory::default();
        memory.leader.learn(Some(u64::MAX), start);
        memory.evicting = [(4, start)].into();
        memory.halted = Some(start + Duration::from_secs(1_890));
        memory.cluster_id = Some(7);
        memory.stores = [1, 4].into();
        memory.gone = [(2, "PD calls it Tombstone".to_owned())].into();
        let document = keep(&memory, now);

        let mut again = Memory::default();
        restore(&mut again, &document, now);
        let seen = |since: Instant| now.saturating_duration_since(since).as_secs();
        assert_eq!(seen(again.evicting[&4]), 1_860, "whole minutes");
        assert_eq!(again.halted.map(seen), Some(10));
        assert_eq!((again.cluster_id, &again.gone), (Some(7), &memory.gone));
        assert_eq!(again.stores, memory.stores);
        assert_eq!(keep(&again, now), document);
        restore(&mut again, &json!("of another version"), now);
        assert_eq!(keep(&again, now), document);
    }

    #[test]
    fn a_leader_that_changed_while_nobody_watched_is_new() {
        let now = Instant::now();
        let mut memory = Memory::default();
        memory.leader.learn(Some(1), now);
        let mut again = Memory::default();
        restore(&mut again, &keep(&memory, now), now);
        again.leader.learn(Some(2), now);
        assert_eq!(again.leader.regions_settled(now), Some(false));
        let mut third = Memory::default();
        restore(&mut third, &keep(&again, now), now);
        third.leader.learn(Some(2), now);
        assert_eq!(
            third.leader.regions_settled(now),
            Some(false),
            "it still is"
        );
    }

    #[test]
    fn the_document_is_small_whatever_there_is() {
        let memory = Memory {
            stores: (0..20_000).map(|index| u64::MAX - index).collect(),
            gone: (0..5_000)
                .map(|id| (id, "it was removed".to_owned()))
                .collect(),
            ..Memory::default()
        };
        let document = keep(&memory, Instant::now());
        assert!(document.to_string().len() <= MAX_MEMORY);
        let kept: Kept = serde_json::from_value(document).unwrap();
        assert!(kept.stores.len() > 1_000, "{}", kept.stores.len());
        assert_eq!(kept.gone.len(), MAX_GONE);
    }
}
