//! Endpoints about the cluster as a whole.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Pd;
use super::members::GIT_HASH;
use super::reply::{HandlerResult, Reply};
use super::request::Query;
use crate::go_format;
use crate::world::region::table;
use crate::world::regions::{Check, Regions, StoreTotals};
use crate::world::{SECOND, World};

#[derive(Serialize)]
struct Cluster {
    id: u64,
    max_peer_count: usize,
}

pub(crate) async fn cluster(State(pd): State<Pd>) -> HandlerResult {
    let world = pd.sim.world();
    Ok(Reply::json(&Cluster {
        id: world.cluster_id,
        max_peer_count: world.config.number("max-replicas", world.now),
    }))
}

#[derive(Serialize)]
struct ClusterStatus {
    raft_bootstrap_time: String,
    is_initialized: bool,
    replication_status: &'static str,
}

pub(crate) async fn cluster_status(State(pd): State<Pd>) -> HandlerResult {
    let world = pd.sim.world();
    let is_initialized = world.is_bootstrapped();
    let since = if is_initialized {
        go_format::rfc3339(world.shown(world.bootstrapped))
    } else {
        "0001-01-01T00:00:00Z".to_owned()
    };
    Ok(Reply::json(&ClusterStatus {
        raft_bootstrap_time: since,
        is_initialized,
        replication_status: "",
    }))
}

#[derive(Serialize)]
struct Status<'a> {
    build_ts: &'static str,
    version: &'a str,
    git_hash: &'static str,
    start_timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_type: Option<&'static str>,
}

pub(crate) async fn status(State(pd): State<Pd>) -> HandlerResult {
    let world = pd.sim.world();
    Ok(Reply::json(&Status {
        build_ts: "2026-08-12 10:22:31",
        version: &world.release.shown,
        git_hash: GIT_HASH,
        start_timestamp: world.origin / SECOND,
        kernel_type: world.release.is_newest().then_some("Classic"),
    }))
}

#[derive(Serialize)]
struct Version<'a> {
    version: &'a str,
    build_time: &'static str,
    hash: &'static str,
    branch: &'static str,
}

pub(crate) async fn version(State(pd): State<Pd>) -> HandlerResult {
    Ok(Reply::json(&Version {
        version: &pd.sim.world().release.shown,
        build_time: "",
        hash: "",
        branch: "",
    }))
}

/// By store id; PD's maps have string keys.
type ByStore = BTreeMap<String, u64>;

#[derive(Debug, Default, Serialize)]
pub(crate) struct RegionStats {
    pub(crate) count: u64,
    pub(crate) empty_count: u64,
    /// MiB.
    pub(crate) storage_size: u64,
    pub(crate) user_storage_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_columnar_storage_size: Option<u64>,
    pub(crate) storage_keys: u64,
    pub(crate) store_leader_count: Option<ByStore>,
    pub(crate) store_peer_count: Option<ByStore>,
    pub(crate) store_leader_size: Option<ByStore>,
    pub(crate) store_leader_keys: Option<ByStore>,
    pub(crate) store_peer_size: Option<ByStore>,
    /// Absent if only the count was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store_peer_keys: Option<ByStore>,
}

impl RegionStats {
    fn of(world: &World, regions: &Regions, empty_count: u64) -> Self {
        let by_store = |of: fn(&StoreTotals) -> u64, only: fn(&StoreTotals) -> u64| {
            let store_totals = world
                .stores
                .keys()
                .map(|id| (id.to_string(), regions.totals_of(*id)));
            let there = store_totals.filter(|(_, tally)| only(tally) > 0);
            Some(there.map(|(id, tally)| (id, of(&tally))).collect())
        };
        let leaders = |tally: &StoreTotals| tally.leaders;
        let peers = |tally: &StoreTotals| tally.regions;
        let totals = regions.totals();
        Self {
            count: totals.count,
            empty_count,
            storage_size: totals.size,
            user_storage_size: 0,
            user_columnar_storage_size: world.release.is_newest().then_some(0),
            storage_keys: totals.keys,
            store_leader_count: by_store(leaders, leaders),
            store_peer_count: by_store(peers, peers),
            store_leader_size: by_store(|tally| tally.leader_size, leaders),
            store_leader_keys: by_store(|tally| tally.leader_keys, leaders),
            store_peer_size: by_store(|tally| tally.region_size, peers),
            store_peer_keys: by_store(|tally| tally.region_keys, peers),
        }
    }
}

