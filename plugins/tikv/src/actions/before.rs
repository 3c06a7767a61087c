//! What is read before an action: what its inverse will need, and whether there is anything to do.

use operator_plugin_api::{Error, ErrorKind, now_ms};
use serde_json::{Map, Value, json};

use super::{execute::Client, params, request::Action};
use crate::{
    collect::Got,
    convert,
    observation::StoreState,
    pd::{error::PdError, units::time_ms, wire},
};

/// The state before an action.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// For the inverse.
    pub(super) details: Map<String, Value>,
    /// Why nothing needs to be sent.
    pub(super) already: Option<String>,
    /// The region's version: a split raises it.
    pub(super) version: Option<u64>,
    /// The neighbours' ids.
    pub(super) siblings: Vec<u64>,
}

impl Before {
    fn detail(name: &str, value: impl Into<Value>) -> Self {
        let mut before = Self::default();
        before.details.insert(name.into(), value.into());
        before
    }

    fn already(mut self, is: bool, why: &str) -> Self {
        self.already = is.then(|| why.to_owned());
        self
    }
}

/// Reads it. What PD does not report is left out; an error means that nothing must be done.
pub(super) fn read(client: &Client<'_>, action: &Action) -> Result<Before, Error> {
    Ok(match action {
        Action::TransferLeader(to) => leader_move(client, to),
        Action::TransferPeer(to) => peer_move(client, to),
        Action::SplitRegion(split) => Before {
            version: version(client, split.region_id),
            siblings: siblings(client, split.region_id),
            ..Before::default()
        },
        Action::MergeRegion(merge) => boundary(client, merge),
        Action::DrainStore(store) => drain(client, store.store_id)?,
        Action::UndrainStore(store) => {
            let held = client.evicted();
            Before::default().already(
                held.is_ok_and(|held| !held.contains(&store.store_id)),
                "no evict-leader scheduler holds it",
            )
        }
        Action::SetStoreLimit(to) => store_limit(client, to),
        Action::ResumeScheduler(of) => resume(client, &of.name),
        Action::SetScheduleLimit(schedule, _) => {
            let before = client.schedule_limit(*schedule).ok().flatten();
            before
                .map(|limit| Before::detail("previous_limit", limit))
                .unwrap_or_default()
        }
        Action::SetLowSpaceThreshold(to) => low_space(client, to),
        Action::ResignPdLeader => resign(client)?,
        Action::TransferPdLeader(to) => {
            let leader = client.leader().ok().flatten();
            let is = leader.as_deref() == Some(to.name.as_str());
            leader
                .map(|leader| Before::detail("previous_leader", leader))
                .unwrap_or_default()
                .already(is, "it is the leader already")
        }
        Action::ScatterRegion(_) | Action::CancelOperator(_) | Action::PauseScheduler(_) => {
            Before::default()
        }
    })
}

fn leader_move(client: &Client<'_>, to: &params::LeaderMove) -> Before {
    let Ok(Some(region)) = client.region(to.region_id) else {
        // PD's own message names what is wrong with the region.
        return Before::default();
    };
    let leader = region.leader_store();
    let before = leader
        .map(|store| Before::detail("previous_leader_store_id", store))
        .unwrap_or_default();
    before.already(
        leader == Some(to.to_store_id),
        "the leader is on that store already",
    )
}

fn peer_move(client: &Client<'_>, to: &params::PeerMove) -> Before {
    let region = client.region(to.region_id).ok().flatten();
    let moved = region.is_some_and(|region| is_moved(&region, to));
    Before::default().already(moved, "the peer is on that store already")
}

pub(super) fn is_moved(region: &wire::Region, to: &params::PeerMove) -> bool {
    region.voter_on(to.from_store_id).is_none() && region.voter_on(to.to_store_id).is_some()
}

fn version(client: &Client<'_>, region_id: u64) -> Option<u64> {
    let region = client.region(region_id).ok().flatten()?;
    region.epoch.map(|epoch| epoch.version)
}

/// A missing neighbour is a region of id 0.
pub(super) fn siblings(client: &Client<'_>, region_id: u64) -> Vec<u64> {
    let siblings = client.get::<wire::Regions>(&format!("/regions/sibling/{region_id}"));
    let siblings = siblings
        .ok()
        .and_then(|siblings| siblings.regions)
        .unwrap_or_default();
    siblings
        .iter()
        .map(|region| region.id)
        .filter(|id| *id != 0)
        .collect()
}

