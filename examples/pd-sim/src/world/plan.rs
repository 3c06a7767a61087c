//! Computes the steps that bring a region to its target, and PD's reasons for refusing them.

use super::operator::{Changing, Operator, Status, Step, kind};
use super::region::{Region, RegionId, Role};
use super::regions::{Check, RegionIndex};
use super::store::{StoreState, TargetState};
use super::{Nanos, StoreId, World};

/// Delay between the creation of an operator and its start. ns.
const START: Nanos = 32_123;

/// The target state of a region.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aim {
    pub(crate) add: Vec<(StoreId, Role)>,
    pub(crate) remove: Vec<StoreId>,
    pub(crate) leader: Option<StoreId>,
}

/// Description and kind of an operator.
#[derive(Debug, Clone)]
pub(crate) struct Title {
    pub(crate) desc: &'static str,
    pub(crate) kind: u32,
    pub(crate) urgent: bool,
}

impl Title {
    pub(crate) fn admin(desc: &'static str) -> Self {
        Self {
            desc,
            kind: kind::ADMIN,
            urgent: true,
        }
    }
}

impl World {
    /// Whether PD allows leaders on this store.
    pub(crate) fn may_lead(&self, store: StoreId) -> bool {
        let down_after = self.config.down_after(self.now);
        let is_up =
            |known: &super::store::Store| known.state_name(self.now, down_after) == StoreState::Up;
        self.stores.get(&store).is_some_and(is_up) && !self.schedulers.evicts(store)
    }

    /// Whether a peer may be moved to this store; the error is PD's message.
    pub(crate) fn takes_peers(&self, store: StoreId) -> Result<(), String> {
        match self.stores.get(&store) {
            None => Err(format!("[PD:core:ErrStoreNotFound]store {store} not found")),
            Some(known) if known.target_state == TargetState::Tombstone => Err(format!(
                "[PD:core:ErrStoreRemoved]store {store} has been removed"
            )),
            Some(known) if known.is_unhealthy(self.now) => Err(format!(
                "[PD:core:ErrStoreUnhealthy]store {store} is unhealthy"
            )),
            Some(_) => Ok(()),
        }
    }

    /// The operator that reaches the aim, or PD's reason for refusing it.
    pub(crate) fn plan(
        &mut self,
        at: RegionIndex,
        title: &Title,
        aim: &Aim,
    ) -> Result<Operator, String> {
        let region = self.regions.get(at).clone();
        let Some(leader) = region.leader() else {
            return Err("cannot build operator for region with no leader".to_owned());
        };
        if region.is_joint() {
            return Err("cannot build operator for region which is in joint state".to_owned());
        }
        self.check_leader(&region, aim)?;
        let steps = self.steps(&region, leader, aim);
        let mut kind = title.kind;
        if aim.add.len() + aim.remove.len() > 0 {
            kind |= kind::REGION;
        }
        if steps
            .iter()
            .any(|step| matches!(step, Step::TransferLeader { .. }))
        {
            kind |= kind::LEADER;
        }
        if steps.is_empty() {
            return Err("no operator step is built".to_owned());
        }
        let title = Title {
            kind,
            ..title.clone()
        };
        Ok(self.operator(&region, title, brief(&region, aim), steps))
    }

    /// Builds an operator from these steps.
    pub(crate) fn operator(
        &self,
        region: &Region,
        title: Title,
        brief: String,
        steps: Vec<Step>,
    ) -> Operator {
        Operator {
            desc: title.desc.to_owned(),
            brief,
            kind: title.kind,
            urgent: title.urgent,
            region: region.id,
            version: region.version,
            conf_ver: region.conf_ver,
            size: region.size,
            created: self.now,
            started: self.now + START,
            finished: 0,
            step_since: self.now,
            current: 0,
            steps,
            status: Status::Started,
            expected_conf_ver: region.conf_ver,
        }
    }

    fn check_leader(&self, region: &Region, aim: &Aim) -> Result<(), String> {
        let Some(wanted) = aim.leader else {
            return Ok(());
        };
        if let Some(peer) = region.peer_on(wanted)
            && (peer.down || peer.pending)
        {
            return Err(format!("cannot transfer leader to {wanted}: unhealthy"));
        }
        if region.leader() != Some(wanted) && !self.may_lead(wanted) {
            let text = "cannot create operator: target leader is not allowed";
            return Err(text.to_owned());
        }
        Ok(())
    }

