//! The data of an observation. Whatever may be unknown is an `Option`, and `null` or absent means unknown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{log::LogEvidence, thresholds::ObservedThresholds};

/// The cluster's state in one cycle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Data {
    /// The placement driver.
    #[serde(default)]
    pub pd: Pd,
    /// Every store but tombstones, ordered by id; null when PD did not list them.
    pub stores: Option<Vec<Store>>,
    /// The cluster as a whole.
    #[serde(default)]
    pub cluster_metrics: ClusterMetrics,
    /// Prometheus's metrics of each store, by store id; null when Prometheus did not answer.
    pub store_metrics: Option<BTreeMap<String, StoreMetrics>>,
    /// Why Prometheus did not.
    pub metrics_error: Option<String>,
    /// How old its answer is: a Prometheus that takes long is not asked in every cycle. Milliseconds.
    pub metrics_age_ms: Option<u64>,
    /// The first few of its instances, for when a store is none of them.
    #[serde(default)]
    pub metrics_instances: Vec<String>,
    /// How many instances it has.
    #[serde(default)]
    pub metrics_instance_count: Option<u64>,
    /// How many regions there are, and how many of them are unhealthy.
    #[serde(default)]
    pub regions: Regions,
    /// The operators that PD runs now.
    pub operators: Option<Operators>,
    /// PD's schedulers.
    #[serde(default)]
    pub schedulers: Schedulers,
    /// The ten stores with the most traffic, the busiest first.
    pub hot_stores: Option<Vec<HotStore>>,
    /// What of PD's configuration matters to the invariants and actions.
    #[serde(default)]
    pub config: PdConfig,
    /// What the log shows; null when no log is configured or it could not be read.
    pub log: Option<LogEvidence>,
    /// The thresholds that the invariants are judged by. Observations of version 0.1.0 have none.
    #[serde(default)]
    pub thresholds: ObservedThresholds,
}

/// The placement driver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pd {
    /// The cluster's id; beyond 2^53.
    pub cluster_id: Option<u64>,
    /// Whether a PD that answered knows a leader; false when each that answered reports that there is none.
    pub has_leader: Option<bool>,
    /// The leader's name.
    pub leader: Option<String>,
    /// The leader's member id; beyond 2^53.
    pub leader_id: Option<u64>,
    /// The name of the leader of the embedded etcd.
    pub etcd_leader: Option<String>,
    /// How long ago this plugin saw the leader change; null when it saw no change. Milliseconds.
    pub leader_changed_ago_ms: Option<u64>,
    /// Whether the leader had the time to receive the state of every region: stores report it every 60 s.
    pub regions_settled: Option<bool>,
    /// The members, ordered by name.
    pub members: Option<Vec<Member>>,
    /// The configured PDs, and how each answered.
    pub endpoints: Vec<PdEndpoint>,
}

/// One member of PD.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The member's name.
    pub name: String,
    /// Its id; beyond 2^53.
    pub id: Option<u64>,
    /// Where clients reach it.
    #[serde(default)]
    pub client_urls: Vec<String>,
    /// Its version.
    pub version: Option<String>,
    /// Whether its process answers another PD. Independent of quorum.
    pub healthy: Option<bool>,
}

/// One configured PD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PdEndpoint {
    /// Host and port.
    pub url: String,
    /// The version it runs; of v8.1 and older, that of the leader.
    pub version: Option<String>,
    /// Why it was of no use; null when it answered.
    pub error: Option<String>,
}