/// The key between the two, for splitting them again.
fn boundary(client: &Client<'_>, merge: &params::Merge) -> Before {
    let region = |id| client.region(id).ok().flatten();
    let Some((source, target)) = region(merge.source_region_id).zip(region(merge.target_region_id))
    else {
        return Before::default();
    };
    let key = if source.end_key == target.start_key {
        source.end_key
    } else {
        source.start_key
    };
    let known = Some(key).filter(|key| !key.is_empty());
    known
        .map(|key| Before::detail("boundary_key", key))
        .unwrap_or_default()
}

/// PD silently keeps leaders that it cannot move, so a drain is refused where no other store may take them.
fn drain(client: &Client<'_>, store_id: u64) -> Result<Before, Error> {
    let (stores, held) = match (client.get::<wire::Stores>("/stores"), client.evicted()) {
        (Ok(stores), Ok(held)) => (convert::stores(&stores, now_ms(), Some(&held)), held),
        // PD's own message names what is wrong when it is asked to drain.
        _ => return Ok(Before::default()),
    };
    let takes = stores.iter().any(|store| {
        store.id != store_id
            && store.state == Some(StoreState::Up)
            && store.evicting_leaders == Some(false)
    });
    if !takes && !held.contains(&store_id) {
        let message = format!(
            "no other store is up and accepts leaders, so the leaders of store {store_id} cannot be moved; nothing was done"
        );
        return Err(Error::new(ErrorKind::Refused, message));
    }
    Ok(Before::default().already(
        held.contains(&store_id),
        "an evict-leader scheduler holds it already",
    ))
}

fn store_limit(client: &Client<'_>, to: &params::StoreLimit) -> Before {
    let Some(rate) = client.store_limit(to).ok().flatten() else {
        return Before::default();
    };
    Before::detail("previous_rate", rate).already(same(rate, to.rate), "the value is set already")
}

fn resume(client: &Client<'_>, name: &str) -> Before {
    let Ok(paused) = client.paused() else {
        return Before::default();
    };
    let Some(paused) = paused.iter().find(|paused| paused.name == name) else {
        let known = client
            .get::<Vec<String>>("/schedulers")
            .is_ok_and(|names| names.iter().any(|known| known == name));
        return Before::default().already(known, "it is not paused");
    };
    let left_ms = paused
        .resume_at
        .as_deref()
        .and_then(time_ms)
        .map(|at| at - now_ms());
    let seconds = left_ms
        .filter(|left| *left > 0)
        .map(|left| (left / 1_000 + 1).min(3_600));
    seconds
        .map(|seconds| Before::detail("remaining_seconds", seconds))
        .unwrap_or_default()
}

fn low_space(client: &Client<'_>, to: &params::LowSpace) -> Before {
    let ratio = client
        .schedule()
        .ok()
        .and_then(|schedule| schedule.low_space_ratio);
    let Some(percent) = ratio.map(|ratio| (ratio * 1e6).round() / 1e4) else {
        return Before::default();
    };
    Before::detail("previous_used_percent", percent)
        .already(same(percent, to.used_percent), "the value is set already")
}

fn resign(client: &Client<'_>) -> Result<Before, Error> {
    let members = client.get::<wire::Members>("/members");
    if members
        .as_ref()
        .is_ok_and(|members| members.members.len() == 1)
    {
        let message = "PD has a single member, so no other one can lead; nothing was done";
        return Err(Error::new(ErrorKind::Refused, message));
    }
    let leader = members.ok().and_then(|members| members.leader?.name);
    Ok(leader
        .map(|leader| Before::detail("previous_leader", json!(leader)))
        .unwrap_or_default())
}

/// PD keeps ratios and rates as floats.
pub(super) fn same(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-6
}

/// No such region is an answer; v8.5 and older give one of id 0.
pub(super) fn known_region(got: Got<wire::Region>) -> Got<Option<wire::Region>> {
    match got {
        Ok(region) => Ok((region.id != 0).then_some(region)),
        Err(error) if error.is("ErrRegionNotFound") => Ok(None),
        Err(error) => Err::<_, PdError>(error),
    }
}
