//! Secrets in each place of each document, and texts that are too long.

use serde_json::{Value, json};

use super::*;

const SECRET: &str = "hunter22";

fn secrets() -> Arc<Secrets> {
    let secrets = Secrets::default();
    let schema = json!({"properties": {"token": {"x-secret": true}, "weak": {"x-secret": true}}});
    // The second one is also a word of the documents.
    let config = json!({"token": SECRET, "weak": "node"});
    secrets.learn(&schema, config.as_object().unwrap());
    Arc::new(secrets)
}

async fn received(call: Call, document: &str) -> Received<Value> {
    let document = RawValue::from_string(document.to_owned()).unwrap();
    read(call, document, &secrets(), |_: &mut Value, _| {})
        .await
        .unwrap()
}

#[tokio::test]
async fn a_secret_is_masked_in_every_place_of_every_document() {
    let text = "is hunter22, hunter22!";
    let shown = "is ***, ***!";
    let observation = |text: &str| {
        json!({
            "observed_at_ms": 1, "summary": text, "data": {"a": [text]}, "slis": {"p99": 1.5},
            "sources": [{"name": text, "error": text, "took_ms": 2.0}],
            "resources": [{"kind": "node", "id": text, "gone": text}],
            "memory": {"seen": text},
        })
    };
    let report = |text: &str| {
        json!({
            "violations": [{
                "invariant": "node_down", "resource": text, "severity": "info", "message": text,
                "evidence": {"deep": [{"er": text}]},
            }],
            "unknown": [{"invariant": "node_down", "resource": text, "reason": text, "kind": "not_supported"}],
        })
    };
    let actions = |text: &str| {
        json!({"actions": [{
            "name": "node", "description": text, "risk": "low", "mends": ["node_down"],
            "params_schema": {"title": text, "properties": {
                "node": {"type": "string", "default": text, "description": text},
                "description": {"type": "string", "examples": [text]},
            }},
        }]})
    };
    let result = |text: &str| json!({"outcome": "done", "message": text, "details": {"a": text}});
    for (call, given, expected) in [
        (Call::Observe, observation(text), observation(shown)),
        (Call::Check, report(text), report(shown)),
        (Call::ListActions, actions(text), actions(shown)),
        (Call::Invoke, result(text), result(shown)),
    ] {
        let escaped = given.to_string().replace("hunter", "\\u0068unter");
        for given in [given.to_string(), escaped] {
            let received = received(call, &given).await;
            assert_eq!(received.value, expected);
            assert!(!received.document.get().contains(SECRET));
            assert_eq!(received.original.unwrap().get(), given);
        }
    }
}

#[tokio::test]
async fn what_holds_no_secret_stays_as_it_is() {
    let text = r#"{"observed_at_ms":  1, "data": "hunter"}"#;
    let received = received(Call::Observe, text).await;
    assert_eq!(received.document.get(), text);
    assert!(received.original.is_none());
}

#[tokio::test]
async fn a_large_document_is_checked_again_and_read_elsewhere() {
    let padded = |text: &str| json!({"violations": [], "note": text.repeat(SMALL)});
    let received = received(Call::Check, &padded("x hunter22").to_string()).await;
    assert_eq!(
        received.value["note"].as_str().unwrap().len(),
        SMALL * "x ***".len()
    );
    let many = vec![json!({"invariant": "a", "message": "m"}); 5_001];
    let forged = RawValue::from_string(json!({"violations": many}).to_string()).unwrap();
    let refused = read(Call::Check, forged, &secrets(), cut_report).await;
    let error = refused.err().map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some("check: `violations` has 5001 entries, at most 5000 are allowed")
    );
}

#[test]
fn long_texts_are_cut_with_a_note() {
    let long = "ä".repeat(100_000);
    let mut report: CheckReport = serde_json::from_value(json!({
        "violations": [
            {"invariant": "a", "resource": long, "message": long, "evidence": {"text": long}},
            {"invariant": "a", "message": "short", "evidence": {"text": "short"}},
        ],
        "unknown": [{"invariant": "a", "resource": long, "reason": long}],
    }))
    .unwrap();
    cut_report(&mut report, 1_000_000);
    let [cut, whole] = &report.violations[..] else {
        panic!("two");
    };
    assert_eq!(cut.message.chars().count(), KEPT_TEXT + 1);
    assert_eq!(
        cut.resource.as_ref().unwrap().chars().count(),
        KEPT_RESOURCE + 1
    );
    assert_eq!(
        cut.evidence["cut"],
        "the evidence has 200011 bytes, of which 16384 are kept"
    );
    assert!(cut.evidence.to_string().len() < KEPT_EVIDENCE + 200);
    assert_eq!(whole.evidence, json!({"text": "short"}));
    assert_eq!(report.unknown[0].reason.chars().count(), KEPT_TEXT + 1);
    let mut summary = long.clone();
    let mut sources = [Source::new("a").error(Some(long))];
    cut_head(&mut summary, &mut sources);
    assert_eq!(summary.chars().count(), KEPT_TEXT + 1);
    assert_eq!(
        sources[0].error.as_ref().unwrap().chars().count(),
        KEPT_TEXT + 1
    );
}
