//! All regions, with running totals, so that no query has to iterate over all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::StoreId;
use super::region::{Peer, Region, RegionId, Role};

/// The index of a region in the list. It never changes.
pub(crate) type RegionIndex = u32;

/// Conditions that PD checks regions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Check {
    MissPeer,
    ExtraPeer,
    DownPeer,
    PendingPeer,
    OfflinePeer,
    LearnerPeer,
    EmptyRegion,
    OversizedRegion,
    UndersizedRegion,
    /// Not one of PD's checks: the regions without a leader.
    Leaderless,
}

impl Check {
    pub(crate) const ALL: [(Self, &'static str); 9] = [
        (Self::MissPeer, "miss-peer"),
        (Self::ExtraPeer, "extra-peer"),
        (Self::DownPeer, "down-peer"),
        (Self::PendingPeer, "pending-peer"),
        (Self::OfflinePeer, "offline-peer"),
        (Self::LearnerPeer, "learner-peer"),
        (Self::EmptyRegion, "empty-region"),
        (Self::OversizedRegion, "oversized-region"),
        (Self::UndersizedRegion, "undersized-region"),
    ];

    fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// The size from which TiKV would split a region, in MiB: `region-max-size` of v8.5.
const OVERSIZED: u32 = 384;
/// Maximum size and number of keys for a merge: `max-merge-region-size`, `max-merge-region-keys`.
const UNDERSIZED: (u32, u32) = (54, 540_000);

/// Totals of one store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StoreTotals {
    pub(crate) leaders: u64,
    pub(crate) regions: u64,
    /// MiB.
    pub(crate) leader_size: u64,
    pub(crate) region_size: u64,
    pub(crate) leader_keys: u64,
    pub(crate) region_keys: u64,
    pub(crate) learners: u64,
    pub(crate) pending: u64,
    /// Bytes written and read per heartbeat interval, in regions that it leads.
    pub(crate) written: u64,
    pub(crate) read: u64,
}

/// Totals over all regions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) count: u64,
    /// MiB.
    pub(crate) size: u64,
    pub(crate) keys: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Regions {
    list: Vec<Region>,
    by_id: HashMap<RegionId, RegionIndex>,
    by_start: BTreeMap<u64, RegionIndex>,
    store_totals: HashMap<StoreId, StoreTotals>,
    led: HashMap<StoreId, Vec<RegionIndex>>,
    checks: [BTreeSet<RegionIndex>; 10],
    totals: Totals,
    replicas: usize,
    /// Stores that are being decommissioned.
    removing: BTreeSet<StoreId>,
}

impl Regions {
    pub(crate) fn new(replicas: usize) -> Self {
        Self {
            replicas,
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, mut region: Region) -> RegionIndex {
        // The flags of a copied region belong to the original's position.
        region.checks = 0;
        let at = RegionIndex::try_from(self.list.len())
            .expect("there are at most a few million regions");
        self.by_id.insert(region.id, at);
        self.by_start.insert(region.start, at);
        self.list.push(region);
        self.count(at, true);
        at
    }

    pub(crate) fn get(&self, at: RegionIndex) -> &Region {
        &self.list[at as usize]
    }

    pub(crate) fn find(&self, id: RegionId) -> Option<RegionIndex> {
        self.by_id.get(&id).copied()
    }

    /// The end of the region; `None` for the last one.
    pub(crate) fn end(&self, at: RegionIndex) -> Option<u64> {
        let after = self.get(at).start + 1;
        self.by_start.range(after..).next().map(|(start, _)| *start)
    }

    pub(crate) fn next(&self, at: RegionIndex) -> Option<RegionIndex> {
        let after = self.get(at).start + 1;
        self.by_start.range(after..).next().map(|(_, at)| *at)
    }

    pub(crate) fn previous(&self, at: RegionIndex) -> Option<RegionIndex> {
        let start = self.get(at).start;
        self.by_start.range(..start).next_back().map(|(_, at)| *at)
    }

    /// The regions from the one that contains this table on, in key order.
    pub(crate) fn starting_at(&self, table: u64) -> impl Iterator<Item = RegionIndex> {
        let first = self.by_start.range(..=table).next_back();
        let from = first.map_or(table, |(start, _)| *start);
        self.by_start.range(from..).map(|(_, at)| *at)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = RegionIndex> {
        self.by_start.values().copied()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn totals_of(&self, store: StoreId) -> StoreTotals {
        self.store_totals.get(&store).copied().unwrap_or_default()
    }

    pub(crate) fn led_by(&self, store: StoreId) -> &[RegionIndex] {
        self.led.get(&store).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn found_by(&self, check: Check) -> &BTreeSet<RegionIndex> {
        &self.checks[check as usize]
    }

    pub(crate) fn on_store(&self, store: StoreId) -> Vec<RegionIndex> {
        let holds = |at: &RegionIndex| self.get(*at).peer_on(store).is_some();
        self.all().filter(holds).collect()
    }

    /// Every change goes through here, which keeps all totals up to date.
    pub(crate) fn edit(&mut self, at: RegionIndex, change: impl FnOnce(&mut Region)) {
        self.count(at, false);
        change(&mut self.list[at as usize]);
        self.count(at, true);
    }

    /// Marks whether the peers on this store must be moved away.
    pub(crate) fn set_removing(&mut self, store: StoreId, removing: bool) {
        let changed = if removing {
            self.removing.insert(store)
        } else {
            self.removing.remove(&store)
        };
        if changed {
            for at in self.on_store(store) {
                self.edit(at, |_| {});
            }
        }
    }

    /// Splits a region at this table. The new region has the given ids and is on the left, as with TiKV's
    /// `right-derive-when-split`.
    pub(crate) fn split(&mut self, at: RegionIndex, table: u64, id: RegionId, peer_ids: &[u64]) {
        let mut left = self.get(at).clone();
        left.id = id;
        for (peer, id) in left.peers.iter_mut().zip(peer_ids) {
            peer.id = *id;
        }
        left.version += 1;
        halve(&mut left);
        self.by_start.remove(&left.start);
        self.edit(at, |right| {
            right.start = table;
            right.version += 1;
            halve(right);
        });
        self.by_start.insert(table, at);
        self.add(left);
    }

    /// Merges a region into its neighbour.
    pub(crate) fn merge(&mut self, source: RegionIndex, target: RegionIndex) {
        let absorbed = self.get(source).clone();
        self.count(source, false);
        self.file(source, 0);
        self.by_id.remove(&absorbed.id);
        self.by_start.remove(&absorbed.start);
        let before = self.get(target).start;
        let start = before.min(absorbed.start);
        self.by_start.remove(&before);
        self.edit(target, |target| {
            target.start = start;
            target.size += absorbed.size;
            target.keys += absorbed.keys;
            target.version = target.version.max(absorbed.version) + 1;
        });
        self.by_start.insert(start, target);
    }

    fn count(&mut self, at: RegionIndex, add: bool) {
        // Subtracted while the region changes.
        let empty = Region::new(0, 0, Vec::new(), 0);
        let region = std::mem::replace(&mut self.list[at as usize], empty);
        let (size, keys) = (u64::from(region.size), u64::from(region.keys));
        change(&mut self.totals.count, 1, add);
        change(&mut self.totals.size, size, add);
        change(&mut self.totals.keys, keys, add);
        for peer in &region.peers {
            let tally = self.store_totals.entry(peer.store()).or_default();
            tally.count_peer(&region, peer, add);
        }
        let leader = region.leader();
        let checks = self.classify(&region);
        self.list[at as usize] = region;
        if let Some(leader) = leader {
            self.list_leader(at, leader, add);
        }
        if add {
            self.file(at, checks);
        }
    }

    fn list_leader(&mut self, at: RegionIndex, leader: StoreId, add: bool) {
        let led = self.led.entry(leader).or_default();
        if add {
            self.list[at as usize].slot =
                RegionIndex::try_from(led.len()).unwrap_or(RegionIndex::MAX);
            led.push(at);
            return;
        }
        let slot = self.list[at as usize].slot;
        led.swap_remove(slot as usize);
        if let Some(moved) = led.get(slot as usize) {
            self.list[*moved as usize].slot = slot;
        }
    }

    fn file(&mut self, at: RegionIndex, checks: u16) {
        let before = std::mem::replace(&mut self.list[at as usize].checks, checks);
        if before == checks {
            return;
        }
        for (number, set) in self.checks.iter_mut().enumerate() {
            let bit = 1 << number;
            match (before & bit != 0, checks & bit != 0) {
                (false, true) => {
                    set.insert(at);
                }
                (true, false) => {
                    set.remove(&at);
                }
                _ => {}
            }
        }
    }

    fn classify(&self, region: &Region) -> u16 {
        let any = |is: fn(&Peer) -> bool| region.peers.iter().any(is);
        let leaves = |peer: &Peer| self.removing.contains(&peer.store());
        let is_small = region.size <= UNDERSIZED.0 && region.keys <= UNDERSIZED.1;
        let found = [
            (Check::MissPeer, region.peers.len() < self.replicas),
            (Check::ExtraPeer, region.peers.len() > self.replicas),
            (Check::DownPeer, any(|peer| peer.down)),
            (Check::PendingPeer, any(|peer| peer.pending)),
            (Check::OfflinePeer, region.peers.iter().any(leaves)),
            (Check::LearnerPeer, any(|peer| peer.role == Role::Learner)),
            (Check::EmptyRegion, region.size <= 1),
            (Check::OversizedRegion, region.size >= OVERSIZED),
            (Check::UndersizedRegion, is_small),
            (Check::Leaderless, region.leader().is_none()),
        ];
        let bits = found.iter().filter(|(_, is)| *is);
        bits.fold(0, |bits, (check, _)| bits | check.bit())
    }
}

impl StoreTotals {
    fn count_peer(&mut self, region: &Region, peer: &Peer, add: bool) {
        let (size, keys) = (u64::from(region.size), u64::from(region.keys));
        change(&mut self.regions, 1, add);
        change(&mut self.region_size, size, add);
        change(&mut self.region_keys, keys, add);
        change(
            &mut self.learners,
            u64::from(peer.role == Role::Learner),
            add,
        );
        change(&mut self.pending, u64::from(peer.pending), add);
        if region.leader == peer.store {
            change(&mut self.leaders, 1, add);
            change(&mut self.leader_size, size, add);
            change(&mut self.leader_keys, keys, add);
            change(&mut self.written, region.written.into(), add);
            change(&mut self.read, region.read.into(), add);
        }
    }
}

fn change(sum: &mut u64, by: u64, add: bool) {
    *sum = if add { *sum + by } else { *sum - by };
}

fn halve(region: &mut Region) {
    region.size = (region.size / 2).max(1);
    region.keys /= 2;
    region.written /= 2;
    region.read /= 2;
}

#[cfg(test)]
mod tests;
