//! Operators requested through the API, with PD's checks, in PD's order, and PD's messages.

use super::operator::{Step, kind};
use super::plan::{Aim, Title};
use super::region::{RegionId, Role};
use super::regions::RegionIndex;
use super::{StoreId, World};

const IN_THE_WAY: &str =
    "[PD:operator:ErrAddOperator]failed to add operator, maybe already have one";

/// PD's message when it refuses a request.
pub(crate) type Refused = Result<(), String>;

impl World {
    pub(crate) fn transfer_leader(&mut self, region: RegionId, to: StoreId) -> Refused {
        let at = self.region(region)?;
        if self.regions.get(at).voter_on(to).is_none() {
            return Err(format!("region has no voter in store {to}"));
        }
        let aim = Aim {
            leader: Some(to),
            ..Aim::default()
        };
        self.ask(at, &Title::admin("admin-transfer-leader"), &aim)
    }

    pub(crate) fn transfer_peer(
        &mut self,
        region: RegionId,
        from: StoreId,
        to: StoreId,
    ) -> Refused {
        let at = self.region(region)?;
        let Some(peer) = self.regions.get(at).peer_on(from).cloned() else {
            return Err(format!("region has no peer in store {from}"));
        };
        self.takes_peers(to)?;
        if let Some(other) = self.regions.get(at).peer_on(to) {
            return Err(format!(
                "cannot add peer store_id:{to} : already have peer id:{} store_id:{to} ",
                other.id
            ));
        }
        let aim = Aim {
            add: vec![(to, peer.role)],
            remove: vec![from],
            leader: None,
        };
        self.ask(at, &Title::admin("admin-move-peer"), &aim)
    }

    pub(crate) fn add_peer(&mut self, region: RegionId, to: StoreId, role: Role) -> Refused {
        let at = self.region(region)?;
        if self.regions.get(at).peer_on(to).is_some() {
            return Err(format!("region already has peer in store {to}"));
        }
        self.takes_peers(to)?;
        let desc = match role {
            Role::Learner => "admin-add-learner",
            _ => "admin-add-peer",
        };
        let aim = Aim {
            add: vec![(to, role)],
            ..Aim::default()
        };
        self.ask(at, &Title::admin(desc), &aim)
    }

    pub(crate) fn remove_peer(&mut self, region: RegionId, from: StoreId) -> Refused {
        let at = self.region(region)?;
        if self.regions.get(at).peer_on(from).is_none() {
            return Err(format!("region has no peer in store {from}"));
        }
        let aim = Aim {
            remove: vec![from],
            ..Aim::default()
        };
        self.ask(at, &Title::admin("admin-remove-peer"), &aim)
    }

    /// Moves a whole region; each store has the role `leader`, `voter`, `follower` or `learner`.
    pub(crate) fn transfer_region(
        &mut self,
        region: RegionId,
        to: &[(StoreId, String)],
    ) -> Refused {
        let at = self.region(region)?;
        for (store, _) in to {
            self.takes_peers(*store)?;
        }
        let here = self.regions.get(at).stores();
        let target_state: Vec<StoreId> = to.iter().map(|(store, _)| *store).collect();
        let added = to.iter().filter(|(store, _)| !here.contains(store));
        let role = |name: &str| match name {
            "learner" => Role::Learner,
            _ => Role::Voter,
        };
        let leader = to.iter().find(|(_, role)| role == "leader");
        let aim = Aim {
            add: added.map(|(store, name)| (*store, role(name))).collect(),
            remove: here
                .into_iter()
                .filter(|store| !target_state.contains(store))
                .collect(),
            leader: leader.map(|(store, _)| *store),
        };
        self.ask(at, &Title::admin("admin-move-region"), &aim)
    }

    /// Splits at `keys`, or in the middle under any policy other than `USEKEY`.
    pub(crate) fn split_region(&mut self, region: RegionId, policy: &str, keys: &[u64]) -> Refused {
        let at = self.region(region)?;
        let policy_upper = policy.to_uppercase();
        let keys = match policy_upper.as_str() {
            "USEKEY" => keys.to_vec(),
            "SCAN" | "APPROXIMATE" => self.middle(at).into_iter().collect(),
            _ => return Err(format!("check policy {policy} is not supported")),
        };
        let title = Title {
            kind: kind::ADMIN | kind::SPLIT,
            ..Title::admin("admin-split-region")
        };
        let brief = format!("split: region {region} use policy {policy_upper}");
        let step = Step::Split {
            policy: policy_upper,
            keys,
        };
        let operator = self.operator(self.regions.get(at), title, brief, vec![step]);
        self.submit(operator)
    }

    fn middle(&self, at: RegionIndex) -> Option<u64> {
        let start = self.regions.get(at).start;
        let end = self.regions.end(at).unwrap_or(start + (1 << 20));
        Some(u64::midpoint(start, end)).filter(|middle| *middle > start)
    }

    pub(crate) fn merge_regions(&mut self, source: RegionId, target: RegionId) -> Refused {
        let (from, into) = (self.region(source)?, self.region(target)?);
        for at in [from, into] {
            let region = self.regions.get(at);
            if !self.is_whole(region) {
                return Err(format!(
                    "[PD:region:ErrRegionAbnormalPeer]region {} has abnormal peer",
                    region.id
                ));
            }
        }
        if ![self.regions.next(from), self.regions.previous(from)].contains(&Some(into)) {
            return Err("[PD:region:ErrRegionNotAdjacent]two regions are not adjacent".to_owned());
        }
        let title = Title {
            kind: kind::ADMIN | kind::MERGE,
            ..Title::admin("admin-merge-region")
        };
        let brief = format!("merge: region {source} to {target}");
        let of_source = Step::MergeInto { source, target };
        let of_target = Step::MergeFrom { source, target };
        let of_source = self.operator(
            self.regions.get(from),
            title.clone(),
            brief.clone(),
            vec![of_source],
        );
        let of_target = self.operator(self.regions.get(into), title, brief, vec![of_target]);
        if self.operators.running.contains_key(&target) {
            return Err(IN_THE_WAY.to_owned());
        }
        self.submit(of_source)?;
        self.submit(of_target)
    }

    /// Scatters a region's leader; it is not an error if there is nothing to do.
    pub(crate) fn scatter_region(&mut self, region: RegionId) -> Refused {
        let at = self.region(region)?;
        let known = self.regions.get(at);
        let Some(leader) = known.leader() else {
            return Err(format!("region {region} has no leader"));
        };
        let leaders = |store: &StoreId| self.regions.totals_of(*store).leaders;
        let others = known.voters().map(super::region::Peer::store);
        let others = others.filter(|store| *store != leader && self.may_lead(*store));
        let best = others
            .min_by_key(leaders)
            .filter(|to| leaders(to) < leaders(&leader));
        let Some(to) = best else {
            return Ok(());
        };
        let aim = Aim {
            leader: Some(to),
            ..Aim::default()
        };
        self.ask(at, &Title::admin("scatter-region"), &aim)
    }

    fn ask(&mut self, at: RegionIndex, title: &Title, aim: &Aim) -> Refused {
        let operator = self.plan(at, title, aim)?;
        self.submit(operator)
    }

    fn submit(&mut self, operator: super::operator::Operator) -> Refused {
        if self.operators.add(operator) {
            return Ok(());
        }
        Err(IN_THE_WAY.to_owned())
    }
}
