//! An observation of a healthy cluster, for tests to break.

use std::collections::BTreeMap;

use crate::{
    observation::{
        ApiForm, Checks, Counter, Data, Latency, LimitSource, Listed, Node, NodeMetrics, Redis,
        Timed, Totals,
    },
    thresholds::Thresholds,
};

pub(crate) fn node(id: &str) -> Node {
    Node {
        id: id.into(),
        address: Some("localhost:8001".into()),
        answered: Some(true),
        error: None,
        reached_before: true,
        listed: Some(Listed::Healthy),
        left: false,
        expected: false,
        draining: Some(false),
        redis_connected: Some(true),
        checks: Some(Checks {
            served: Some(1_000),
            failed: Some(0),
            over_ms: Some(5_000),
        }),
        checks_work: None,
        checks_error: None,
        registered_at_ms: Some(0),
        last_heartbeat_at_ms: Some(0),
        version: None,
    }
}

pub(crate) fn counter(key: &str) -> Counter {
    Counter {
        key: key.into(),
        limit: Some(100),
        limit_source: Some(LimitSource::Service),
        window_ms: Some(60_000),
        limit_settled: Some(true),
        redis_low: Some(50),
        redis_high: Some(50),
        allowed_low: Some(50),
        allowed_high: Some(50),
        node_restarted: Some(false),
        just_fell: Some(false),
    }
}

pub(crate) fn healthy() -> Data {
    Data {
        api: Some(ApiForm::V1),
        nodes: vec![node("node-1"), node("node-2"), node("node-3")],
        nodes_listed: Some(true),
        node_metrics: BTreeMap::from([("node-1".into(), NodeMetrics::default())]),
        redis_connected: Some(true),
        redis: Redis {
            ping_ms: Some(0.2),
            uptime_s: Some(3_600),
            refused: Some(false),
            error: None,
        },
        counters: Some(vec![counter("a"), counter("b")]),
        counters_complete: Some(true),
        counters_swept: Some(true),
        counters_total: Some(2),
        totals: Totals {
            allowed: Some(10),
            blocked: Some(1),
        },
        limits: None,
        blocks: None,
        hot_keys: None,
        cluster: None,
        latency: Latency {
            p50_ms: Some(0.5),
            p99_ms: Some(2.0),
            of: Some(Timed::Checks),
            missing: Some(Vec::new()),
            not_timed: Some(false),
            ..Latency::default()
        },
        block_rate_percent: Some(10.0),
        block_rate_error: None,
        false_block_rate_percent: Some(0.0),
        requests_per_second: Some(1_000.0),
        thresholds: Thresholds::default().into(),
    }
}
