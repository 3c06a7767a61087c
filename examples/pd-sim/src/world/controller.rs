//! The running operators and the ended ones.

use std::collections::BTreeMap;

use super::operator::{Operator, Status, Step};
use super::region::{Region, RegionId, Role};
use super::{MINUTE, Nanos, World};

/// How long PD keeps records of ended operators.
const KEEP_RECORDS: Nanos = 10 * MINUTE;

#[derive(Debug, Default)]
pub(crate) struct Controller {
    pub(crate) running: BTreeMap<RegionId, Operator>,
    ended: BTreeMap<RegionId, Operator>,
    /// Count per event and operator since the current PD leader took over.
    pub(crate) events: BTreeMap<(String, &'static str), u64>,
}

impl Controller {
    /// Adds an operator, replacing a less urgent one if necessary; false if another one blocks it.
    pub(crate) fn add(&mut self, operator: Operator) -> bool {
        if let Some(other) = self.running.get(&operator.region) {
            if other.urgent || !operator.urgent {
                return false;
            }
            let now = operator.created;
            self.end(operator.region, Status::Replaced, now);
        }
        self.count(&operator.desc, "create");
        self.count(&operator.desc, "start");
        self.running.insert(operator.region, operator);
        true
    }

    /// Ends the operator that runs on a region; false if there is none.
    pub(crate) fn end(&mut self, region: RegionId, status: Status, now: Nanos) -> bool {
        let Some(mut operator) = self.running.remove(&region) else {
            return false;
        };
        operator.status = status;
        operator.finished = now;
        let event = match status {
            Status::Started | Status::Success => "finish",
            Status::Canceled => "cancel",
            Status::Replaced => "replace",
            Status::Timeout => "timeout",
        };
        self.count(&operator.desc, event);
        self.ended.insert(region, operator);
        true
    }

    /// The running operator of a region, or else the last one.
    pub(crate) fn latest(&self, region: RegionId, now: Nanos) -> Option<&Operator> {
        let running = self.running.get(&region);
        running.or_else(|| {
            self.ended
                .get(&region)
                .filter(|it| it.finished + KEEP_RECORDS > now)
        })
    }

    /// The operators that ended since then.
    pub(crate) fn ended_since(&self, from: Nanos, now: Nanos) -> impl Iterator<Item = &Operator> {
        let from = from.max(now - KEEP_RECORDS);
        self.ended.values().filter(move |it| it.finished >= from)
    }

    pub(crate) fn of_kind(&self, kind: u32) -> usize {
        let of_kind = self.running.values().filter(|it| it.kind & kind != 0);
        of_kind.count()
    }

    pub(super) fn forget(&mut self, now: Nanos) {
        self.ended.retain(|_, it| it.finished + KEEP_RECORDS > now);
    }

    fn count(&mut self, desc: &str, event: &'static str) {
        *self.events.entry((desc.to_owned(), event)).or_default() += 1;
    }
}

impl World {
    /// Advances every running operator as far as time allows.
    pub(super) fn run_operators(&mut self) {
        let regions: Vec<RegionId> = self.operators.running.keys().copied().collect();
        for region in regions {
            let Some(operator) = self.operators.running.get(&region) else {
                continue;
            };
            let known = self.regions.find(region).map(|at| self.regions.get(at));
            let moved = known.is_none_or(|known| known.conf_ver != operator.expected_conf_ver);
            if moved {
                self.operators.end(region, Status::Canceled, self.now);
            } else if self.now - operator.started > operator.timeout() {
                self.operators.end(region, Status::Timeout, self.now);
            } else {
                self.step(region);
            }
        }
        self.operators.forget(self.now);
    }

