//! Values made from a JSON Schema: valid ones and invalid ones.

use jsonschema::Validator;
use operator_model::Property;
use serde_json::{Map, Value, json};

use super::random::Random;

/// How deep objects are nested.
const DEEPEST: usize = 8;

/// The properties that a schema of an object requires and has no default for.
pub(super) fn required(schema: &Value) -> Map<String, Value> {
    object(Property::root(schema), DEEPEST, false)
}

/// Parameters that are valid for a schema; none if they cannot be made.
pub(super) fn params(schema: &Value) -> Option<Value> {
    let params = Value::Object(object(Property::root(schema), DEEPEST, true));
    validator(schema)?.is_valid(&params).then_some(params)
}

pub(super) fn validator(schema: &Value) -> Option<Validator> {
    jsonschema::draft202012::new(schema).ok()
}

fn object(table: Property<'_>, depth: usize, with_defaults: bool) -> Map<String, Value> {
    let names = table.keyword("required").and_then(Value::as_array);
    let is_required = |name: &str| names.is_some_and(|names| names.iter().any(|one| one == name));
    table
        .properties()
        .filter(|(name, property)| {
            is_required(name) && (with_defaults || property.keyword("default").is_none())
        })
        .map(|(name, property)| (name.to_owned(), value(property, depth)))
        .collect()
}

fn value(property: Property<'_>, depth: usize) -> Value {
    if let Some(given) = given(property) {
        return given;
    }
    let number = |keyword| property.keyword(keyword).and_then(Value::as_i64);
    let least = number("minimum").or(number("exclusiveMinimum").map(|least| least + 1));
    match property.kinds().next() {
        Some("integer") => json!(
            least
                .unwrap_or(1)
                .max(0)
                .min(number("maximum").unwrap_or(1).max(least.unwrap_or(1)))
        ),
        Some("number") => property.keyword("minimum").cloned().unwrap_or(json!(1.0)),
        Some("boolean") => json!(true),
        Some("array") => array(property, depth),
        Some("object") if depth > 0 => Value::Object(object(property, depth - 1, true)),
        Some("string") => text(property),
        _ => Value::Null,
    }
}

/// The value that the schema itself names.
fn given(property: Property<'_>) -> Option<Value> {
    let first = |keyword| Some(property.keyword(keyword)?.get(0)?.clone());
    property
        .keyword("const")
        .cloned()
        .or_else(|| first("examples"))
        .or_else(|| property.keyword("default").cloned())
        .or_else(|| first("enum"))
}

fn array(property: Property<'_>, depth: usize) -> Value {
    let least = property.keyword("minItems").and_then(Value::as_u64);
    let item = property.items().filter(|_| depth > 0);
    let items = item.map(|item| value(item, depth - 1));
    let count = usize::try_from(least.unwrap_or(0)).unwrap_or(0).min(16);
    Value::Array(items.into_iter().cycle().take(count).collect())
}

fn text(property: Property<'_>) -> Value {
    match property.keyword("format").and_then(Value::as_str) {
        Some("uri" | "url") => return json!("http://127.0.0.1:9"),
        Some("ipv4") => return json!("127.0.0.1"),
        _ => {}
    }
    let least = property.keyword("minLength").and_then(Value::as_u64);
    let least = usize::try_from(least.unwrap_or(1))
        .unwrap_or(1)
        .clamp(1, 4096);
    json!(
        "conformance"
            .chars()
            .cycle()
            .take(least.max(4))
            .collect::<String>()
    )
}

/// Parameters that were made invalid, and how.
pub(super) struct InvalidParams {
    pub(super) params: Value,
    /// `level: -1`
    pub(super) what: String,
}

impl InvalidParams {
    fn new(name: &str, value: &Value, params: &Value) -> Self {
        let mut params = params.clone();
        params[name] = value.clone();
        let what = format!("{name}: {:.60}", value.to_string());
        Self { params, what }
    }
}

/// Parameters in which one has the wrong type.
pub(super) fn of_wrong_type(schema: &Value, params: &Value) -> Vec<InvalidParams> {
    let others = [
        json!("text"),
        json!(true),
        json!([]),
        json!({}),
        json!(-0.5),
    ];
    invalid_params(schema, params, |property| {
        let kinds: Vec<_> = property.kinds().collect();
        let fits = |value: &Value| match value {
            Value::String(_) => kinds.contains(&"string"),
            Value::Bool(_) => kinds.contains(&"boolean"),
            // A struct that serde derives is read from a list as well.
            Value::Array(_) => kinds.contains(&"array") || kinds.contains(&"object"),
            Value::Object(_) => kinds.contains(&"object"),
            _ => kinds.contains(&"number"),
        };
        others
            .iter()
            .filter(|other| !fits(other))
            .cloned()
            .collect()
    })
}

