//! What PD answers, as far as it is read. Fields that PD leaves out while they are zero, false or empty are `Option`s.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `GET /stores`: Up and Offline; tombstones are left out by PD.
#[derive(Debug, Deserialize)]
pub(crate) struct Stores {
    pub(crate) stores: Vec<StoreInfo>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StoreInfo {
    pub(crate) store: Meta,
    pub(crate) status: Option<Status>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Meta {
    pub(crate) id: u64,
    pub(crate) address: Option<String>,
    pub(crate) labels: Option<Vec<Label>>,
    pub(crate) version: Option<String>,
    pub(crate) status_address: Option<String>,
    /// Unix seconds.
    pub(crate) start_timestamp: Option<i64>,
    /// Unix nanoseconds; absent when it never came.
    pub(crate) last_heartbeat: Option<i64>,
    pub(crate) state_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Label {
    #[serde(default)]
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) capacity: Option<String>,
    pub(crate) available: Option<String>,
    pub(crate) used_size: Option<String>,
    pub(crate) leader_count: Option<u64>,
    pub(crate) leader_weight: Option<f64>,
    pub(crate) leader_score: Option<f64>,
    pub(crate) region_count: Option<u64>,
    pub(crate) region_size: Option<i64>,
    pub(crate) pending_peer_count: Option<u64>,
    pub(crate) slow_score: Option<f64>,
    pub(crate) sending_snap_count: Option<u64>,
    pub(crate) receiving_snap_count: Option<u64>,
    pub(crate) is_busy: Option<bool>,
    pub(crate) last_heartbeat_ts: Option<String>,
}

/// `GET /members`.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are PD's")]
pub(crate) struct Members {
    pub(crate) header: Option<Header>,
    pub(crate) members: Vec<Member>,
    pub(crate) leader: Option<Member>,
    pub(crate) etcd_leader: Option<Member>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Header {
    pub(crate) cluster_id: Option<u64>,
}

/// An entry of `/members` and of `/health`, which alone has `health`.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_field_names, reason = "they are PD's")]
pub(crate) struct Member {
    pub(crate) name: Option<String>,
    pub(crate) member_id: Option<u64>,
    pub(crate) client_urls: Option<Vec<String>>,
    pub(crate) binary_version: Option<String>,
    pub(crate) health: Option<bool>,
}

/// `GET /status`, answered by the PD that is asked; v8.1 and older pass it on to the leader.
#[derive(Debug, Deserialize)]
pub(crate) struct ServerStatus {
    pub(crate) version: String,
}

/// `GET /stats/region`. Sizes in MiB.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RegionStats {
    pub(crate) count: Option<u64>,
    pub(crate) empty_count: Option<u64>,
    pub(crate) storage_size: Option<i64>,
    pub(crate) store_leader_count: Option<BTreeMap<String, u64>>,
    pub(crate) store_peer_count: Option<BTreeMap<String, u64>>,
}

/// A region, in any of the answers that hold one.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Region {
    /// 0 where v8.5 and older do not know the region.
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) start_key: String,
    #[serde(default)]
    pub(crate) end_key: String,
    pub(crate) epoch: Option<Epoch>,
    #[serde(default)]
    pub(crate) peers: Vec<Peer>,
    pub(crate) leader: Option<Peer>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Epoch {
    #[serde(default)]
    pub(crate) version: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Peer {
    /// Absent in the leader of a region that has none.
    pub(crate) store_id: Option<u64>,
    #[serde(default)]
    pub(crate) is_learner: bool,
}

impl Region {
    /// The store of the leader; None when PD knows no leader.
    pub(crate) fn leader_store(&self) -> Option<u64> {
        self.leader.as_ref()?.store_id.filter(|id| *id != 0)
    }

    /// Whether it has a peer there, and whether that is one that votes.
    pub(crate) fn voter_on(&self, store: u64) -> Option<bool> {
        let peer = self.peers.iter().find(|peer| peer.store_id == Some(store));
        peer.map(|peer| !peer.is_learner)
    }
}

/// `GET /regions/sibling/{id}`.
#[derive(Debug, Deserialize)]
pub(crate) struct Regions {
    pub(crate) regions: Option<Vec<Region>>,
}

/// `GET /schedulers?status=paused&timestamp`. Times in RFC 3339, whole seconds.
#[derive(Debug, Deserialize)]
pub(crate) struct PausedScheduler {
    pub(crate) name: String,
    pub(crate) paused_at: Option<String>,
    pub(crate) resume_at: Option<String>,
}

/// `GET /scheduler-config/evict-leader-scheduler/list`.
#[derive(Debug, Deserialize)]
pub(crate) struct EvictLeaderConfig {
    #[serde(rename = "store-id-ranges")]
    pub(crate) stores: BTreeMap<String, serde_json::Value>,
}

/// `GET /config/schedule`. Booleans are texts, durations are Go's.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ScheduleConfig {
    pub(crate) max_store_down_time: Option<String>,
    pub(crate) leader_schedule_limit: Option<u64>,
    pub(crate) leader_schedule_policy: Option<String>,
    pub(crate) region_schedule_limit: Option<u64>,
    pub(crate) replica_schedule_limit: Option<u64>,
    pub(crate) merge_schedule_limit: Option<u64>,
    pub(crate) hot_region_schedule_limit: Option<u64>,
    pub(crate) low_space_ratio: Option<f64>,
    pub(crate) high_space_ratio: Option<f64>,
    pub(crate) enable_joint_consensus: Option<String>,
    pub(crate) store_limit_version: Option<String>,
    /// Left out while false.
    pub(crate) halt_scheduling: Option<String>,
}

/// `GET /config/replicate`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ReplicationConfig {
    pub(crate) max_replicas: Option<u64>,
    pub(crate) location_labels: Option<String>,
    pub(crate) isolation_level: Option<String>,
    pub(crate) enable_placement_rules: Option<String>,
}

/// `GET /config/label-property`: the stores of a label that a property applies to, by the property.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LabelProperties {
    pub(crate) reject_leader: Option<Vec<Label>>,
}

/// An entry of `GET /config/rules`.
#[derive(Debug, Deserialize)]
pub(crate) struct PlacementRule {
    /// `voter`, `leader`, `follower` or `learner`.
    pub(crate) role: String,
    #[serde(default)]
    pub(crate) is_witness: bool,
    pub(crate) label_constraints: Option<Vec<LabelConstraint>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct LabelConstraint {
    pub(crate) key: String,
    /// `in`, `notIn`, `exists` or `notExists`.
    pub(crate) op: String,
    pub(crate) values: Option<Vec<String>>,
}

/// `GET /stores/limit`: peers a minute, by store id.
pub(crate) type StoreLimits = BTreeMap<String, StoreLimit>;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StoreLimit {
    pub(crate) add_peer: Option<f64>,
    pub(crate) remove_peer: Option<f64>,
}

#[expect(clippy::struct_field_names, reason = "they are PD's")]
/// `GET /hotspot/stores`: each a rate a second by store id, left out while empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct HotStores {
    pub(crate) bytes_write_rate: BTreeMap<String, f64>,
    pub(crate) bytes_read_rate: BTreeMap<String, f64>,
    pub(crate) query_write_rate: BTreeMap<String, f64>,
    pub(crate) query_read_rate: BTreeMap<String, f64>,
}
