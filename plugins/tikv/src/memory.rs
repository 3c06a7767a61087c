//! What is remembered from cycle to cycle. What `check` needs of it is written into the observation.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use operator_plugin_kit::Endpoint;

use crate::{collect::KnownLists, costs::Costs, leader_rules::LeaderRules, pd::wire::RegionStats};

/// A leader begins with the heartbeats that its predecessor stored, which it does every 5 minutes. A store from which it has
/// received none itself after that, and half a minute more, counts as down.
const STORES_SETTLE: Duration = Duration::from_secs(330);
/// Stores report their regions every 60 s, and twice that is allowed for all of them.
const REGIONS_SETTLE: Duration = Duration::from_mins(2);
/// The stores that are remembered as gone. The lowest ids are the oldest.
pub(crate) const MAX_GONE: usize = 100;

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
    /// The last list of each check.
    pub(crate) lists: KnownLists,
    /// The last numbers of regions.
    pub(crate) stats: Option<(RegionStats, Instant)>,
    pub(crate) costs: Costs,
    /// The rules about leaders, and when they were read.
    pub(crate) leader_rules: Option<(Instant, LeaderRules)>,
    /// Whether what the host keeps was taken over.
    pub(crate) is_restored: bool,
    pub(crate) cluster_id: Option<u64>,
    /// The stores of this cluster that were seen and are not known to be gone.
    pub(crate) stores: BTreeSet<u64>,
    /// Of those, the ones that PD does not list now.
    pub(crate) missing: Vec<u64>,
    /// The stores that have left the cluster, and how that is known.
    pub(crate) gone: BTreeMap<u64, String>,
}

impl Memory {
    /// Another cluster has other stores: that it does not list those of before says nothing of them.
    pub(crate) fn learn_cluster(&mut self, cluster_id: u64) {
        if self.cluster_id.replace(cluster_id) != Some(cluster_id) {
            self.stores.clear();
            self.missing.clear();
            self.gone.clear();
            self.evicting.clear();
        }
    }

    /// Learns which stores PD lists now.
    pub(crate) fn learn_stores(&mut self, listed: &BTreeSet<u64>) {
        self.gone.retain(|id, _| !listed.contains(id));
        self.stores.extend(listed);
        self.missing = self.stores.difference(listed).copied().collect();
    }

    pub(crate) fn learn_gone(&mut self, id: u64, why: &str) {
        self.stores.remove(&id);
        self.missing.retain(|missing| *missing != id);
        self.gone.insert(id, why.to_owned());
        while self.gone.len() > MAX_GONE {
            self.gone.pop_first();
        }
    }
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
    /// As it was known before a restart.
    pub(crate) fn restored(leader: Option<u64>, changed: Option<Instant>) -> Self {
        Self {
            now: leader,
            seen_before: leader.is_some(),
            changed,
            ..Self::default()
        }
    }

    pub(crate) fn id(&self) -> Option<u64> {
        self.now
    }

    /// How long ago it changed, while that matters.
    pub(crate) fn unsettled_for(&self, now: Instant) -> Option<Duration> {
        let ago = self.changed_ago(now)?;
        (ago < STORES_SETTLE + REGIONS_SETTLE).then_some(ago)
    }

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
    fn a_store_is_gone_only_when_that_is_known() {
        let mut memory = Memory::default();
        memory.learn_cluster(7);
        memory.learn_stores(&[1, 4, 5].into());
        memory.learn_stores(&[1, 5].into());
        assert_eq!(
            (memory.missing.as_slice(), memory.gone.len()),
            (&[4][..], 0)
        );
        memory.learn_gone(4, "PD calls it Tombstone");
        memory.learn_stores(&[1, 5].into());
        assert_eq!((memory.missing.len(), memory.gone.len()), (0, 1));
        memory.learn_stores(&[1, 4, 5].into());
        assert_eq!(memory.gone.len(), 0, "it is back");
        memory.learn_cluster(8);
        memory.learn_stores(&[9].into());
        assert_eq!(memory.missing, [0; 0], "it is another cluster");
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
