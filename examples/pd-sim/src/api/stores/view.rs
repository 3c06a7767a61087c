//! A store in PD's JSON format.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::go_format::{self, Float};
use crate::world::store::{Store, StoreState, TargetState};
use crate::world::{SECOND, StoreId, World};

/// The build of TiKV.
const GIT_HASH: &str = "5fb2c1d0e9a84c3f7b6a1d2e3f405162738495a6";

#[derive(Serialize)]
struct Label<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Meta<'a> {
    id: StoreId,
    address: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    state: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Label<'a>>,
    version: &'a str,
    peer_address: &'a str,
    status_address: &'a str,
    git_hash: &'static str,
    /// s.
    start_timestamp: i64,
    deploy_path: &'static str,
    /// ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_heartbeat: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    physically_destroyed: bool,
    #[serde(skip_serializing_if = "is_zero")]
    node_state: u8,
    state_name: &'static str,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct SlowTrend {
    cause_value: Float,
    cause_rate: Float,
    result_value: Float,
    result_rate: Float,
}

#[derive(Serialize)]
struct Status {
    capacity: String,
    available: String,
    used_size: String,
    leader_count: u64,
    leader_weight: Float,
    leader_score: Float,
    leader_size: u64,
    region_count: u64,
    region_weight: Float,
    region_score: Float,
    region_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    learner_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_peer_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_score: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_trend: Option<SlowTrend>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_busy: bool,
    start_ts: String,
    last_heartbeat_ts: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pause_leader_transfer_in: bool,
}

#[derive(Serialize)]
pub(crate) struct StoreView<'a> {
    store: Meta<'a>,
    status: Status,
}

impl<'a> StoreView<'a> {
    pub(crate) fn new(world: &World, store: &'a Store) -> Self {
        Self {
            store: meta(world, store),
            status: status(world, store),
        }
    }
}

fn meta<'a>(world: &World, store: &'a Store) -> Meta<'a> {
    let heartbeat = store.last_heartbeat(world.now);
    let (state, node_state) = match store.target_state {
        TargetState::Up if heartbeat.is_none() => (0, 0),
        TargetState::Up => (0, 1),
        TargetState::Offline => (1, 2),
        TargetState::Tombstone => (2, 3),
    };
    let labels = store.labels.iter();
    Meta {
        id: store.id,
        address: &store.address,
        state,
        labels: labels.map(|(key, value)| Label { key, value }).collect(),
        version: &store.version,
        peer_address: &store.address,
        status_address: &store.status_address,
        git_hash: GIT_HASH,
        start_timestamp: world.shown(store.started).div_euclid(SECOND),
        deploy_path: "/",
        last_heartbeat: heartbeat.map(|at| world.shown(at)),
        physically_destroyed: store.destroyed,
        node_state,
        state_name: state_name(world, store).name(),
    }
}

fn state_name(world: &World, store: &Store) -> StoreState {
    store.state_name(world.now, world.config.down_after(world.now))
}

fn status(world: &World, store: &Store) -> Status {
    let heartbeat = store.last_heartbeat(world.now);
    // PD knows no status of a store that never reported, and none of a tombstone.
    let is_known = heartbeat.is_some() && store.target_state != TargetState::Tombstone;
    let tally = world.regions.totals_of(store.id);
    let (used, available) = world.space(store);
    let bytes = |bytes: f64| go_format::size(if is_known { bytes } else { 0.0 });
    // In whole seconds: PD subtracts `start_timestamp`.
    let started = world.shown(store.started).div_euclid(SECOND) * SECOND;
    let last = heartbeat.map_or(0, |at| world.shown(at));
    let is_evicted = world.schedulers.evicts(store.id);
    Status {
        capacity: bytes(store.capacity),
        available: bytes(available),
        used_size: bytes(used),
        leader_count: tally.leaders,
        leader_weight: Float(store.leader_weight),
        leader_score: Float(world.leader_score(store.id)),
        leader_size: tally.leader_size,
        region_count: tally.regions,
        region_weight: Float(store.region_weight),
        region_score: Float(heartbeat.map_or(0.0, |_| region_score(tally.region_size, store))),
        region_size: tally.region_size,
        learner_count: Some(tally.learners).filter(|count| *count > 0),
        pending_peer_count: Some(tally.pending).filter(|count| *count > 0),
        slow_score: is_known.then(|| store.slow_score()),
        slow_trend: is_known.then_some(SlowTrend {
            cause_value: Float(250_038.042_5),
            cause_rate: Float(0.0),
            result_value: Float(17.5),
            result_rate: Float(0.0),
        }),
        is_busy: store.faults.busy_per_second > 0.0,
        start_ts: go_format::rfc3339(started),
        last_heartbeat_ts: go_format::rfc3339(last),
        uptime: (last > started).then(|| go_format::duration(last - started)),
        pause_leader_transfer_in: world.release.is_newest() && is_evicted,
    }
}

/// Proportional to the regions' size, as PD's score is while there is free space; the factor is from PD's samples.
fn region_score(size: u64, store: &Store) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "MiB stay far below 2^52")]
    let score = size as f64 * 1.037_586_264_598_863_7 + 0.125;
    (score / store.region_weight.max(0.001) * 1e10).round() / 1e10
}

#[derive(Serialize)]
pub(crate) struct LimitsView {
    #[serde(rename = "add-peer")]
    add_peer: Float,
    #[serde(rename = "remove-peer")]
    remove_peer: Float,
}

/// The limits by store id; PD's maps have string keys.
pub(crate) fn limits_by_store(world: &World, tombstones: bool) -> BTreeMap<String, LimitsView> {
    let stores = world.stores.values();
    let stores = stores.filter(|store| tombstones || store.target_state != TargetState::Tombstone);
    stores
        .map(|store| {
            let view = LimitsView {
                add_peer: Float(store.limits.add_peer),
                remove_peer: Float(store.limits.remove_peer),
            };
            (store.id.to_string(), view)
        })
        .collect()
}
