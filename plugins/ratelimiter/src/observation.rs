//! The data of an observation. Whatever may be unknown is an `Option`, and `null` means unknown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::thresholds::ObservedThresholds;

/// The rate limiter's state in one cycle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Data {
    /// The form of the management API that answered; null when no node did.
    pub api: Option<ApiForm>,
    /// Every node that is known, by any source or from earlier cycles, ordered by id.
    pub nodes: Vec<Node>,
    /// Whether a list of all nodes was ever read to its end; before that, some may be missing here.
    pub nodes_listed: Option<bool>,
    /// The metrics that each node that answered reports, by node id.
    pub node_metrics: BTreeMap<String, NodeMetrics>,
    /// Whether this plugin's own PING was answered; null when Redis answered but refused this plugin.
    pub redis_connected: Option<bool>,
    /// More about Redis.
    pub redis: Redis,
    /// The counters that were read, ordered by key; null when no source reported any.
    pub counters: Option<Vec<Counter>>,
    /// Whether these are all counters there are; null when not known.
    pub counters_complete: Option<bool>,
    /// Whether each counter was read at least once, in this cycle or before: with many, each has its turn.
    pub counters_swept: Option<bool>,
    /// How many counters there are, as far as that was counted.
    pub counters_total: Option<u64>,
    /// Checks since the nodes that answered started.
    pub totals: Totals,
    /// The default limit and the overrides.
    pub limits: Option<Limits>,
    /// The keys that are blocked or at their limit.
    pub blocks: Option<Vec<Block>>,
    /// The ten keys with the most requests in their window, the busiest first.
    pub hot_keys: Option<Vec<HotKey>>,
    /// The cluster as the management API sums it up; the older form has no such answer.
    pub cluster: Option<ClusterState>,
    /// How long checks take, from Prometheus.
    pub latency: Latency,
    /// The share of all checks that were blocked. Percent.
    pub block_rate_percent: Option<f64>,
    /// Why that is unknown.
    pub block_rate_error: Option<String>,
    /// The share of checks in the last minute that may have been blocked although their key had room, as the nodes found
    /// out themselves. Percent.
    pub false_block_rate_percent: Option<f64>,
    /// Checks a second, over all nodes.
    pub requests_per_second: Option<f64>,
    /// The thresholds that the invariants are judged by.
    #[serde(default)]
    pub thresholds: ObservedThresholds,
}

/// A form of the management API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiForm {
    /// `/api/v1`.
    V1,
    /// `/api`.
    Older,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// The node's id.
    pub id: String,
    /// `host:port` as it registered itself.
    pub address: Option<String>,
    /// Whether its own `/health` answered; null when there was no address to ask.
    pub answered: Option<bool>,
    /// Why not.
    pub error: Option<String>,
    /// Whether it ever answered this plugin.
    pub reached_before: bool,
    /// What the other nodes make of it; null when none could be asked.
    pub listed: Option<Listed>,
    /// It signed off, or was seen draining and is now gone.
    pub left: bool,
    /// Whether the configuration expects it.
    pub expected: bool,
    /// Whether it refuses checks because it was drained.
    pub draining: Option<bool>,
    /// Whether it reaches Redis: as it reports itself, or as its checks and heartbeats show.
    pub redis_connected: Option<bool>,
    /// Its checks in the last seconds; null before they were counted twice.
    pub checks: Option<Checks>,
    /// Whether its checks work, by its own word; null where it does not say.
    pub checks_work: Option<bool>,
    /// Why not, in its own words.
    pub checks_error: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub registered_at_ms: Option<i64>,
    /// Milliseconds since the Unix epoch.
    pub last_heartbeat_at_ms: Option<i64>,
    /// The version it runs.
    pub version: Option<String>,
}

/// The checks of one node in the last seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checks {
    /// How many it allowed or blocked.
    pub served: Option<u64>,
    /// How many it could do neither with; null where its metrics do not tell.
    pub failed: Option<u64>,
    /// Within this time. Milliseconds.
    pub over_ms: Option<u64>,
}

/// A node in the eyes of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Listed {
    /// Its heartbeat is fresh.
    Healthy,
    /// Its heartbeat stopped.
    Unhealthy,
    /// It was drained.
    Draining,
    /// It is not in the list.
    Absent,
}