pub(crate) async fn region_stats(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let world = pd.sim.world();
    let bounds = ["start_key", "end_key"].map(|key| query.first(key).and_then(table));
    let mut part = Regions::new(world.config.number("max-replicas", world.now));
    let regions = if bounds == [None, None] {
        &world.regions
    } else {
        let [from, to] = bounds;
        let found = world
            .regions
            .starting_at(from.unwrap_or(0))
            .map(|at| world.regions.get(at));
        let within = found.take_while(|region| to.is_none_or(|to| region.start < to));
        for region in within {
            part.add(region.clone());
        }
        &part
    };
    if query.has("count") {
        return Ok(Reply::json(&RegionStats {
            count: regions.totals().count,
            user_columnar_storage_size: world.release.is_newest().then_some(0),
            ..RegionStats::default()
        }));
    }
    let empty = regions.found_by(Check::EmptyRegion).len();
    Ok(Reply::json(&RegionStats::of(&world, regions, empty as u64)))
}

#[derive(Serialize)]
struct ResolvedTs {
    is_real_time: bool,
    min_resolved_ts: u64,
    persist_interval: &'static str,
    stores_min_resolved_ts: Option<()>,
}

pub(crate) async fn min_resolved_ts(State(pd): State<Pd>) -> HandlerResult {
    let millis = u64::try_from(pd.sim.world().wall() / 1_000_000).unwrap_or(0);
    Ok(Reply::json(&ResolvedTs {
        is_real_time: true,
        // A PD timestamp: milliseconds and an 18-bit logical counter.
        min_resolved_ts: millis.saturating_sub(1_000) << 18,
        persist_interval: "1s",
        stores_min_resolved_ts: None,
    }))
}

pub(crate) async fn ready(State(pd): State<Pd>, query: Query) -> HandlerResult {
    let world = pd.sim.world();
    let is_ready = world.has_all_reported();
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    if !query.has("verbose") {
        return Ok(Reply::gin(status, "", ""));
    }
    let body = format!(
        "{{\n    \"region_loaded\": {is_ready},\n    \"is_bootstrapped\": {}\n}}",
        world.is_bootstrapped()
    );
    Ok(Reply::gin(status, "application/json; charset=utf-8", &body))
}

pub(crate) async fn livez(State(pd): State<Pd>) -> HandlerResult {
    only_newest(&pd)?;
    Ok(Reply::gin(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        "ok\n",
    ))
}

pub(crate) async fn readyz(State(pd): State<Pd>) -> HandlerResult {
    only_newest(&pd)?;
    let (status, text) = if pd.sim.world().members.has_quorum() {
        (StatusCode::OK, "ok\n")
    } else {
        let text = "[+]etcd-data-corruption ok\n\
             [-]etcd-linearizable-read failed: etcd linearizable read failed: context deadline exceeded\n\
             [+]etcd-non-learner ok\n[+]etcd-serializable-read ok\n[+]leader-promotion ok\n";
        (StatusCode::SERVICE_UNAVAILABLE, text)
    };
    Ok(Reply::gin(status, "text/plain; charset=utf-8", text))
}

fn only_newest(pd: &Pd) -> Result<(), Reply> {
    if pd.sim.world().release.is_newest() {
        return Ok(());
    }
    Err(Reply::plain(StatusCode::NOT_FOUND, "404 page not found"))
}
