//! `/hotspot`.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;

use super::Pd;
use super::reply::{HandlerResult, Reply};
use super::request::Query;
use crate::go_format::{self, Float};
use crate::world::region::{Region, RegionId};
use crate::world::store::TargetState;
use crate::world::{StoreId, World};

/// The flow from which PD calls a region hot. Bytes per second.
const HOT: f64 = 1_000_000.0;
/// Maximum number of regions listed per store.
const MAX_REGIONS: usize = 16;

#[derive(Debug, Serialize)]
pub(crate) struct HotRegion {
    pub(crate) store_id: StoreId,
    pub(crate) stores: Vec<StoreId>,
    pub(crate) is_leader: bool,
    pub(crate) is_learner: bool,
    pub(crate) region_id: RegionId,
    pub(crate) hot_degree: u32,
    pub(crate) flow_bytes: Float,
    pub(crate) flow_keys: Float,
    pub(crate) flow_query: Float,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow_cpu: Option<Float>,
    pub(crate) anti_count: u32,
    pub(crate) last_update_time: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct HotStore {
    pub(crate) store_bytes: Float,
    pub(crate) store_keys: Float,
    pub(crate) store_query: Float,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store_cpu: Option<Float>,
    pub(crate) total_flow_bytes: Float,
    pub(crate) total_flow_keys: Float,
    pub(crate) total_flow_query: Float,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total_flow_cpu: Option<Float>,
    pub(crate) regions_count: usize,
    pub(crate) statistics: Vec<HotRegion>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Hot {
    pub(crate) as_peer: BTreeMap<String, HotStore>,
    pub(crate) as_leader: BTreeMap<String, HotStore>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Read,
    Write,
}

impl Flow {
    /// Bytes within a minute.
    fn of(self, region: &Region) -> u32 {
        match self {
            Self::Read => region.read,
            Self::Write => region.written,
        }
    }
}

/// Keys per byte, and requests per byte.
fn per_second(bytes: f64) -> (Float, Float, Float) {
    (Float(bytes), Float(bytes / 300.0), Float(bytes / 400.0))
}

fn hot_region(world: &World, region: &Region, store: StoreId, flow: Flow) -> HotRegion {
    let (bytes, keys, query) = per_second(f64::from(flow.of(region)) / 60.0);
    HotRegion {
        store_id: store,
        stores: region.stores(),
        is_leader: region.leader() == Some(store),
        is_learner: region.voter_on(store).is_none(),
        region_id: region.id,
        hot_degree: 12,
        flow_bytes: bytes,
        flow_keys: keys,
        flow_query: query,
        flow_cpu: world.release.has_store_labels().then_some(Float(0.0)),
        anti_count: 2,
        last_update_time: go_format::rfc3339(world.wall()),
    }
}

fn hot_store(world: &World, store: StoreId, flow: Flow, as_leader: bool) -> HotStore {
    let tally = world.regions.totals_of(store);
    let minute = if flow == Flow::Write {
        tally.written
    } else {
        tally.read
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes within a minute stay below 2^52"
    )]
    let (store_bytes, store_keys, store_query) = per_second(minute as f64 / 60.0);
    let regions = world.faults.hot.iter().map(|at| world.regions.get(*at));
    let here = regions.filter(|region| {
        f64::from(flow.of(region)) / 60.0 >= HOT
            && region.peer_on(store).is_some()
            && (!as_leader || region.leader() == Some(store))
    });
    let statistics: Vec<HotRegion> = here
        .take(MAX_REGIONS)
        .map(|region| hot_region(world, region, store, flow))
        .collect();
    let total = statistics.iter().map(|region| region.flow_bytes.0).sum();
    let (total_bytes, total_keys, total_query) = per_second(total);
    let cpu = world.release.has_store_labels().then_some(Float(0.0));
    HotStore {
        store_bytes,
        store_keys,
        store_query,
        store_cpu: cpu,
        total_flow_bytes: total_bytes,
        total_flow_keys: total_keys,
        total_flow_query: total_query,
        total_flow_cpu: cpu,
        regions_count: statistics.len(),
        statistics,
    }
}

fn hot(world: &World, query: &Query, flow: Flow) -> HandlerResult {
    let mut asked = Vec::new();
    for text in query.all("store_id") {
        let refusal = || Reply::text(400, format!("invalid store id: {text}"));
        let store: StoreId = text.parse().map_err(|_| refusal())?;
        if !world.stores.contains_key(&store) {
            let text = format!("[PD:core:ErrStoreNotFound]store {store} not found");
            return Err(Reply::text(500, text));
        }
        asked.push(store);
    }
    if asked.is_empty() {
        asked = world.stores.keys().copied().collect();
    }
    let by_store = |as_leader: bool| {
        let stores = asked.iter();
        stores
            .map(|store| (store.to_string(), hot_store(world, *store, flow, as_leader)))
            .collect()
    };
    Ok(Reply::json(&Hot {
        as_peer: by_store(false),
        as_leader: by_store(true),
    }))
}

pub(crate) async fn write(State(pd): State<Pd>, query: Query) -> HandlerResult {
    hot(&pd.sim.world(), &query, Flow::Write)
}

pub(crate) async fn read(State(pd): State<Pd>, query: Query) -> HandlerResult {
    hot(&pd.sim.world(), &query, Flow::Read)
}

type Rates = BTreeMap<String, Float>;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct HotStores {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) bytes_write_rate: Rates,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) bytes_read_rate: Rates,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) keys_write_rate: Rates,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) keys_read_rate: Rates,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) query_write_rate: Rates,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) query_read_rate: Rates,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) cpu_read_rate: Rates,
}

pub(crate) async fn stores(State(pd): State<Pd>) -> HandlerResult {
    let world = pd.sim.world();
    let mut rates = HotStores::default();
    let known = world
        .stores
        .values()
        .filter(|store| store.target_state != TargetState::Tombstone);
    for store in known {
        let tally = world.regions.totals_of(store.id);
        #[expect(
            clippy::cast_precision_loss,
            reason = "bytes within a minute stay below 2^52"
        )]
        let [written, read] =
            [tally.written as f64 / 60.0, tally.read as f64 / 60.0].map(per_second);
        let id = || store.id.to_string();
        rates.bytes_write_rate.insert(id(), written.0);
        rates.bytes_read_rate.insert(id(), read.0);
        rates.keys_write_rate.insert(id(), written.1);
        rates.keys_read_rate.insert(id(), read.1);
        rates.query_write_rate.insert(id(), written.2);
        rates.query_read_rate.insert(id(), read.2);
        rates.cpu_read_rate.insert(id(), Float(0.0));
    }
    Ok(Reply::json(&rates))
}
