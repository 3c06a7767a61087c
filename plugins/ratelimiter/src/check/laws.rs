//! Laws that hold for every observation.

use operator_plugin_api::{CheckReport, Observation};
use proptest::prelude::*;
use serde_json::Value;

use super::{check, samples};
use crate::observation::{Counter, Data, Listed, Node};

fn known<T: std::fmt::Debug + Clone + 'static>(values: Vec<T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.8, prop::sample::select(values))
}

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
    ) -> Node {
        Node { answered, reached_before, listed, left, expected, draining, redis_connected, ..samples::node(&id) }
    }
}

prop_compose! {
    fn any_counter()(
        key in "[a-c]",
        limit in known(vec![0, 1, 100]),
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
            key, limit, window_ms, limit_settled, redis_low, redis_high, allowed_low, allowed_high, node_restarted,
            just_fell,
        }
    }
}

prop_compose! {
    fn any_data()(
        mut nodes in prop::collection::vec(any_node(), 0..4),
        redis_connected in known(vec![true, true, false]),
        counters in prop::option::weighted(0.9, prop::collection::vec(any_counter(), 0..4)),
        p99_ms in known(vec![1.0, 50.0, 51.0]),
        block_rate_percent in known(vec![0.0, 50.0, 51.0]),
        uptime_s in known(vec![1, 3_600]),
        refused in known(vec![true, false]),
    ) -> Data {
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes.dedup_by(|a, b| a.id == b.id);
        let mut data = Data { nodes, redis_connected, counters, block_rate_percent, ..samples::healthy() };
        if let Some(counters) = &mut data.counters {
            counters.sort_by(|a, b| a.key.cmp(&b.key));
            counters.dedup_by(|a, b| a.key == b.key);
        }
        data.latency.p99_ms = p99_ms;
        data.redis.uptime_s = uptime_s;
        // One that answers its PING did not refuse.
        data.redis.refused = if redis_connected.is_some() { Some(false) } else { refused };
        data
    }
}

/// Every invariant and resource that is violated or unknown.
fn not_healthy(report: &CheckReport) -> Vec<(String, Option<String>)> {
    let violated = report
        .violations
        .iter()
        .map(|v| (v.invariant.clone(), v.resource.clone()));
    violated
        .chain(
            report
                .unknown
                .iter()
                .map(|u| (u.invariant.clone(), u.resource.clone())),
        )
        .collect()
}

/// The paths of all fields that can be unknown and are known.
fn removable(value: &Value, path: &str, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            let path = format!("{path}/{name}");
            removable(field, &path, paths);
            if !field.is_null() {
                paths.push(path);
            }
        }),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, item)| removable(item, &format!("{path}/{i}"), paths));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn taking_anything_away_never_makes_a_fault_look_healthy(data in any_data()) {
        let before = not_healthy(&check(&data));
        let whole = serde_json::to_value(&data).unwrap();
        let mut paths = Vec::new();
        removable(&whole, "", &mut paths);
        for path in paths.iter().filter(|path| !path.starts_with("/thresholds")) {
            let mut part = whole.clone();
            *part.pointer_mut(path).unwrap() = Value::Null;
            // What may not be absent makes the whole observation unreadable, and the SDK then calls everything unknown.
            let Ok(part) = serde_json::from_value::<Data>(part) else { continue };
            let after = not_healthy(&check(&part));
            for (invariant, resource) in &before {
                // What was unknown as a whole may turn out broken in parts.
                let still = after.iter().any(|(name, of)| {
                    name == invariant && (of.is_none() || resource.is_none() || of == resource)
                });
                prop_assert!(still, "{invariant} on {resource:?} became healthy without {path}");
            }
        }
    }

    #[test]
    fn nothing_is_reported_twice_and_nothing_is_both(data in any_data()) {
        let mut all = not_healthy(&check(&data));
        let count = all.len();
        all.sort();
        all.dedup();
        prop_assert_eq!(all.len(), count);
    }

    #[test]
    fn an_observation_survives_the_boundary(data in any_data()) {
        let observation = Observation {
            observed_at_ms: 1, summary: String::new(), data, slis: [].into(), sources: vec![],
        };
        let json = serde_json::to_string(&observation).unwrap();
        prop_assert_eq!(serde_json::from_str::<Observation<Data>>(&json).unwrap(), observation);
    }
}

#[test]
fn a_healthy_cluster_has_neither_violations_nor_unknowns() {
    assert_eq!(check(&samples::healthy()), CheckReport::default());
}
