//! Properties that hold for every observation.

use operator_plugin_api::CheckReport;
use operator_plugin_kit::testing::properties::{
    assert_configuration_does_not_matter, assert_hidden_data_is_never_healthy,
    assert_judges_any_number, assert_reported_once, assert_survives_json, known,
};
use proptest::prelude::*;

use super::{check, samples};
use crate::{
    Config, RateLimiter, Thresholds,
    observation::{Checks, Counter, Data, LimitSource, Listed, Node},
};

prop_compose! {
    fn any_node()(
        id in "node-[1-3]",
        answered in known(vec![true, false]),
        reached_before: bool,
        listed in known(vec![Listed::Healthy, Listed::Unhealthy, Listed::Draining, Listed::Absent]),
        left in prop::bool::weighted(0.1),
        expected: bool,
        draining in known(vec![true, false]),
        redis_connected in known(vec![true, false]),
        checks_work in known(vec![true, false]),
        checks in known(vec![(0, 0), (10, 0), (10, 10)]),
        fails_are_counted: bool,
    ) -> Node {
        let checks = checks.map(|(served, failed)| Checks {
            served: Some(served),
            failed: fails_are_counted.then_some(failed),
            over_ms: Some(5_000),
        });
        Node {
            answered, reached_before, listed, left, expected, draining, redis_connected, checks, checks_work,
            ..samples::node(&id)
        }
    }
}

prop_compose! {
    fn any_counter()(
        key in "[a-c]",
        limit in known(vec![0, 1, 100]),
        limit_source in known(vec![LimitSource::Service, LimitSource::Default]),
        window_ms in known(vec![1, 1_000, 60_000]),
        limit_settled in known(vec![true, false]),
        redis in known(vec![(0, 0), (90, 110), (100, 100), (200, 200)]),
        allowed_low in known(vec![0, 50, 100, 200]),
        allowed_high in known(vec![200, 300]),
        node_restarted in known(vec![true, false]),
        just_fell in known(vec![true, false]),
    ) -> Counter {
        let (redis_low, redis_high) = (redis.map(|(low, _)| low), redis.map(|(_, high)| high));
        Counter {
            key, limit, limit_source, window_ms, limit_settled, redis_low, redis_high, allowed_low, allowed_high, node_restarted,
            just_fell,
        }
    }
}

prop_compose! {
    fn any_data()(
        mut nodes in prop::collection::vec(any_node(), 0..4),
        redis_connected in known(vec![true, true, false]),
        counters in prop::option::weighted(0.9, prop::collection::vec(any_counter(), 0..4)),
        nodes_listed in known(vec![true, false]),
        coverage in known(vec![(true, true), (false, true), (false, false)]),
        missing in known(vec![vec![], vec!["node-1".to_owned()]]),
        requests_per_second in known(vec![0.0, 100.0]),
        p99_ms in known(vec![1.0, 50.0, 51.0]),
        block_rate_percent in known(vec![0.0, 50.0, 51.0]),
        uptime_s in known(vec![1, 3_600]),
        refused in known(vec![true, false]),
        thresholds in prop::sample::select(vec![Thresholds::default(), Thresholds { latency_p99_ms: 0.5, ..Thresholds::default() }]),
    ) -> Data {
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes.dedup_by(|a, b| a.id == b.id);
        let mut data = Data { nodes, redis_connected, counters, block_rate_percent, thresholds: thresholds.into(), ..samples::healthy() };
        if let Some(counters) = &mut data.counters {
            counters.sort_by(|a, b| a.key.cmp(&b.key));
            counters.dedup_by(|a, b| a.key == b.key);
        }
        data.nodes_listed = nodes_listed;
        data.counters_complete = coverage.map(|(complete, _)| complete);
        data.counters_swept = coverage.map(|(_, swept)| swept);
        data.requests_per_second = requests_per_second;
        data.latency.missing = missing;
        data.latency.p99_ms = p99_ms;
        data.redis.uptime_s = uptime_s;
        // One that answers its PING did not refuse.
        data.redis.refused = if redis_connected.is_some() { Some(false) } else { refused };
        data
    }
}

/// The strictest configuration, and the most tolerant.
fn configs() -> [Config; 2] {
    let strict = Thresholds {
        latency_p99_ms: 0.1,
        block_rate_percent: 0.0,
        counter_drift_percent: 0.0,
        counter_drift_floor: 1,
        failed_checks_percent: 0.0,
    };
    let tolerant = Thresholds {
        latency_p99_ms: 60_000.0,
        block_rate_percent: 100.0,
        counter_drift_percent: 100.0,
        counter_drift_floor: 1_000_000,
        failed_checks_percent: 100.0,
    };
    [strict, tolerant].map(|thresholds| Config {
        thresholds,
        ..Config::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hidden_data_are_never_healthy(data in any_data()) {
        // Where a node does not say whether its checks work, they are judged by their number.
        assert_hidden_data_is_never_healthy(&data, check, |path| path.ends_with("/checks_work"));
    }

    #[test]
    fn nothing_is_reported_twice_and_nothing_is_both(data in any_data()) {
        assert_reported_once(&check(&data));
    }

    #[test]
    fn an_observation_survives_the_boundary(data in any_data()) {
        assert_survives_json(&data);
    }

    #[test]
    fn any_number_anywhere_is_judged(data in any_data(), number: f64, at: prop::sample::Index) {
        assert_judges_any_number(&data, check, number, at);
    }

    #[test]
    fn two_configurations_judge_an_observation_the_same(data in any_data()) {
        assert_configuration_does_not_matter::<RateLimiter>(data, configs());
    }
}

#[test]
fn a_healthy_cluster_has_neither_violations_nor_unknowns() {
    assert_eq!(check(&samples::healthy()), CheckReport::default());
}
