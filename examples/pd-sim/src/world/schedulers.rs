//! PD's schedulers: they evict and balance leaders.
//!
//! `evict-leader` and `balance-leader` work as in PD; the others can be listed, paused and removed.

use std::collections::{BTreeMap, BTreeSet};

use super::operator::kind;
use super::plan::{Aim, Title};
use super::region::Peer;
use super::regions::RegionIndex;
use super::{Nanos, SECOND, StoreId, World};

pub(crate) const EVICT_LEADER: &str = "evict-leader-scheduler";
const BALANCE_LEADER: &str = "balance-leader-scheduler";
const DEFAULT: [&str; 5] = [
    BALANCE_LEADER,
    "balance-region-scheduler",
    "balance-hot-region-scheduler",
    "evict-slow-store-scheduler",
    "evict-stopping-store-scheduler",
];
/// The other schedulers that can be added.
const OTHERS: [&str; 7] = [
    "grant-leader-scheduler",
    "shuffle-leader-scheduler",
    "shuffle-region-scheduler",
    "shuffle-hot-region-scheduler",
    "scatter-range-scheduler",
    "evict-slow-trend-scheduler",
    EVICT_LEADER,
];
/// PD's region checkers; each can be paused.
pub(crate) const CHECKERS: [&str; 6] = [
    "learner",
    "replica",
    "rule",
    "split",
    "merge",
    "joint-state",
];
/// Leaders that `evict-leader` moves from one store at a time.
pub(crate) const BATCH: usize = 3;
/// Regions considered for a move, per store and tick.
const MAX_CONSIDERED: usize = 32;
/// Difference in leaders between two stores that PD tolerates.
const TOLERATED_DIFFERENCE: f64 = 2.0;

/// The time of a pause, and its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    pub(crate) from: Nanos,
    pub(crate) until: Nanos,
}

#[derive(Debug)]
pub(crate) struct Schedulers {
    pub(crate) running: Vec<String>,
    pub(crate) evicted: BTreeSet<StoreId>,
    pauses: BTreeMap<String, Pause>,
    checkers: BTreeMap<&'static str, Nanos>,
}

impl Default for Schedulers {
    fn default() -> Self {
        Self {
            running: DEFAULT.map(str::to_owned).to_vec(),
            evicted: BTreeSet::new(),
            pauses: BTreeMap::new(),
            checkers: BTreeMap::new(),
        }
    }
}

impl Schedulers {
    pub(crate) fn is_known(name: &str) -> bool {
        DEFAULT.contains(&name) || OTHERS.contains(&name)
    }

    pub(crate) fn runs(&self, name: &str) -> bool {
        self.running.iter().any(|running| running == name)
    }

    pub(crate) fn evicts(&self, store: StoreId) -> bool {
        self.evicted.contains(&store)
    }

    pub(crate) fn evict(&mut self, store: StoreId) {
        self.evicted.insert(store);
        if !self.runs(EVICT_LEADER) {
            self.running.push(EVICT_LEADER.to_owned());
        }
    }

    /// Returns false if it did not hold the store.
    pub(crate) fn stop_evicting(&mut self, store: StoreId) -> bool {
        let held = self.evicted.remove(&store);
        if self.evicted.is_empty() {
            self.remove(EVICT_LEADER);
        }
        held
    }

    /// Returns false if it was not running.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let ran = self.runs(name);
        self.running.retain(|running| running != name);
        self.pauses.remove(name);
        if name == EVICT_LEADER {
            self.evicted.clear();
        }
        ran
    }

    /// Pauses it for this many seconds; 0 ends a pause.
    pub(crate) fn pause(&mut self, name: &str, seconds: i64, now: Nanos) {
        self.pauses.remove(name);
        if seconds > 0 {
            let pause = Pause {
                from: now,
                until: now + seconds * SECOND,
            };
            self.pauses.insert(name.to_owned(), pause);
        }
    }

    pub(crate) fn paused(&self, name: &str, now: Nanos) -> Option<Pause> {
        let pause = self.pauses.get(name).copied();
        pause.filter(|pause| pause.until > now)
    }

    pub(crate) fn pause_checker(&mut self, name: &'static str, seconds: i64, now: Nanos) {
        self.checkers.insert(name, now + seconds * SECOND);
    }

    pub(crate) fn is_checker_paused(&self, name: &str, now: Nanos) -> bool {
        self.checkers.get(name).is_some_and(|until| *until > now)
    }

    /// Pauses are in the PD leader's memory, and are lost with it.
    pub(super) fn forget_pauses(&mut self) {
        self.pauses.clear();
        self.checkers.clear();
    }

    fn works(&self, name: &str, now: Nanos) -> bool {
        self.runs(name) && self.paused(name, now).is_none()
    }
}

