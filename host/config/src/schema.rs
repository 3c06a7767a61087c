//! What a plugin declares about its settings and parameters, as JSON Schema, and text read by it.

use operator_model::Property;
use serde_json::{Map, Value};

use super::{
    Assignment, Fault, Faults, KeyPath, Origin,
    value::{Parsed, Wrong},
};

/// Splits `KEY=VALUE`.
pub(super) fn assignment(text: &str) -> Parsed<Assignment> {
    let split = text
        .split_once('=')
        .map(|(key, text)| (key.trim(), text))
        .filter(|(key, _)| !key.is_empty() && key.split('.').all(|part| !part.is_empty()));
    // Not repeated: what follows a misplaced `=` may be a secret.
    let (key, text) = split.ok_or_else(|| {
        Wrong::new(
            "an assignment lacks its key or its `=`",
            "write it like key=value",
        )
    })?;
    Ok(Assignment {
        key: KeyPath::new(key.split('.')),
        text: text.to_owned(),
    })
}

/// Reads `KEY=VALUE` arguments by the schema of the parameters. Whether they fit the schema is not judged here.
pub fn arguments(schema: &Value, arguments: &[String]) -> Result<Map<String, Value>, Faults> {
    let root = Property::root(schema);
    let mut params = Map::new();
    let mut faults = Vec::new();
    for argument in arguments {
        let parsed = assignment(argument).and_then(|assignment| {
            let value = typed(root.at(assignment.key.parts()), &assignment.text)?;
            insert(&mut params, assignment.key.parts(), value);
            Ok(())
        });
        if let Err(wrong) = parsed {
            let key = argument.split('=').next().unwrap_or_default();
            faults.push(Fault {
                origin: Origin::Flag(format!("argument {key}")),
                key: None,
                what: wrong.what,
                fix: wrong.fix,
            });
        }
    }
    Faults(faults).or(params)
}

/// Puts a value at the end of a path, making the tables on the way.
pub(super) fn insert(values: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        values.insert(first.clone(), value);
        return;
    }
    let below = values.entry(first).or_insert(Value::Null);
    if !below.is_object() {
        *below = Value::Object(Map::new());
    }
    if let Value::Object(below) = below {
        insert(below, rest, value);
    }
}

/// Text as a value of the declared type; without one, of the type that its form suggests. Never repeats the text of a secret.
pub(super) fn typed(property: Option<Property<'_>>, text: &str) -> Parsed<Value> {
    let Some(property) = property else {
        return Ok(guessed(text));
    };
    let mut allowed = property.kinds().peekable();
    if allowed.peek().is_none() {
        return Ok(guessed(text));
    }
    let mut named = Vec::new();
    for kind in allowed {
        if let Some(value) = of_kind(kind, property, text) {
            return Ok(value);
        }
        named.push(kind);
    }
    let shown = if property.is_secret() {
        "it".to_owned()
    } else {
        format!("{text:?}")
    };
    let what = format!("{shown} is not of type {}", named.join(" or "));
    Err(Wrong::new(
        what,
        format!("write it like {}", example(named[0])),
    ))
}

fn of_kind(kind: &str, property: Property<'_>, text: &str) -> Option<Value> {
    let trimmed = text.trim();
    match kind {
        "string" => Some(Value::from(text)),
        "integer" => trimmed
            .parse::<i64>()
            .map(Value::from)
            .or_else(|_| trimmed.parse::<u64>().map(Value::from))
            .ok(),
        "number" => {
            let number = trimmed.parse().ok()?;
            serde_json::Number::from_f64(number).map(Value::Number)
        }
        "boolean" => trimmed.parse::<bool>().map(Value::from).ok(),
        "array" if trimmed.is_empty() => Some(Value::Array(Vec::new())),
        "array" if !trimmed.starts_with('[') => trimmed
            .split(',')
            .map(|item| typed(property.items(), item.trim()).ok())
            .collect::<Option<_>>()
            .map(Value::Array),
        "array" => Some(guessed(trimmed)).filter(Value::is_array),
        _ => Some(guessed(trimmed)).filter(Value::is_object),
    }
}

fn example(kind: &str) -> &'static str {
    match kind {
        "integer" => "3",
        "number" => "0.5",
        "boolean" => "true or false",
        "array" => "one,two",
        _ => r#"{"key": "value"}"#,
    }
}

/// JSON or a TOML value if it is one, else the text itself.
fn guessed(text: &str) -> Value {
    let toml = || {
        let value = toml::de::DeValue::parse(text).ok()?;
        super::value::json(value.get_ref()).ok()
    };
    serde_json::from_str(text)
        .ok()
        .or_else(toml)
        .unwrap_or_else(|| Value::from(text))
}

#[cfg(test)]
#[path = "tests/schema.rs"]
mod tests;
