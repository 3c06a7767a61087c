//! Documents that hurt a host without bounds. Their switches are no cases of the suite; tests of the daemon use them.

use std::sync::atomic::{AtomicU32, Ordering};

use operator_plugin_api::serde_json::{Map, Value, json};

use crate::switch::is_on;

/// Changes the descriptor.
pub fn describe(document: &mut Value) {
    let invariant = document["invariants"][0].clone();
    let named = |name: String| {
        let mut invariant = invariant.clone();
        invariant["name"] = json!(name);
        invariant
    };
    if is_on("hostile.schema-doubles") {
        document["config_schema"] = doubling();
    }
    if is_on("hostile.schema-url") {
        document["config_schema"]["properties"]["name"] = json!({"$ref": "http://127.0.0.1:1/x"});
    }
    if is_on("hostile.schema-file") {
        document["config_schema"]["properties"]["name"] = json!({"$ref": "file:///etc/passwd"});
    }
    if is_on("hostile.schema-itself") {
        document["config_schema"] = json!({"$ref": "#"});
    }
    if is_on("hostile.schema-pattern") {
        document["config_schema"]["properties"]["name"] = json!({"pattern": "("});
    }
    if is_on("hostile.schema-number") {
        document["config_schema"] = json!(17);
    }
    if is_on("hostile.name-path") {
        document["invariants"][0]["name"] = json!("../go");
    }
    if is_on("hostile.name-of-the-host") {
        document["invariants"][0]["name"] = json!("operator.plugin_failing");
    }
    if is_on("hostile.name-twice") {
        document["invariants"][1]["name"] = document["invariants"][0]["name"].clone();
    }
    if is_on("hostile.many-invariants") {
        let many = (0..20_000).map(|n| named(format!("invariant_{n}")));
        document["invariants"] = many.collect();
    }
}

/// Each definition refers twice to the next one, 31 times.
fn doubling() -> Value {
    let definitions = (0..31).map(|level| {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        (format!("d{level}"), json!({"allOf": [next.clone(), next]}))
    });
    let mut definitions: Map<String, Value> = definitions.collect();
    definitions.insert("d31".into(), json!({"type": "object"}));
    json!({"$ref": "#/$defs/d0", "$defs": definitions})
}

/// Changes an observation.
pub fn observe(document: &mut Value) {
    if is_on("hostile.time-past") {
        document["observed_at_ms"] = json!(0);
    }
    if is_on("hostile.time-future") {
        document["observed_at_ms"] = json!(253_370_764_800_000_i64);
    }
    if is_on("hostile.many-resources") {
        let many = (0..20_000).map(|n| json!({"kind": "node", "id": format!("node-{n}")}));
        document["resources"] = many.collect();
    }
}

/// The text of a report, as large as the fault wants it.
pub fn report() -> Option<String> {
    if is_on("hostile.evidence") {
        let many = "{\"\":0},".repeat(1_900_000);
        return Some(format!(
            r#"{{"violations":[{{"invariant":"node_down","message":"much","evidence":[{many}0]}}]}}"#
        ));
    }
    if is_on("hostile.deep-evidence") {
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        return Some(format!(
            r#"{{"violations":[{{"invariant":"node_down","message":"deep","evidence":{open}{close}}}]}}"#
        ));
    }
    if is_on("hostile.many-violations") {
        let many = (0..100_000)
            .map(|n| format!(r#"{{"invariant":"node_down","resource":"n-{n}","message":"down"}}"#));
        let many: Vec<_> = many.collect();
        return Some(format!(r#"{{"violations":[{}]}}"#, many.join(",")));
    }
    if is_on("hostile.many-unknowns") {
        let many = (0..100_000)
            .map(|n| format!(r#"{{"invariant":"node_down","resource":"n-{n}","reason":"?"}}"#));
        let many: Vec<_> = many.collect();
        return Some(format!(r#"{{"violations":[],"unknown":[{}]}}"#, many.join(",")));
    }
    if is_on("hostile.come-and-go") {
        static CHECKS: AtomicU32 = AtomicU32::new(0);
        // Within the bounds, and new ones each time.
        let first = CHECKS.fetch_add(1, Ordering::Relaxed) * 4_000;
        let many = (first..first + 4_000)
            .map(|n| format!(r#"{{"invariant":"node_down","resource":"n-{n}","message":"down"}}"#));
        let many: Vec<_> = many.collect();
        return Some(format!(r#"{{"violations":[{}]}}"#, many.join(",")));
    }
    None
}

/// Changes the list of actions.
pub fn list_actions(actions: &mut [Value]) {
    if is_on("hostile.action-wait") {
        actions[0]["name"] = json!("wait");
    }
    if is_on("hostile.action-schema") {
        actions[0]["params_schema"] = doubling();
    }
}