    fn step(&mut self, id: RegionId) {
        let Some(operator) = self.operators.running.get(&id) else {
            return;
        };
        let step = operator.steps[operator.current].clone();
        let is_due = self.now - operator.step_since >= step.takes(operator.size);
        if !is_due || !self.can_take(id, &step) {
            return;
        }
        self.carry_out(id, &step);
        let conf_ver = self
            .regions
            .find(id)
            .map(|at| self.regions.get(at).conf_ver);
        let Some(operator) = self.operators.running.get_mut(&id) else {
            return;
        };
        operator.current += 1;
        operator.step_since = self.now;
        operator.expected_conf_ver = conf_ver.unwrap_or(operator.expected_conf_ver);
        if operator.current == operator.steps.len() {
            self.operators.end(id, Status::Success, self.now);
        }
    }

    /// Whether the region has a leader and all processes that take part are running.
    fn can_take(&self, id: RegionId, step: &Step) -> bool {
        let runs = |store| self.runs(store);
        let leader = self
            .regions
            .find(id)
            .and_then(|at| self.regions.get(at).leader());
        let waits_for_source = matches!(step, Step::MergeFrom { source, .. }
            if self.regions.find(*source).is_some());
        !self.faults.operators_stall
            && leader.is_some_and(runs)
            && step.needs().is_none_or(runs)
            && !waits_for_source
    }

    fn carry_out(&mut self, id: RegionId, step: &Step) {
        let Some(at) = self.regions.find(id) else {
            return;
        };
        match step {
            Step::Split { keys, .. } => {
                for key in keys.clone() {
                    self.split(id, key);
                }
            }
            Step::MergeInto { target, .. } => {
                if let Some(target) = self.regions.find(*target) {
                    self.regions.merge(at, target);
                }
            }
            Step::MergeFrom { .. } => {}
            step => self.regions.edit(at, |region| change(region, step)),
        }
    }

    /// Splits the region that contains this key; returns the new region, or `None` if the key is already a bound.
    pub(crate) fn split_at(&mut self, key: u64) -> Option<RegionId> {
        let at = self.regions.starting_at(key).next()?;
        let before = self.next_id;
        self.split(self.regions.get(at).id, key);
        (self.next_id > before).then_some(self.next_id)
    }

    fn split(&mut self, id: RegionId, key: u64) {
        let Some(at) = self.regions.find(id) else {
            return;
        };
        let region = self.regions.get(at);
        let is_within = key > region.start && self.regions.end(at).is_none_or(|end| key < end);
        if is_within {
            let peers = region.peers.len();
            let ids: Vec<u64> = (0..peers).map(|_| self.new_id()).collect();
            let id = self.new_id();
            self.regions.split(at, key, id, &ids);
        }
    }
}

/// Applies a step that changes one region only.
fn change(region: &mut Region, step: &Step) {
    let turn = |region: &mut Region, id: u64, role: Role| {
        if let Some(peer) = region.peers.iter_mut().find(|peer| peer.id == id) {
            peer.role = role;
            region.conf_ver += 1;
        }
    };
    match step {
        Step::TransferLeader { to, .. } => {
            region.leader = u32::try_from(*to).unwrap_or(0);
        }
        Step::AddLearner { peer, store } => {
            let peer = super::region::Peer::new(*peer, *store, Role::Learner);
            region.peers.push(peer);
            region.conf_ver += 1;
        }
        Step::Promote { peer, .. } => turn(region, *peer, Role::Voter),
        Step::EnterJoint { promote, demote } => {
            for (id, _) in promote {
                turn(region, *id, Role::Incoming);
            }
            for (id, _) in demote {
                turn(region, *id, Role::Demoting);
            }
        }
        Step::LeaveJoint { promote, demote } => {
            for (id, _) in promote {
                turn(region, *id, Role::Voter);
            }
            for (id, _) in demote {
                turn(region, *id, Role::Learner);
            }
        }
        Step::RemovePeer { store } => {
            region.peers.retain(|peer| peer.store() != *store);
            region.conf_ver += 1;
        }
        Step::Split { .. } | Step::MergeFrom { .. } | Step::MergeInto { .. } => {}
    }
}