/// One store, be it of TiKV or of TiFlash.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Store {
    /// PD's id of it.
    pub id: u64,
    /// Where it serves gRPC.
    pub address: Option<String>,
    /// Where it serves its metrics; Prometheus calls it `instance`.
    pub status_address: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// The state that PD reports; null when it is unknown.
    pub state: Option<StoreState>,
    /// The time of its last heartbeat to PD. Milliseconds since the Unix epoch; 0 is never.
    pub last_heartbeat_ms: Option<i64>,
    /// How long ago that was, by PD's clock. Milliseconds.
    pub heartbeat_age_ms: Option<u64>,
    /// Whether PD's leader has received a heartbeat itself: a new one begins with heartbeats up to 5 minutes old.
    pub heard_by_leader: Option<bool>,
    /// When it started. Milliseconds since the Unix epoch.
    pub started_at_ms: Option<i64>,
    /// The size of its disk or its configured share. Bytes, four significant digits.
    pub capacity_bytes: Option<u64>,
    /// What is left of that, whichever program uses the rest. Bytes, four significant digits.
    pub available_bytes: Option<u64>,
    /// What its own data takes. Bytes, four significant digits.
    pub used_bytes: Option<u64>,
    /// Regions that it leads.
    pub leader_count: Option<u64>,
    /// What its leaders count for balance.
    pub leader_weight: Option<f64>,
    /// Leaders or their size by weight, which PD balances.
    pub leader_score: Option<f64>,
    /// Peers that it holds.
    pub region_count: Option<u64>,
    /// Their size. MiB.
    pub region_size_mib: Option<i64>,
    /// Its peers that lie behind their leader.
    pub pending_peer_count: Option<u64>,
    /// From 1, healthy, to 100.
    pub slow_score: Option<f64>,
    /// Snapshots on their way from it.
    pub sending_snapshots: Option<u64>,
    /// Snapshots on their way to it.
    pub receiving_snapshots: Option<u64>,
    /// Whether it reported to PD that it is busy.
    pub busy: Option<bool>,
    /// Whether an evict-leader scheduler holds it.
    pub evicting_leaders: Option<bool>,
    /// Whether the label property `reject-leader` and the placement rules let it have leaders.
    pub may_lead: Option<bool>,
}

/// The state of a store, as PD reports it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StoreState {
    /// Its last heartbeat is at most 20 s old.
    Up,
    /// Its last heartbeat is older than 20 s.
    Disconnected,
    /// Its last heartbeat is older than `max-store-down-time`.
    Down,
    /// Being removed from the cluster, alive or not.
    Offline,
    /// Removed.
    Tombstone,
}

/// The cluster as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClusterMetrics {
    /// Stores but tombstones.
    pub store_count: Option<u64>,
    /// How many stores are in each state.
    pub stores_by_state: Option<BTreeMap<StoreState, u64>>,
    /// Regions.
    pub region_count: Option<u64>,
    /// Regions of at most 1 MiB.
    pub empty_region_count: Option<u64>,
    /// All regions, counted once. MiB.
    pub storage_size_mib: Option<i64>,
    /// Regions by the store that leads them; a store that leads none may be absent.
    pub leader_count: Option<BTreeMap<String, u64>>,
    /// Peers by store.
    pub peer_count: Option<BTreeMap<String, u64>>,
    /// gRPC requests a second, over all stores.
    pub qps: Option<f64>,
    /// The p99 of raft writes over all stores and the last minute. Milliseconds.
    pub write_latency_p99_ms: Option<f64>,
}

/// Prometheus's metrics of one store over the last minute. What has no series, or NaN, is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StoreMetrics {
    /// Its name in Prometheus; null when none of the instances is known to be this store.
    pub instance: Option<String>,
    /// Whether it was scraped; null when Prometheus does not know it.
    pub scraped: Option<bool>,
    /// Whether it was scraped in the older half of the last minute too. If not, what is not there may have been a moment
    /// ago, as after a restart of Prometheus without its data.
    pub window_covered: Option<bool>,
    /// gRPC requests a second. Like every rate, null while less than a minute is known.
    pub qps: Option<f64>,
    /// The p99 of gRPC requests, but for garbage collection. Milliseconds.
    pub latency_p99_ms: Option<f64>,
    /// The p99 of how far the slowest follower of a region lies behind. Entries.
    pub raft_log_lag: Option<f64>,
    /// How many times a second that is measured; 0 where nothing is replicated.
    pub raft_log_lag_per_second: Option<f64>,
    /// Raft writes a second.
    pub raft_writes_per_second: Option<f64>,
    /// The p99 of how long writes were stalled by the storage engine. Microseconds.
    pub write_stall_us: Option<f64>,
    /// Requests and messages a second that were rejected because a queue was full.
    pub rejected_per_second: Option<f64>,
    /// Whether this server can tell a counter that has had no event from one that is not stored.
    pub rejections_told: Option<bool>,
    /// Cores in use.
    pub cpu_cores: Option<f64>,
    /// Its regions that have missed a leader for long, by its own count.
    pub leader_missing: Option<f64>,
}

