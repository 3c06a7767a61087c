//! What is remembered from cycle to cycle. What `check` needs of it is written into the observation.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use operator_plugin_kit::Endpoint;

use crate::collect::LongLists;

/// A leader begins with the heartbeats that its predecessor stored, which it does every 5 minutes. A store from which it has
/// received none itself after that, and half a minute more, counts as down.
const STORES_SETTLE: Duration = Duration::from_secs(330);
/// Stores report their regions every 60 s, and twice that is allowed for all of them.
const REGIONS_SETTLE: Duration = Duration::from_mins(2);

/// From cycle to cycle.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) leader: Leadership,
    /// Since when an evict-leader scheduler has been seen to hold a store.
    pub(crate) evicting: BTreeMap<u64, Instant>,
    /// Since when all scheduling has been seen halted.
    pub(crate) halted: Option<Instant>,
    /// The members that PD listed, for when no configured PD answers.
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
    /// Each store's last heartbeat as this leader first reported it. Milliseconds since the Unix epoch.
    inherited: BTreeMap<u64, i64>,
    /// Whether it has received a heartbeat of any store itself.
    has_heard: bool,
}

impl Leadership {
    /// One that comes back after an absence has begun anew, too.
    pub(crate) fn learn(&mut self, leader: Option<u64>, now: Instant) {
        if leader.is_some() && leader != self.now && self.seen_before {
            self.changed = Some(now);
            self.inherited.clear();
            self.has_heard = false;
        }
        self.seen_before |= leader.is_some();
        self.now = leader;
    }

    /// None where no change was seen.
    pub(crate) fn changed_ago(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.changed?))
    }

    /// Learns each store's last heartbeat, as the leader reports it.
    pub(crate) fn learn_heartbeats(&mut self, heartbeats: impl Iterator<Item = (u64, i64)>) {
        for (store, at) in heartbeats {
            let inherited = *self.inherited.entry(store).or_insert(at);
            self.has_heard |= at > inherited;
        }
    }

    /// Whether it has received a heartbeat of this store itself, or had the time to.
    pub(crate) fn has_heard_of(&self, store: u64, at: i64, now: Instant) -> bool {
        let itself = self
            .inherited
            .get(&store)
            .is_some_and(|inherited| at > *inherited);
        itself || self.had(STORES_SETTLE, now)
    }

    /// Whether it had the time to receive the state of every region. None without a leader.
    pub(crate) fn regions_settled(&self, now: Instant) -> Option<bool> {
        self.now?;
        let heard = self.has_heard && self.had(REGIONS_SETTLE, now);
        Some(heard || self.had(STORES_SETTLE + REGIONS_SETTLE, now))
    }

    /// One that was not seen to change has been there for long enough.
    fn had(&self, time: Duration, now: Instant) -> bool {
        self.changed_ago(now).is_none_or(|ago| ago >= time)
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
    fn a_new_leader_decides_once_it_has_received_heartbeats_or_had_the_time() {
        let start = Instant::now();
        let later = |s| start + Duration::from_secs(s);
        let mut leader = Leadership::default();
        assert_eq!(leader.regions_settled(start), None);
        leader.learn(Some(1), start);
        leader.learn_heartbeats([(4, 10)].into_iter());
        assert!(leader.has_heard_of(4, 10, start), "no change was seen");
        assert_eq!(leader.regions_settled(start), Some(true));

        leader.learn(Some(2), later(1));
        leader.learn_heartbeats([(4, 10), (5, 10)].into_iter());
        assert!(!leader.has_heard_of(4, 10, later(330)));
        assert!(leader.has_heard_of(4, 10, later(331)));
        assert_eq!(leader.regions_settled(later(331)), Some(false));
        assert_eq!(leader.regions_settled(later(451)), Some(true));

        leader.learn_heartbeats([(4, 11)].into_iter());
        assert!(leader.has_heard_of(4, 11, later(2)));
        assert!(!leader.has_heard_of(5, 10, later(2)));
        assert_eq!(leader.regions_settled(later(120)), Some(false));
        assert_eq!(leader.regions_settled(later(121)), Some(true));

        leader.learn(None, later(400));
        assert_eq!(leader.regions_settled(later(400)), None);
        leader.learn(Some(2), later(410));
        assert_eq!(
            leader.regions_settled(later(411)),
            Some(false),
            "it came back"
        );
        assert!(!leader.has_heard_of(4, 11, later(411)));
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