/// The metrics that one node reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeMetrics {
    /// Checks a second.
    pub requests_per_second: Option<f64>,
    /// Percent.
    pub allowed_rate: Option<f64>,
    /// Percent.
    pub blocked_rate: Option<f64>,
    /// By the node's own measure.
    pub latency_p50_ms: Option<f64>,
    /// By the node's own measure.
    pub latency_p99_ms: Option<f64>,
    /// How long Redis takes to answer it.
    pub redis_latency_ms: Option<f64>,
    /// Keys of which it allowed a request in their window.
    pub active_keys: Option<u64>,
    /// Checks it allowed since it started.
    pub allowed_total: Option<u64>,
    /// Checks it blocked since it started.
    pub blocked_total: Option<u64>,
}

/// More about Redis.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Redis {
    /// How long its PING took.
    pub ping_ms: Option<f64>,
    /// How long it has been up: it may have lost its counters before that.
    pub uptime_s: Option<u64>,
    /// Whether it answered and refused this plugin: then the nodes decide whether it is available.
    pub refused: Option<bool>,
    /// Why it could not be read.
    pub error: Option<String>,
}

/// One key, and what was counted for it. Redis and the nodes are read twice, one after the other: a quantity is a range,
/// and lies between its `low` and its `high`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counter {
    /// The key.
    pub key: String,
    /// How many requests its window holds at most.
    pub limit: Option<u64>,
    /// Whose limit that is.
    pub limit_source: Option<LimitSource>,
    /// The length of its window.
    pub window_ms: Option<u64>,
    /// Whether this limit has been in force for a whole window.
    pub limit_settled: Option<bool>,
    /// What Redis counts in the window.
    pub redis_low: Option<u64>,
    /// What Redis counts in the window.
    pub redis_high: Option<u64>,
    /// What the nodes that answered allowed in the window, together.
    pub allowed_low: Option<u64>,
    /// What all nodes allowed in the window, together; null when one of them did not report.
    pub allowed_high: Option<u64>,
    /// A node started less than a window ago, and what it allowed before is forgotten.
    pub node_restarted: Option<bool>,
    /// Redis's count fell a moment ago, by expiry or by a reset of which not every node may have heard.
    pub just_fell: Option<bool>,
}

/// Where the limit of a key is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// The service names the limit by which it judges this key.
    Service,
    /// The older form shows the default for every key, whatever limit its clients name.
    Default,
}

/// Checks since the nodes started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// How many were allowed.
    pub allowed: Option<u64>,
    /// How many were blocked.
    pub blocked: Option<u64>,
}

/// The default limit and the overrides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// For keys without an override.
    pub default_limit: Option<u64>,
    /// For keys without an override.
    pub default_window_ms: Option<u64>,
    /// The overrides; null in the older form, which does not list them.
    pub overrides: Option<Vec<Override>>,
}

/// The limit of a key, or of all keys with a prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Override {
    /// A key, or a prefix that ends in `*`.
    pub key_pattern: String,
    /// How many requests a window holds at most.
    pub max_requests: u64,
    /// The length of the window.
    pub window_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub updated_at_ms: Option<i64>,
}

/// A key that is blocked or at its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// The key.
    pub key: String,
    /// What it has counted.
    pub current_count: Option<u64>,
    /// What it may count.
    pub limit: Option<u64>,
    /// Until when it is refused outright. Milliseconds since the Unix epoch.
    pub until_ms: Option<i64>,
}

/// A key with many requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HotKey {
    /// The key.
    pub key: String,
    /// Requests in its window.
    pub count: u64,
}

/// The cluster as the management API sums it up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterState {
    /// Nodes that are known.
    #[serde(default)]
    pub node_count: Option<u64>,
    /// Nodes that are healthy.
    #[serde(default)]
    pub healthy_nodes: Option<u64>,
    /// Keys with a counter.
    #[serde(default)]
    pub total_keys: Option<u64>,
    /// Checks a second, over all nodes.
    #[serde(default)]
    pub total_requests_per_second: Option<f64>,
}

/// How long checks take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Half of all checks take no longer than this. Milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100 checks take no longer than this. Milliseconds.
    pub p99_ms: Option<f64>,
    /// The p99 of each node, by its id, or by `host:port` where no node is known at that address.
    pub p99_ms_by_node: BTreeMap<String, f64>,
    /// What was timed.
    pub of: Option<Timed>,
    /// The nodes that serve and are missing in this sample.
    pub missing: Option<Vec<String>>,
    /// Whether no node times anything, although checks are answered.
    pub not_timed: Option<bool>,
    /// Why the p99 is unknown.
    pub error: Option<String>,
}

/// What the latency is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timed {
    /// Checks.
    Checks,
    /// All requests over HTTP, where a service does not time its checks.
    Requests,
}
