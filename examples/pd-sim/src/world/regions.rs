//! All regions, with what PD knows of them in sum at any time: nothing here walks through all of them to answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::StoreId;
use super::region::{Peer, Region, RegionId, Role};

/// A place in the list of regions. It stays that of its region for ever.
pub(crate) type At = u32;

/// What PD checks regions for.
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
    /// Not a check of PD's: the regions without a leader.
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

/// From this size on TiKV would split a region. MiB: `region-max-size` of v8.5.
const OVERSIZED: u32 = 384;
/// Up to this size and number of keys a region may be merged: `max-merge-region-size`, `max-merge-region-keys`.
const UNDERSIZED: (u32, u32) = (54, 540_000);

/// What one store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) leaders: u64,
    pub(crate) regions: u64,
    /// MiB.
    pub(crate) leader_size: u64,
    pub(crate) region_size: u64,
    pub(crate) leader_keys: u64,
    pub(crate) region_keys: u64,
    pub(crate) learners: u64,
    pub(crate) pending: u64,
    /// Bytes written and read per heartbeat interval, of what it leads.
    pub(crate) written: u64,
    pub(crate) read: u64,
}

/// What all regions hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) count: u64,
    /// MiB.
    pub(crate) size: u64,
    pub(crate) keys: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    list: Vec<Region>,
    by_id: HashMap<RegionId, At>,
    by_start: BTreeMap<u64, At>,
    tallies: HashMap<StoreId, Tally>,
    led: HashMap<StoreId, Vec<At>>,
    checks: [BTreeSet<At>; 10],
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

    pub(crate) fn add(&mut self, mut region: Region) -> At {
        // A copy of a region is not where its original is.
        region.checks = 0;
        let at = At::try_from(self.list.len()).expect("there are at most a few million regions");
        self.by_id.insert(region.id, at);
        self.by_start.insert(region.start, at);
        self.list.push(region);
        self.count(at, true);
        at
    }

    pub(crate) fn get(&self, at: At) -> &Region {
        &self.list[at as usize]
    }

    pub(crate) fn find(&self, id: RegionId) -> Option<At> {
        self.by_id.get(&id).copied()
    }

    /// Where the region ends; none for the last one.
    pub(crate) fn end(&self, at: At) -> Option<u64> {
        let after = self.get(at).start + 1;
        self.by_start.range(after..).next().map(|(start, _)| *start)
    }

    pub(crate) fn next(&self, at: At) -> Option<At> {
        let after = self.get(at).start + 1;
        self.by_start.range(after..).next().map(|(_, at)| *at)
    }

    pub(crate) fn previous(&self, at: At) -> Option<At> {
        let start = self.get(at).start;
        self.by_start.range(..start).next_back().map(|(_, at)| *at)
    }

    /// The regions from the one that holds this table on, in the order of their keys.
    pub(crate) fn starting_at(&self, table: u64) -> impl Iterator<Item = At> {
        let first = self.by_start.range(..=table).next_back();
        let from = first.map_or(table, |(start, _)| *start);
        self.by_start.range(from..).map(|(_, at)| *at)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = At> {
        self.by_start.values().copied()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn tally(&self, store: StoreId) -> Tally {
        self.tallies.get(&store).copied().unwrap_or_default()
    }

    pub(crate) fn led_by(&self, store: StoreId) -> &[At] {
        self.led.get(&store).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn found_by(&self, check: Check) -> &BTreeSet<At> {
        &self.checks[check as usize]
    }

    pub(crate) fn on_store(&self, store: StoreId) -> Vec<At> {
        let holds = |at: &At| self.get(*at).peer_on(store).is_some();
        self.all().filter(holds).collect()
    }

    /// Every change goes through here, and every sum follows.
    pub(crate) fn edit(&mut self, at: At, change: impl FnOnce(&mut Region)) {
        self.count(at, false);
        change(&mut self.list[at as usize]);
        self.count(at, true);
    }

    /// The peers on this store are to leave it, or may stay again.
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

    /// Cuts a region at this table; the new one, to its left as with TiKV's `right-derive-when-split`, has the given ids.
    pub(crate) fn split(&mut self, at: At, table: u64, id: RegionId, peer_ids: &[u64]) {
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

    /// Joins a region to its neighbour.
    pub(crate) fn merge(&mut self, source: At, target: At) {
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

    fn count(&mut self, at: At, add: bool) {
        // Taken out while the sums change.
        let empty = Region::new(0, 0, Vec::new(), 0);
        let region = std::mem::replace(&mut self.list[at as usize], empty);
        let (size, keys) = (u64::from(region.size), u64::from(region.keys));
        change(&mut self.totals.count, 1, add);
        change(&mut self.totals.size, size, add);
        change(&mut self.totals.keys, keys, add);
        for peer in &region.peers {
            let tally = self.tallies.entry(peer.store()).or_default();
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

    fn list_leader(&mut self, at: At, leader: StoreId, add: bool) {
        let led = self.led.entry(leader).or_default();
        if add {
            self.list[at as usize].slot = At::try_from(led.len()).unwrap_or(At::MAX);
            led.push(at);
            return;
        }
        let slot = self.list[at as usize].slot;
        led.swap_remove(slot as usize);
        if let Some(moved) = led.get(slot as usize) {
            self.list[*moved as usize].slot = slot;
        }
    }

    fn file(&mut self, at: At, checks: u16) {
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

impl Tally {
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
