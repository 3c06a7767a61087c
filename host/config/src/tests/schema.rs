use operator_model::Property;
use serde_json::json;

use super::*;

fn schema() -> Value {
    json!({
        "type": "object",
        "$defs": {"Tls": {"type": "object", "properties": {"verify": {"type": "boolean"}}}},
        "properties": {
            "name": {"type": "string"},
            "limit": {"type": ["integer", "null"]},
            "ratio": {"type": "number"},
            "ports": {"type": "array", "items": {"type": "integer"}},
            "tls": {"anyOf": [{"$ref": "#/$defs/Tls"}, {"type": "null"}]},
            "any": {},
        }
    })
}

fn read(texts: &[&str]) -> Result<Value, Faults> {
    let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
    arguments(&schema(), &texts).map(Value::Object)
}

#[test]
fn text_is_read_by_the_declared_type() {
    let read = read(&[
        "name=12",
        "limit=12",
        "ratio=1",
        "ports=1, 2",
        "tls.verify=false",
        "any=[1,2]",
        "other=a=b",
    ]);
    assert_eq!(
        read.expect("all of it can be read"),
        json!({
            "name": "12", "limit": 12, "ratio": 1.0, "ports": [1, 2], "tls": {"verify": false},
            "any": [1, 2], "other": "a=b",
        })
    );
}

#[test]
fn the_type_of_an_undeclared_value_follows_its_form() {
    for (text, value) in [
        ("1.5", json!(1.5)),
        ("true", json!(true)),
        ("{ a = 1 }", json!({"a": 1})),
        ("{\"a\": 1}", json!({"a": 1})),
        ("1 and more", json!("1 and more")),
        ("", json!("")),
    ] {
        assert_eq!(guessed(text), value, "{text}");
    }
}

#[test]
fn every_argument_that_cannot_be_read_is_reported() {
    let faults = read(&["limit=few", "ports=1,two", "novalue"]).expect_err("three faults");
    assert_eq!(
        faults.to_string(),
        "argument limit: \"few\" is not of type integer; write it like 3\n\
         argument ports: \"1,two\" is not of type array; write it like one,two\n\
         argument novalue: an assignment lacks its key or its `=`; write it like key=value"
    );
}

#[test]
fn a_schema_that_contains_itself_ends() {
    let schema = json!({"$ref": "#", "properties": {"next": {"$ref": "#"}}});
    let at = Property::root(&schema).at(["next", "next"]);
    assert!(at.is_some());
}
