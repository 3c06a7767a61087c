//! Converts PD's answers into the form of the observation.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    collect::Collected,
    observation::{HotStore, Member, Pd, PdConfig, PdEndpoint, Store, StoreState},
    pd::{
        units::{bytes, duration_ms, time_ms},
        wire,
    },
};

/// The number of hot stores that are listed.
const HOT_STORES: usize = 10;

/// PD writes its booleans as texts.
pub(crate) fn flag(text: Option<&str>) -> Option<bool> {
    match text? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// PD's clock: that of its answer, or the newest heartbeat where that is later. Milliseconds.
pub(crate) fn clock(stores: &wire::Stores, answered_ms: i64) -> i64 {
    let heartbeats = stores.stores.iter().filter_map(heartbeat_ms);
    heartbeats
        .max()
        .map_or(answered_ms, |newest| newest.max(answered_ms))
}

/// The time of its last heartbeat. Milliseconds since the Unix epoch.
pub(crate) fn heartbeat_ms(info: &wire::StoreInfo) -> Option<i64> {
    let nanos = info.store.last_heartbeat.map(|nanos| nanos / 1_000_000);
    nanos.or_else(|| {
        info.status
            .as_ref()?
            .last_heartbeat_ts
            .as_deref()
            .and_then(time_ms)
    })
}

pub(crate) fn stores(
    stores: &wire::Stores,
    clock_ms: i64,
    evicting: Option<&Vec<u64>>,
) -> Vec<Store> {
    let known = stores
        .stores
        .iter()
        .map(|info| store(info, clock_ms, evicting));
    let mut known: Vec<_> = known
        .filter(|store| store.state != Some(StoreState::Tombstone))
        .collect();
    known.sort_by_key(|store| store.id);
    known
}

fn store(info: &wire::StoreInfo, clock_ms: i64, evicting: Option<&Vec<u64>>) -> Store {
    let (meta, status) = (&info.store, info.status.as_ref());
    let heartbeat = heartbeat_ms(info);
    let size = |of: fn(&wire::Status) -> &Option<String>| bytes(of(status?).as_deref()?);
    // PD leaves these out while they are zero or false.
    let count = |of: fn(&wire::Status) -> Option<u64>| Some(of(status?).unwrap_or_default());
    Store {
        id: meta.id,
        address: meta.address.clone(),
        status_address: meta.status_address.clone(),
        version: meta.version.clone(),
        labels: Some(labels(meta)),
        state: meta.state_name.as_deref().and_then(state),
        last_heartbeat_ms: heartbeat,
        heartbeat_age_ms: heartbeat.map(|at| clock_ms.saturating_sub(at).max(0).unsigned_abs()),
        heard_by_leader: None,
        started_at_ms: meta
            .start_timestamp
            .map(|seconds| seconds.saturating_mul(1_000)),
        capacity_bytes: size(|status| &status.capacity),
        available_bytes: size(|status| &status.available),
        used_bytes: size(|status| &status.used_size),
        leader_count: status.and_then(|status| status.leader_count),
        leader_weight: status.and_then(|status| status.leader_weight),
        leader_score: status.and_then(|status| status.leader_score),
        region_count: status.and_then(|status| status.region_count),
        region_size_mib: status.and_then(|status| status.region_size),
        pending_peer_count: count(|status| status.pending_peer_count),
        slow_score: status.and_then(|status| status.slow_score),
        sending_snapshots: count(|status| status.sending_snap_count),
        receiving_snapshots: count(|status| status.receiving_snap_count),
        busy: status.map(|status| status.is_busy.unwrap_or_default()),
        evicting_leaders: evicting.map(|stores| stores.contains(&meta.id)),
        may_lead: None,
    }
}

fn labels(meta: &wire::Meta) -> BTreeMap<String, String> {
    let labels = meta.labels.iter().flatten();
    labels
        .map(|label| (label.key.clone(), label.value.clone()))
        .collect()
}

fn state(name: &str) -> Option<StoreState> {
    Some(match name {
        "Up" => StoreState::Up,
        "Disconnected" => StoreState::Disconnected,
        "Down" => StoreState::Down,
        "Offline" => StoreState::Offline,
        "Tombstone" => StoreState::Tombstone,
        _ => return None,
    })
}

pub(crate) fn pd(collected: &Collected) -> Pd {
    let members = collected.members();
    let leader = members.and_then(|members| members.leader.as_ref());
    let etcd_leader = members.and_then(|members| members.etcd_leader.as_ref());
    Pd {
        cluster_id: members.and_then(|members| members.header.as_ref()?.cluster_id),
        has_leader: collected.has_leader(),
        leader: leader.and_then(|leader| leader.name.clone()),
        leader_id: leader.and_then(|leader| leader.member_id),
        etcd_leader: etcd_leader.and_then(|leader| leader.name.clone()),
        members: known_members(
            members.map(|members| &members.members),
            collected.health.as_ref().ok(),
        ),
        endpoints: collected
            .asked
            .iter()
            .map(|asked| PdEndpoint {
                url: asked.endpoint.authority(),
                version: asked.version.clone(),
                error: asked.members.as_ref().err().map(ToString::to_string),
            })
            .collect(),
        ..Pd::default()
    }
}

/// The members that are listed, with the health that another PD found. Without a leader only their health is listed.
fn known_members(
    listed: Option<&Vec<wire::Member>>,
    health: Option<&Vec<wire::Member>>,
) -> Option<Vec<Member>> {
    let healthy = |id: Option<u64>| {
        let found = health?
            .iter()
            .find(|found| id.is_some() && found.member_id == id);
        found?.health
    };
    let members = listed.or(health)?.iter().map(|member| Member {
        name: member.name.clone().unwrap_or_default(),
        id: member.member_id,
        client_urls: member.client_urls.clone().unwrap_or_default(),
        version: member.binary_version.clone(),
        healthy: healthy(member.member_id),
    });
    let mut members: Vec<_> = members.collect();
    members.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Some(members)
}

/// The busiest first, by bytes read and written.
pub(crate) fn hot_stores(rates: &wire::HotStores) -> Vec<HotStore> {
    let ids = rates
        .bytes_write_rate
        .keys()
        .chain(rates.bytes_read_rate.keys());
    let ids: std::collections::BTreeSet<_> = ids.collect();
    let stores = ids.into_iter().filter_map(|id| {
        Some(HotStore {
            store_id: id.parse().ok()?,
            write_bytes: rates.bytes_write_rate.get(id).copied(),
            read_bytes: rates.bytes_read_rate.get(id).copied(),
            write_queries: rates.query_write_rate.get(id).copied(),
            read_queries: rates.query_read_rate.get(id).copied(),
        })
    });
    let mut stores: Vec<_> = stores.collect();
    let traffic = |store: &HotStore| {
        store.write_bytes.unwrap_or_default() + store.read_bytes.unwrap_or_default()
    };
    stores.sort_by(|a, b| {
        traffic(b)
            .total_cmp(&traffic(a))
            .then(Reverse(b.store_id).cmp(&Reverse(a.store_id)))
    });
    stores.truncate(HOT_STORES);
    stores
}

pub(crate) fn config(
    schedule: Option<&wire::ScheduleConfig>,
    replication: Option<&wire::ReplicationConfig>,
) -> PdConfig {
    let schedule_text =
        |of: fn(&wire::ScheduleConfig) -> &Option<String>| schedule.and_then(|s| of(s).clone());
    let limit = |of: fn(&wire::ScheduleConfig) -> Option<u64>| schedule.and_then(of);
    let labels = replication.and_then(|replication| replication.location_labels.as_deref());
    let labels = labels.map(|labels| {
        labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(str::to_owned)
            .collect()
    });
    PdConfig {
        max_replicas: replication.and_then(|replication| replication.max_replicas),
        location_labels: labels,
        isolation_level: replication.and_then(|replication| replication.isolation_level.clone()),
        placement_rules: replication
            .and_then(|replication| flag(replication.enable_placement_rules.as_deref())),
        max_store_down_time_ms: schedule_text(|s| &s.max_store_down_time)
            .as_deref()
            .and_then(duration_ms),
        leader_schedule_limit: limit(|s| s.leader_schedule_limit),
        leader_schedule_policy: schedule_text(|s| &s.leader_schedule_policy),
        region_schedule_limit: limit(|s| s.region_schedule_limit),
        replica_schedule_limit: limit(|s| s.replica_schedule_limit),
        merge_schedule_limit: limit(|s| s.merge_schedule_limit),
        hot_region_schedule_limit: limit(|s| s.hot_region_schedule_limit),
        low_space_ratio: schedule.and_then(|schedule| schedule.low_space_ratio),
        high_space_ratio: schedule.and_then(|schedule| schedule.high_space_ratio),
        joint_consensus: flag(schedule_text(|s| &s.enable_joint_consensus).as_deref()),
        store_limit_version: schedule_text(|s| &s.store_limit_version),
    }
}