/// Region health.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Regions {
    /// Regions of which PD knows no leader.
    pub leaderless: Option<u64>,
    /// How old that and the numbers by store are: a PD that takes long is not asked in every cycle. Milliseconds.
    pub stats_age_ms: Option<u64>,
    /// A peer's store has not answered the leader for 10 minutes.
    pub down_peer: Option<RegionCount>,
    /// Fewer peers than the placement rules want.
    pub miss_peer: Option<RegionCount>,
    /// A peer lies so far behind that it needs a snapshot.
    pub pending_peer: Option<RegionCount>,
    /// More peers than the placement rules want.
    pub extra_peer: Option<RegionCount>,
    /// A peer is on a store that is being removed.
    pub offline_peer: Option<RegionCount>,
}

/// A number of regions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RegionCount {
    /// How many.
    pub count: u64,
    /// Ids of a few of them.
    #[serde(default)]
    pub examples: Vec<u64>,
    /// How old the number is: a long list is not asked for in every cycle. Milliseconds.
    #[serde(default)]
    pub age_ms: u64,
}

/// The operators that PD runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operators {
    /// How many.
    pub count: u64,
    /// The first hundred by region.
    #[serde(default)]
    pub running: Vec<Operator>,
}

/// One operator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operator {
    /// The region that it works on.
    pub region_id: u64,
    /// Who wants it: `admin-transfer-leader`, `balance-region`.
    pub desc: String,
    /// What it does: `transfer leader: store 1 to 4`.
    pub brief: String,
    /// `admin,leader`.
    pub kind: Option<String>,
    /// From 0.
    pub current_step: Option<u64>,
    /// How long it may take. Milliseconds.
    pub timeout_ms: Option<u64>,
}

/// PD's schedulers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Schedulers {
    /// The names of all that are configured, paused or not.
    pub names: Option<Vec<String>>,
    /// Those that are paused.
    pub paused: Option<Vec<PausedScheduler>>,
    /// The stores that an evict-leader scheduler keeps without leaders.
    pub evict_leader: Option<Vec<EvictLeader>>,
    /// Whether all scheduling is halted.
    pub halted: Option<bool>,
    /// How long this plugin has seen it halted. Milliseconds.
    pub halted_for_ms: Option<u64>,
}

/// A scheduler that is paused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PausedScheduler {
    /// The scheduler's name.
    pub name: String,
    /// For how long, by PD's clock. Milliseconds.
    pub paused_for_ms: Option<u64>,
    /// When it resumes by itself. Milliseconds.
    pub resumes_in_ms: Option<u64>,
}

/// A store that an evict-leader scheduler holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvictLeader {
    /// The store.
    pub store_id: u64,
    /// How long this plugin has seen it; PD does not report since when. Milliseconds.
    pub seen_for_ms: Option<u64>,
    /// The leaders that are still there.
    pub leaders_left: Option<u64>,
}

/// The traffic of a store, as PD measures it. A second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HotStore {
    /// The store.
    pub store_id: u64,
    /// Bytes written.
    pub write_bytes: Option<f64>,
    /// Bytes read.
    pub read_bytes: Option<f64>,
    /// Writes.
    pub write_queries: Option<f64>,
    /// Reads.
    pub read_queries: Option<f64>,
}

/// What of PD's configuration matters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PdConfig {
    /// Peers that each region should have.
    pub max_replicas: Option<u64>,
    /// The labels that distinguish locations, outermost first.
    pub location_labels: Option<Vec<String>>,
    /// The label of which no two peers may share a value.
    pub isolation_level: Option<String>,
    /// Whether placement rules are on.
    pub placement_rules: Option<bool>,
    /// A store whose last heartbeat is older than this is Down. Milliseconds.
    pub max_store_down_time_ms: Option<u64>,
    /// Leader operators at a time.
    pub leader_schedule_limit: Option<u64>,
    /// `count` or `size`.
    pub leader_schedule_policy: Option<String>,
    /// Region operators at a time.
    pub region_schedule_limit: Option<u64>,
    /// Replica operators at a time.
    pub replica_schedule_limit: Option<u64>,
    /// Merges at a time.
    pub merge_schedule_limit: Option<u64>,
    /// Hot-region operators at a time.
    pub hot_region_schedule_limit: Option<u64>,
    /// A store that is fuller than this takes no more regions. From 0 to 1.
    pub low_space_ratio: Option<f64>,
    /// A store that is emptier than this is filled by count. From 0 to 1.
    pub high_space_ratio: Option<f64>,
    /// Whether peers move by joint consensus.
    pub joint_consensus: Option<bool>,
    /// `v1` has a limit for each store, `v2` finds its own.
    pub store_limit_version: Option<String>,
}