    fn steps(&mut self, region: &Region, leader: StoreId, aim: &Aim) -> Vec<Step> {
        let added: Vec<(Changing, Role)> = aim
            .add
            .iter()
            .map(|(store, role)| ((self.new_id(), *store), *role))
            .collect();
        let demoted = region
            .voters()
            .filter(|peer| aim.remove.contains(&peer.store()));
        let demote: Vec<Changing> = demoted.map(|peer| (peer.id, peer.store())).collect();
        let voters = added.iter().filter(|(_, role)| *role == Role::Voter);
        let promote: Vec<Changing> = voters.map(|(peer, _)| *peer).collect();
        let mut steps: Vec<Step> = added
            .iter()
            .map(|((peer, store), _)| Step::AddLearner {
                peer: *peer,
                store: *store,
            })
            .collect();
        let stays = self.next_leader(region, leader, aim);
        let lead = stays.filter(|to| *to != leader);
        let lead = lead.map(|to| Step::TransferLeader { from: leader, to });
        // The leader during the change must have been a voter before it.
        let (before, after) = if stays.is_some_and(|to| region.voter_on(to).is_none()) {
            (None, lead)
        } else {
            (lead, None)
        };
        steps.splice(0..0, before);
        match (promote.as_slice(), demote.as_slice()) {
            ([(peer, store)], []) => steps.push(Step::Promote {
                peer: *peer,
                store: *store,
            }),
            ([], _) => {}
            _ => {
                let (also_promote, also_demote) = (promote.clone(), demote.clone());
                steps.push(Step::EnterJoint { promote, demote });
                steps.push(Step::LeaveJoint {
                    promote: also_promote,
                    demote: also_demote,
                });
            }
        }
        steps.extend(after);
        let removed = aim.remove.iter();
        steps.extend(removed.map(|store| Step::RemovePeer { store: *store }));
        steps
    }

    /// The store that leads in the end; `None` if no store can take over from one that leaves.
    fn next_leader(&self, region: &Region, leader: StoreId, aim: &Aim) -> Option<StoreId> {
        if aim.leader.is_some() {
            return aim.leader;
        }
        if !aim.remove.contains(&leader) {
            return Some(leader);
        }
        let others = region.voters().map(super::region::Peer::store);
        let mut others = others.filter(|store| !aim.remove.contains(store));
        others.find(|store| self.may_lead(*store))
    }

    /// Whether PD would merge this region.
    pub(crate) fn is_whole(&self, region: &Region) -> bool {
        let replicas = self.config.number("max-replicas", self.now);
        let ails =
            |peer: &super::region::Peer| peer.down || peer.pending || peer.role != Role::Voter;
        region.peers.len() == replicas && !region.peers.iter().any(ails)
    }

    /// The region with this id, or PD's error.
    pub(crate) fn region(&self, id: RegionId) -> Result<RegionIndex, String> {
        let found = self.regions.find(id);
        found.ok_or_else(|| format!("[PD:region:ErrRegionNotFound]region {id} not found"))
    }

    /// How many regions a check finds, among those that have reported to this PD leader.
    pub(crate) fn found_by(&self, check: Check) -> Vec<RegionIndex> {
        let found = self.regions.found_by(check).iter().copied();
        found.filter(|at| self.has_reported(*at)).collect()
    }
}

fn brief(region: &Region, aim: &Aim) -> String {
    let stores = |of: &mut dyn Iterator<Item = StoreId>| {
        let ids: Vec<String> = of.map(|store| store.to_string()).collect();
        format!("[{}]", ids.join(" "))
    };
    let added = stores(&mut aim.add.iter().map(|(store, _)| *store));
    let removed = stores(&mut aim.remove.iter().copied());
    match (aim.add.as_slice(), aim.remove.as_slice(), aim.leader) {
        ([], [], leader) => format!(
            "transfer leader: store {} to {}",
            region.leader,
            leader.unwrap_or(0)
        ),
        ([(_, Role::Learner)], [], _) => format!("add learner: store {added}"),
        (_, [], _) => format!("add peer: store {added}"),
        ([], _, _) => format!("rm peer: store {removed}"),
        _ => format!("mv peer: store {removed} to {added}"),
    }
}
