use super::*;

/// Bodies as earlier versions have written them.
const KEPT: [(&str, &str, &str); 26] = [
    (
        "proposed",
        r#"{"calls":["restart node=\"a\""],"digest":"d1","risk":"low","undoes":null,"why":"it is slow"}"#,
        "restart node=\"a\": it is slow",
    ),
    ("proposed", r#"{"calls":["restart"],"why":""}"#, "restart"),
    ("validated", "{}", ""),
    (
        "approved",
        r#"{"approval":{"at":5,"by":"ada","by_rule":false,"digest":"d1","expires_at":9,"note":"","ticket":{"occurrences":1,"severity":"critical","state":"open"}},"calls":["restart node=\"a\""],"rules":[{"refuses":null,"rule":"kill_switch","says":"it is not engaged"},{"refuses":"waits","rule":"cooldown","says":"too early"}]}"#,
        "restart node=\"a\"",
    ),
    (
        "approved",
        r#"{"at":5,"by":"operator","by_rule":true,"digest":"d1","expires_at":9,"note":"no rule asks a person","ticket":null}"#,
        "no rule asks a person",
    ),
    (
        "rejected",
        r#"{"why":"it has no action `x`"}"#,
        "it has no action `x`",
    ),
    (
        "rejected",
        r#"{"refusal":{"rule":"not_before","says":"it follows @3, which is rejected","weight":"rejects"}}"#,
        "not_before: it follows @3, which is rejected",
    ),
    (
        "cancelled",
        r#"{"why":"the kill switch was engaged"}"#,
        "the kill switch was engaged",
    ),
    (
        "cancelled",
        r#"{"call":"wait for=\"1h\"","details":null,"message":"SIGINT came","outcome":"failed","retry_at":null}"#,
        "wait for=\"1h\": SIGINT came",
    ),
    (
        "lapsed",
        r#"{"why":"its approval expired"}"#,
        "its approval expired",
    ),
    (
        "lapsed",
        r#"{"refusal":{"rule":"mode","says":"it is `observe`","weight":"lapses"}}"#,
        "mode: it is `observe`",
    ),
    (
        "held_back",
        r#"{"refusal":{"rule":"cooldown","says":"too early","weight":"waits"}}"#,
        "cooldown: too early",
    ),
    (
        "begun",
        r#"{"approved_by":"ada","attempt":1,"call":"restart node=\"a\"","rules":[{"refuses":null,"rule":"mode","says":"it is `execute`"}],"step":1}"#,
        "restart node=\"a\"",
    ),
    (
        "called",
        r#"{"call":"restart node=\"a\"","details":{"before":1.5},"message":"restarted","outcome":"done","retry_at":null}"#,
        "restart node=\"a\": restarted",
    ),
    (
        "postponed",
        r#"{"call":"restart","details":null,"message":"busy","outcome":"failed","retry_at":12}"#,
        "restart: busy",
    ),
    (
        "answered_late",
        r#"{"call":"restart","message":"done after all","outcome":"done"}"#,
        "restart: done after all",
    ),
    (
        "completed",
        r#"{"call":"restart","details":null,"message":"restarted","outcome":"done","retry_at":null}"#,
        "restart: restarted",
    ),
    (
        "failed",
        r#"{"call":"restart","details":null,"message":"no","outcome":"failed","retry_at":null}"#,
        "restart: no",
    ),
    (
        "outcome_unknown",
        r#"{"message":"the process that called `restart` ended"}"#,
        "the process that called `restart` ended",
    ),
    (
        "verified",
        r#"{"message":"up held","proof":{"baseline":[{"invariant":"up","resource":"a"}],"broke":[],"holding_since":3,"missing":"","targets":[],"until":9,"window_ms":5}}"#,
        "up held",
    ),
    (
        "not_verified",
        r#"{"message":"not verified: it broke up a","proof":null}"#,
        "not verified: it broke up a",
    ),
    (
        "not_undone",
        r#"{"why":"the plugin has no `x`"}"#,
        "the plugin has no `x`",
    ),
    ("settled", r#"{"why":"it is fine"}"#, "it is fine"),
    (
        "mode",
        r#"{"mode":"as configured","why":"the fire is out"}"#,
        "as configured: the fire is out",
    ),
    (
        "kill_switch_engaged",
        r#"{"cancels":2,"why":"fire"}"#,
        "fire",
    ),
    ("kill_switch_lifted", r#"{"why":""}"#, ""),
];

#[test]
fn what_earlier_versions_wrote_is_read_and_written_the_same() {
    for (name, body, summary) in KEPT {
        let event = AuditEvent::read(name, body).unwrap_or_else(|| panic!("{name} {body}"));
        assert_eq!(event.kept(), (name.to_owned(), body.to_owned()));
        assert_eq!(event.summary(), summary, "{name} {body}");
    }
}

#[test]
fn what_only_a_newer_version_knows_is_not_misread() {
    assert_eq!(AuditEvent::read("diagnosed", r#"{"why":"x"}"#), None);
    assert_eq!(AuditEvent::read("completed", r#"{"why":"x"}"#), None);
    assert_eq!(AuditEvent::read("settled", "no JSON"), None);
}
