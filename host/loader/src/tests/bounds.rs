//! One document for each bound, and the line about it.

use serde_json::{Value, json};

use super::*;

fn refused(call: Call, document: &Value) -> String {
    check(call, &document.to_string()).unwrap_err()
}

fn descriptor() -> Value {
    json!({
        "subject": "my-system",
        "description": "A system.",
        "config_schema": {"type": "object"},
        "observation_schema": null,
        "invariants": [{"name": "node_down", "description": "All nodes are up.", "severity": "critical", "on": "node"}],
        "slos": [{"name": "check latency", "description": "It is fast."}],
    })
}

fn observation() -> Value {
    json!({
        "observed_at_ms": 0,
        "data": {"anything": [1, {"": null}]},
        "slis": {"p99 ms": 1.5},
        "sources": [{"name": "http://node-1:80/", "error": "no"}],
        "resources": [{"kind": "node", "id": "é \u{200b}"}],
        "memory": {"seen": ["node-1"]},
    })
}

fn actions(name: &str) -> Value {
    json!({"actions": [{"name": name, "description": "Does it.", "params_schema": {"type": "object"}}]})
}

/// The document with a value at this pointer.
fn with(mut document: Value, pointer: &str, value: Value) -> Value {
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

#[test]
fn documents_within_the_bounds_pass() {
    for (call, document) in [
        (Call::Describe, descriptor()),
        (Call::Observe, observation()),
        (Call::Observe, json!({"observed_at_ms": 0, "data": null})),
        (Call::Check, json!({"violations": [], "later": [[[]]]})),
        (Call::ListActions, actions("restart_node")),
        (Call::Invoke, json!({"outcome": "done", "message": "x"})),
        (Call::Create, Value::Null),
    ] {
        assert_eq!(check(call, &document.to_string()), Ok(()), "{document}");
    }
}

#[test]
fn size_depth_and_number_of_values_are_bounded() {
    let text = json!({"violations": [], "note": "x".repeat(MAX_REPORT)});
    assert_eq!(
        refused(Call::Check, &text),
        format!(
            "the document has {} bytes, at most 4194304 are allowed",
            text.to_string().len()
        )
    );
    let deep = (0..MAX_DEPTH).fold(json!(0), |inner, _| json!([inner]));
    let deep = json!({"observed_at_ms": 0, "data": deep});
    assert_eq!(
        refused(Call::Observe, &deep),
        "the document is nested more than 64 deep"
    );
    let many = vec![json!({"": 0}); MAX_VALUES];
    let many = json!({"violations": [{"invariant": "a", "message": "m", "evidence": many}]});
    assert_eq!(
        refused(Call::Check, &many),
        "the document has more than 100000 values"
    );
    // Brackets and commas inside of texts are none.
    let brackets = json!({"violations": [], "note": "\"[{,\\".repeat(MAX_VALUES)});
    assert_eq!(check(Call::Check, &brackets.to_string()), Ok(()));
}

#[test]
fn lists_are_bounded() {
    let entries = |entry: Value, count: usize| Value::Array(vec![entry; count]);
    let violation = json!({"invariant": "a", "message": "m"});
    let source = json!({"name": "a"});
    let resource = json!({"kind": "node", "id": "a"});
    let slis: serde_json::Map<_, _> = (0..=MAX_SLIS)
        .map(|n| (n.to_string(), Value::Null))
        .collect();
    for (call, document, why) in [
        (
            Call::Describe,
            with(
                descriptor(),
                "/invariants",
                entries(descriptor()["invariants"][0].clone(), MAX_INVARIANTS + 1),
            ),
            "`invariants` has 201 entries, at most 200 are allowed",
        ),
        (
            Call::Describe,
            with(
                descriptor(),
                "/slos",
                entries(descriptor()["slos"][0].clone(), MAX_SLOS + 1),
            ),
            "`slos` has 101 entries, at most 100 are allowed",
        ),
        (
            Call::Observe,
            with(observation(), "/sources", entries(source, MAX_SOURCES + 1)),
            "`sources` has 1001 entries, at most 1000 are allowed",
        ),
        (
            Call::Observe,
            with(
                observation(),
                "/resources",
                entries(resource, MAX_RESOURCES + 1),
            ),
            "`resources` has 10001 entries, at most 10000 are allowed",
        ),
        (
            Call::Observe,
            with(observation(), "/slis", Value::Object(slis)),
            "`slis` has 1001 entries, at most 1000 are allowed",
        ),
        (
            Call::Check,
            json!({"violations": entries(violation.clone(), MAX_VIOLATIONS + 1)}),
            "`violations` has 5001 entries, at most 5000 are allowed",
        ),
        (
            Call::Check,
            json!({"violations": [], "unknown": entries(violation, MAX_UNKNOWNS + 1)}),
            "`unknown` has 10001 entries, at most 10000 are allowed",
        ),
        (
            Call::ListActions,
            json!({"actions": entries(actions("a")["actions"][0].clone(), MAX_ACTIONS + 1)}),
            "`actions` has 101 entries, at most 100 are allowed",
        ),
    ] {
        assert_eq!(refused(call, &document), why);
    }
}

#[test]
fn names_are_what_the_documents_promise() {
    let long = "x".repeat(1 << 19);
    for name in [
        "",
        "../go",
        "'; DROP TABLE tickets;--",
        "\u{1b}[31m",
        "operator.plugin_failing",
        "Node",
        &long,
    ] {
        for (call, document, place) in [
            (
                Call::Describe,
                with(descriptor(), "/subject", json!(name)),
                "`subject` is",
            ),
            (
                Call::Describe,
                with(descriptor(), "/invariants/0/name", json!(name)),
                "`invariants[0].name` is",
            ),
            (
                Call::Describe,
                with(descriptor(), "/invariants/0/on", json!(name)),
                "`on` of `node_down` is",
            ),
            (
                Call::Observe,
                with(observation(), "/resources/0/kind", json!(name)),
                "`resources[0].kind` is",
            ),
            (Call::ListActions, actions(name), "`actions[0].name` is"),
        ] {
            let line = refused(call, &document);
            assert!(
                line.starts_with(place) && line.contains("lower case letters"),
                "{line}"
            );
            assert!(line.len() < 200 && !line.contains('\u{1b}'), "{line}");
        }
    }
    for name in [" ", "two\nlines", &long] {
        for (call, document) in [
            (
                Call::Describe,
                with(descriptor(), "/slos/0/name", json!(name)),
            ),
            (
                Call::Observe,
                with(observation(), "/sources/0/name", json!(name)),
            ),
            (
                Call::Observe,
                with(observation(), "/slis", json!({name: 1})),
            ),
        ] {
            let line = refused(call, &document);
            assert!(
                line.contains("1 to 200 characters") && line.len() < 200,
                "{line}"
            );
        }
    }
    let id = with(observation(), "/resources/0/id", json!(""));
    assert_eq!(refused(Call::Observe, &id), "`resources[0].id` is empty");
}

#[test]
fn a_name_is_given_once_and_is_no_tool() {
    let invariants = vec![descriptor()["invariants"][0].clone(); 2];
    assert_eq!(
        refused(
            Call::Describe,
            &with(descriptor(), "/invariants", json!(invariants))
        ),
        "`invariants` has two entries of the name \"node_down\""
    );
    let twice = vec![actions("go")["actions"][0].clone(); 2];
    assert_eq!(
        refused(Call::ListActions, &json!({"actions": twice})),
        "`actions` has two entries of the name \"go\""
    );
    for tool in operator_policy::tools() {
        let line = refused(Call::ListActions, &actions(&tool.name));
        assert!(line.contains("like a tool of the operator"), "{line}");
    }
}

#[test]
fn texts_schemas_and_memory_are_bounded() {
    let long = json!("x".repeat(MAX_RUNBOOK + 1));
    let schema = json!({"$ref": "#"});
    let wide = json!({"description": "x".repeat(MAX_SCHEMA)});
    let with_runbook = {
        let mut document = descriptor();
        document["invariants"][0]["runbook"] = long.clone();
        document
    };
    for (call, document, why) in [
        (
            Call::Describe,
            with(descriptor(), "/description", long.clone()),
            "`description` has 32769 bytes",
        ),
        (
            Call::Describe,
            with(descriptor(), "/invariants/0/description", long.clone()),
            "`description` of `node_down` has",
        ),
        (
            Call::Describe,
            with_runbook,
            "`runbook` of `node_down` has 32769 bytes, at most 32768",
        ),
        (
            Call::Describe,
            with(descriptor(), "/slos/0/description", long.clone()),
            "`description` of the SLO \"check latency\" has",
        ),
        (
            Call::Describe,
            with(descriptor(), "/config_schema", schema.clone()),
            "`config_schema` cannot be used: `$ref` to #",
        ),
        (
            Call::Describe,
            with(descriptor(), "/config_schema", wide),
            "`config_schema` has",
        ),
        (
            Call::Describe,
            with(descriptor(), "/config_schema", json!(17)),
            "`config_schema` cannot be used: 17 is not a schema",
        ),
        (
            Call::Describe,
            with(descriptor(), "/observation_schema", schema.clone()),
            "`observation_schema` cannot be used",
        ),
        (
            Call::ListActions,
            with(actions("go"), "/actions/0/params_schema", schema),
            "`params_schema` of `go` cannot be used",
        ),
        (
            Call::ListActions,
            with(actions("go"), "/actions/0/description", long),
            "`description` of `go` has",
        ),
        (
            Call::Observe,
            with(observation(), "/memory", json!("x".repeat(MAX_MEMORY))),
            "`memory` has 65538 bytes, at most 65536",
        ),
    ] {
        let line = refused(call, &document);
        assert!(line.starts_with(why), "{line}");
    }
}
