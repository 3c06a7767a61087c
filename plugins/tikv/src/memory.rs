//! What is remembered from cycle to cycle. What comes of it is written into the observation, so that `check` needs no memory.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{endpoint::Endpoint, look::LongLists};

/// A TiKV tells PD of itself every 10 s; three times that, since a leader first has to find its feet.
const STORES_SETTLE: Duration = Duration::from_secs(30);
/// Regions are told every 60 s, and as long again is allowed for all of them.
const REGIONS_SETTLE: Duration = Duration::from_mins(2);

/// From cycle to cycle.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) leader: Leadership,
    /// Since when an evict-leader scheduler has been seen to hold a store.
    pub(crate) evicting: BTreeMap<u64, Instant>,
    /// Since when all scheduling has been seen halted.
    pub(crate) halted: Option<Instant>,
    /// The members that PD told of, for when no configured PD answers.
    pub(crate) members: Vec<Endpoint>,
    /// The last long list of each check.
    pub(crate) long_lists: LongLists,
}

/// Which PD has been leading, and since when.
#[derive(Debug, Default)]
pub(crate) struct Leadership {
    /// None while there is none, or before one was seen.
    now: Option<u64>,
    seen_before: bool,
    changed: Option<Instant>,
}

impl Leadership {
    /// One that comes back after an absence has begun anew, too.
    pub(crate) fn learn(&mut self, leader: Option<u64>, now: Instant) {
        if leader.is_some() && leader != self.now && self.seen_before {
            self.changed = Some(now);
        }
        self.seen_before |= leader.is_some();
        self.now = leader;
    }

    /// None where no change was seen.
    pub(crate) fn changed_ago(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.changed?))
    }

    /// Whether it had the time to hear of every store. None without a leader.
    pub(crate) fn stores_settled(&self, now: Instant) -> Option<bool> {
        self.settled(now, STORES_SETTLE)
    }

    /// Whether it had the time to hear of every region. None without a leader.
    pub(crate) fn regions_settled(&self, now: Instant) -> Option<bool> {
        self.settled(now, REGIONS_SETTLE)
    }

    fn settled(&self, now: Instant, after: Duration) -> Option<bool> {
        self.now?;
        Some(self.changed_ago(now).is_none_or(|ago| ago >= after))
    }
}

/// Keeps the time at which each was first seen, and forgets those that are gone.
pub(crate) fn note(since: &mut BTreeMap<u64, Instant>, there: &[u64], now: Instant) {
    since.retain(|id, _| there.contains(id));
    for id in there {
        since.entry(*id).or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_settled_unless_a_change_was_seen() {
        let start = Instant::now();
        let later = |s| start + Duration::from_secs(s);
        let mut leader = Leadership::default();
        assert_eq!(leader.stores_settled(start), None);
        leader.learn(Some(1), start);
        assert_eq!(
            (leader.stores_settled(start), leader.changed_ago(start)),
            (Some(true), None)
        );
        leader.learn(Some(2), later(1));
        assert_eq!(leader.stores_settled(later(30)), Some(false));
        assert_eq!(leader.stores_settled(later(31)), Some(true));
        assert_eq!(leader.regions_settled(later(31)), Some(false));
        leader.learn(None, later(40));
        assert_eq!(leader.stores_settled(later(40)), None);
        leader.learn(Some(2), later(50));
        assert_eq!(
            leader.stores_settled(later(51)),
            Some(false),
            "it came back"
        );
    }

    #[test]
    fn the_first_sight_is_kept_until_it_is_gone() {
        let start = Instant::now();
        let mut since = BTreeMap::new();
        note(&mut since, &[1, 4], start);
        note(&mut since, &[4], start + Duration::from_secs(5));
        note(&mut since, &[1, 4], start + Duration::from_secs(9));
        assert_eq!(since[&4], start);
        assert_eq!(since[&1], start + Duration::from_secs(9));
    }
}