/// Parameters in which one is outside its declared bounds.
pub(super) fn out_of_range(schema: &Value, params: &Value) -> Vec<InvalidParams> {
    invalid_params(schema, params, |property| {
        let number = |keyword| property.keyword(keyword).and_then(Value::as_f64);
        let length = |keyword| {
            let length = property.keyword(keyword)?.as_u64()?;
            usize::try_from(length).ok()
        };
        let is_text = property.kinds().any(|kind| kind == "string");
        let mut beyond = Vec::new();
        beyond.extend(number("maximum").map(|most| whole(most + 1.0)));
        beyond.extend(number("minimum").map(|least| whole(least - 1.0)));
        let too_long = length("maxLength").filter(|most| is_text && *most < 1 << 20);
        beyond.extend(too_long.map(|most| json!("x".repeat(most + 1))));
        let too_short = length("minLength").filter(|least| is_text && *least > 0);
        beyond.extend(too_short.map(|least| json!("x".repeat(least - 1))));
        if property.keyword("enum").is_some() && is_text {
            beyond.push(json!("no such value"));
        }
        beyond
    })
}

fn invalid_params(
    schema: &Value,
    params: &Value,
    values: impl Fn(Property<'_>) -> Vec<Value>,
) -> Vec<InvalidParams> {
    let Some(validator) = validator(schema) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, property) in Property::root(schema).properties() {
        for value in values(property) {
            let invalid = InvalidParams::new(name, &value, params);
            if !validator.is_valid(&invalid.params) {
                found.push(invalid);
            }
        }
    }
    found
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "only numbers that are whole stay whole"
)]
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

/// Numbers at the limits of arithmetic.
pub(super) fn extreme_numbers() -> Vec<Value> {
    vec![
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(f64::MAX),
        json!(f64::MIN),
        json!(f64::MIN_POSITIVE),
        json!(-0.0),
        json!(0.1),
        json!(4_294_967_296_u64),
    ]
}

/// Texts that break naive formatting.
pub(super) fn odd_texts() -> Vec<String> {
    vec![
        String::new(),
        "\u{0}".into(),
        "\u{202e}evil\u{202c}".into(),
        "\u{feff}\u{fffe}\u{ffff}".into(),
        "🏳️‍🌈é́́́́́日本".into(),
        "{}{0}%s%n\\\"'`$(id)".into(),
        "line\r\nline\u{1b}[2J".into(),
        "x".repeat(100_000),
        "é".repeat(501),
    ]
}

/// A small value of any type.
pub(super) fn anything(random: &mut Random) -> Value {
    let numbers = extreme_numbers();
    let texts = odd_texts();
    match random.below(8) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!([]),
        3 => json!({}),
        4 => json!([anything_flat(random), anything_flat(random)]),
        5 => json!({"": anything_flat(random)}),
        6 => random.pick(&numbers).cloned().unwrap_or_default(),
        _ => random
            .pick(&texts)
            .cloned()
            .map_or(Value::Null, Value::from),
    }
}

fn anything_flat(random: &mut Random) -> Value {
    match random.below(3) {
        0 => Value::Null,
        1 => json!(random.next()),
        _ => json!("text"),
    }
}

/// The JSON pointers of every value in a document, without the document itself.
pub(super) fn places(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(document, &mut String::new(), &mut found);
    found
}

fn walk(value: &Value, at: &mut String, found: &mut Vec<String>) {
    let length = at.len();
    let mut visit = |name: &str, below: &Value| {
        at.push('/');
        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        found.push(at.clone());
        walk(below, at, found);
        at.truncate(length);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, below)| visit(name, below)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, below)| visit(&index.to_string(), below));
        }
        _ => {}
    }
}

/// Removes the value at a pointer from its object; in an array, replaces it by null. Returns whether it was there.
pub(super) fn remove(document: &mut Value, pointer: &str) -> bool {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return false;
    };
    let name = name.replace("~1", "/").replace("~0", "~");
    match document.pointer_mut(parent) {
        Some(Value::Object(members)) => members.remove(&name).is_some(),
        Some(Value::Array(_)) => document.pointer_mut(pointer).map(Value::take).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["key", "level", "on"],
            "properties": {
                "key": {"type": "string", "minLength": 1, "maxLength": 8},
                "level": {"type": "integer", "minimum": 0, "maximum": 100},
                "on": {"type": "boolean"},
                "why": {"type": ["string", "null"], "default": null},
            },
        })
    }

    #[test]
    fn parameters_are_made_valid_and_invalid() {
        let params = params(&schema()).unwrap();
        assert_eq!(params.as_object().unwrap().len(), 3);
        let validator = validator(&schema()).unwrap();
        let wrong = of_wrong_type(&schema(), &params);
        let beyond = out_of_range(&schema(), &params);
        assert!(wrong.len() >= 10 && beyond.len() == 4);
        for invalid in wrong.iter().chain(&beyond) {
            assert!(!validator.is_valid(&invalid.params), "{}", invalid.what);
        }
    }

    #[test]
    fn parameters_that_cannot_be_made_are_none() {
        let schema = json!({"required": ["a"], "properties": {"a": {"type": "string", "pattern": "^[0-9]{7}$"}}});
        assert_eq!(params(&schema), None);
        let schema = json!({"required": ["a"], "properties": {"a": {"type": "string", "examples": ["1234567"], "pattern": "^[0-9]{7}$"}}});
        assert_eq!(params(&schema), Some(json!({"a": "1234567"})));
    }

    #[test]
    fn every_place_of_a_document_can_be_emptied() {
        let document = json!({"a": {"b/c": [1, {"d": 2}]}});
        let places = places(&document);
        assert_eq!(places.len(), 5);
        for place in places {
            let mut changed = document.clone();
            assert!(remove(&mut changed, &place), "{place}");
            assert_ne!(changed, document);
        }
    }
}
