//! Observations for tests.

use std::collections::BTreeMap;

use operator_plugin_kit::{Findings, testing::verdicts};

use crate::{
    observation::{
        ClusterMetrics, Data, Member, Operators, Pd, PdConfig, RegionCount, Regions, Schedulers,
        Store, StoreMetrics, StoreState,
    },
    thresholds::Thresholds,
};

/// A healthy cluster of three stores and three PDs.
pub(crate) fn healthy() -> Data {
    let stores = [1, 4, 5];
    Data {
        pd: Pd {
            cluster_id: Some(u64::MAX),
            has_leader: Some(true),
            leader: Some("pd0".into()),
            leader_id: Some(1),
            regions_settled: Some(true),
            members: Some((0..3).map(member).collect()),
            ..Pd::default()
        },
        stores: Some(stores.map(store).into()),
        cluster_metrics: ClusterMetrics {
            store_count: Some(3),
            region_count: Some(96),
            leader_count: Some(stores.map(|id| (id.to_string(), 32)).into()),
            qps: Some(300.0),
            write_latency_p99_ms: Some(8.0),
            ..ClusterMetrics::default()
        },
        store_metrics: Some(stores.map(|id| (id.to_string(), metrics())).into()),
        regions: Regions {
            leaderless: Some(0),
            down_peer: Some(RegionCount::default()),
            miss_peer: Some(RegionCount::default()),
            ..Regions::default()
        },
        operators: Some(Operators::default()),
        schedulers: Schedulers {
            names: Some(vec!["balance-leader-scheduler".into()]),
            paused: Some(Vec::new()),
            evict_leader: Some(Vec::new()),
            halted: Some(false),
            halted_for_ms: None,
        },
        config: PdConfig {
            max_replicas: Some(3),
            max_store_down_time_ms: Some(1_800_000),
            ..PdConfig::default()
        },
        thresholds: Thresholds::default().into(),
        ..Data::default()
    }
}

fn member(index: u32) -> Member {
    Member {
        name: format!("pd{index}"),
        id: Some(u64::from(index)),
        healthy: Some(true),
        ..Member::default()
    }
}

/// A healthy store with a disk of 100 bytes.
pub(crate) fn store(id: u64) -> Store {
    Store {
        id,
        address: Some(format!("tikv{id}:20160")),
        status_address: Some(format!("tikv{id}:20180")),
        labels: Some(BTreeMap::new()),
        state: Some(StoreState::Up),
        last_heartbeat_ms: Some(1),
        heartbeat_age_ms: Some(3_000),
        heard_by_leader: Some(true),
        capacity_bytes: Some(100),
        available_bytes: Some(60),
        leader_weight: Some(1.0),
        leader_score: Some(32.0),
        evicting_leaders: Some(false),
        may_lead: Some(true),
        ..Store::default()
    }
}

fn metrics() -> StoreMetrics {
    StoreMetrics {
        instance: Some("tikv".into()),
        scraped: Some(true),
        window_covered: Some(true),
        qps: Some(100.0),
        latency_p99_ms: Some(12.0),
        raft_log_lag: Some(20.0),
        write_stall_us: Some(0.0),
        rejected_per_second: Some(0.0),
        rejections_told: Some(true),
        ..StoreMetrics::default()
    }
}

/// The verdicts of one part of `check` on a healthy cluster that was changed.
pub(crate) fn judge(
    check: fn(&Data, &mut Findings),
    change: impl FnOnce(&mut Data),
) -> Vec<String> {
    let mut data = healthy();
    change(&mut data);
    let mut findings = Findings::default();
    check(&data, &mut findings);
    verdicts(&findings.report())
}