impl World {
    /// Runs every scheduler and checker once.
    pub(crate) fn schedule(&mut self) {
        let halted = self.config.is_on("halt-scheduling", self.now);
        if halted || self.members.leader.is_none() || !self.has_all_reported() {
            return;
        }
        if self.schedulers.works(EVICT_LEADER, self.now) {
            for store in self.schedulers.evicted.clone() {
                self.evict_leaders(store);
            }
        }
        if self.schedulers.works(BALANCE_LEADER, self.now) {
            self.balance_leaders();
        }
        if !self.schedulers.is_checker_paused("rule", self.now) {
            self.patrol();
        }
    }

    fn room_for_leaders(&self) -> usize {
        let limit = self.config.number("leader-schedule-limit", self.now);
        limit.saturating_sub(self.operators.of_kind(kind::LEADER))
    }

    fn evict_leaders(&mut self, store: StoreId) {
        let room = self.room_for_leaders().min(BATCH);
        let led = self.regions.led_by(store).iter().rev().take(MAX_CONSIDERED);
        let movable: Vec<RegionIndex> = led.copied().filter(|at| !self.is_operated(*at)).collect();
        for at in movable.into_iter().take(room) {
            self.evict_leader(at, store);
        }
    }

    fn evict_leader(&mut self, at: RegionIndex, store: StoreId) {
        let targets = self.targets(at, store);
        let Some(to) = targets.first().copied() else {
            return;
        };
        let title = Title {
            desc: EVICT_LEADER,
            kind: 0,
            urgent: true,
        };
        let aim = Aim {
            leader: Some(to),
            ..Aim::default()
        };
        if let Ok(mut operator) = self.plan(at, &title, &aim) {
            let one_in: Vec<String> = targets.iter().map(ToString::to_string).collect();
            operator.brief = format!(
                "evict leader: from store {store} to one in [{}], or to {to} (for compatibility)",
                one_in.join(" ")
            );
            self.operators.add(operator);
        }
    }

    /// Stores that can take the region's leader, the least loaded first.
    fn targets(&self, at: RegionIndex, from: StoreId) -> Vec<StoreId> {
        let region = self.regions.get(at);
        let healthy = region.voters().filter(|peer| !peer.down && !peer.pending);
        let stores = healthy.map(Peer::store).filter(|store| *store != from);
        let mut stores: Vec<StoreId> = stores.filter(|store| self.may_lead(*store)).collect();
        stores.sort_by_key(|store| self.regions.totals_of(*store).leaders);
        stores
    }

    pub(super) fn is_operated(&self, at: RegionIndex) -> bool {
        let id = self.regions.get(at).id;
        self.operators.running.contains_key(&id)
    }

    /// Leaders per weight.
    pub(crate) fn leader_score(&self, store: StoreId) -> f64 {
        let weight = self
            .stores
            .get(&store)
            .map_or(1.0, |store| store.leader_weight);
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let leaders = self.regions.totals_of(store).leaders as f64;
        leaders / weight.max(0.001)
    }

    fn balance_leaders(&mut self) {
        if self.room_for_leaders() == 0 {
            return;
        }
        let able = self
            .stores
            .keys()
            .copied()
            .filter(|store| self.may_lead(*store));
        let score = |store: &StoreId| self.leader_score(*store);
        let Some(from) = able.max_by(|one, other| score(one).total_cmp(&score(other))) else {
            return;
        };
        let led = self.regions.led_by(from).iter().rev().take(MAX_CONSIDERED);
        let movable: Vec<RegionIndex> = led.copied().filter(|at| !self.is_operated(*at)).collect();
        for at in movable {
            let to = self.targets(at, from).first().copied();
            let gains = |to: &StoreId| score_gap(self, from, *to) > TOLERATED_DIFFERENCE;
            if let Some(to) = to.filter(gains) {
                self.balance_leader(at, to);
                return;
            }
        }
    }

    fn balance_leader(&mut self, at: RegionIndex, to: StoreId) {
        let title = Title {
            desc: "balance-leader",
            kind: 0,
            urgent: false,
        };
        let aim = Aim {
            leader: Some(to),
            ..Aim::default()
        };
        if let Ok(operator) = self.plan(at, &title, &aim) {
            self.operators.add(operator);
        }
    }
}

fn score_gap(world: &World, from: StoreId, to: StoreId) -> f64 {
    world.leader_score(from) - world.leader_score(to)
}
