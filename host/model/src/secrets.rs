//! Secrets: what must not be shown of a configuration, and the masks in its place.
//!
//! A value is secret because its schema marks it, or because it is the password of a URL or of a database.

mod database;
mod url;

use std::sync::RwLock;

use serde_json::{Map, Value};

use super::Property;

pub use database::{DatabaseSecrets, shown_database, sqlite_path};
use url::{url_password, without_url_passwords};

/// Shorter secrets of plugins are not masked in messages: every word would be at risk.
const SHORTEST: usize = 4;
/// Schemas that refer to themselves are followed this far.
const MAX_DEPTH: usize = 32;
/// What is shown in place of a secret.
const MASK: &str = "***";

/// The secrets of one subject. Empty until the plugin's schema is known, and the plugin is given no secret before that.
#[derive(Default)]
pub struct Secrets(RwLock<Vec<String>>);

impl Secrets {
    /// Learns from a configuration, by its schema (`x-secret: true`) and by passwords in URLs.
    pub fn learn(&self, schema: &Value, config: &Map<String, Value>) {
        let mut found = Vec::new();
        let config = Value::Object(config.clone());
        by_schema(schema, schema, &config, MAX_DEPTH, &mut found);
        in_urls(&config, &mut found);
        found.retain(|secret| secret.len() >= SHORTEST);
        // The longest first, so that a secret that begins with another one goes as a whole.
        found.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        found.dedup();
        if let Ok(mut secrets) = self.0.write() {
            *secrets = found;
        }
    }

    /// The text with every known secret replaced.
    pub fn mask(&self, text: &str) -> String {
        let Ok(secrets) = self.0.read() else {
            return MASK.into();
        };
        secrets
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret, MASK))
    }
}

impl Secrets {
    /// Whether a JSON text can contain a secret. Never false if it does.
    pub fn can_be_in(&self, json: &str) -> bool {
        let Ok(secrets) = self.0.read() else {
            return true;
        };
        // An escape can stand for any character.
        let has_escapes = || json.contains("\\u") || json.contains("\\/");
        secrets.iter().any(|secret| json.contains(secret)) || !secrets.is_empty() && has_escapes()
    }

    /// Replaces every known secret in the texts, the keys and the numbers of a value.
    pub fn mask_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.mask(text),
            Value::Number(number) => {
                let text = number.to_string();
                if self.mask(&text) == MASK {
                    *value = Value::from(MASK);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_value(item)),
            Value::Object(members) => {
                let masked = std::mem::take(members).into_iter().map(|(key, mut value)| {
                    self.mask_value(&mut value);
                    (self.mask(&key), value)
                });
                *members = masked.collect();
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

fn by_schema(root: &Value, schema: &Value, value: &Value, depth: usize, found: &mut Vec<String>) {
    if depth == 0 {
        return;
    }
    if schema["x-secret"] == true {
        return leaves(value, found);
    }
    let mut descend = |schema: &Value, value: &Value| {
        by_schema(root, schema, value, depth - 1, found);
    };
    if let Some(pointer) = schema["$ref"].as_str().and_then(|at| at.strip_prefix('#'))
        && let Some(target) = root.pointer(pointer)
    {
        descend(target, value);
    }
    for union in ["anyOf", "oneOf", "allOf"] {
        for schema in schema[union].as_array().into_iter().flatten() {
            descend(schema, value);
        }
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let named = &schema["properties"][key];
        let schema = if named.is_null() {
            &schema["additionalProperties"]
        } else {
            named
        };
        descend(schema, value);
    }
    for value in value.as_array().into_iter().flatten() {
        descend(&schema["items"], value);
    }
}

/// Every text and number in a value, as it is and as it is written in JSON.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let quoted = value.to_string();
            found.push(quoted[1..quoted.len() - 1].to_owned());
            found.push(text.clone());
        }
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(members) => members.values().for_each(|item| leaves(item, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The passwords of `scheme://user:password@host`, anywhere in a value.
fn in_urls(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.extend(url_password(text)),
        Value::Array(items) => items.iter().for_each(|item| in_urls(item, found)),
        Value::Object(members) => members.values().for_each(|item| in_urls(item, found)),
        _ => {}
    }
}

/// The value with every secret in it masked: what the schema marks, and passwords in URLs.
pub fn masked(value: &Value, property: Option<Property<'_>>) -> Value {
    match value {
        _ if property.is_some_and(Property::is_secret) => Value::from(MASK),
        Value::Object(table) => table
            .iter()
            .map(|(name, value)| {
                let below = property.and_then(|property| property.child(name));
                (name.clone(), masked(value, below))
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| masked(item, property.and_then(|property| property.child("0"))))
            .collect(),
        Value::String(text) => Value::from(without_url_passwords(text)),
        other => other.clone(),
    }
}

/// The parameters of an action with every secret masked.
pub fn without_secrets(schema: &Value, params: &Map<String, Value>) -> Map<String, Value> {
    let root = Property::root(schema);
    let shown = params.iter().map(|(name, value)| {
        let shown = masked(value, root.child(name));
        (name.clone(), shown)
    });
    shown.collect()
}

/// Whether the schema marks the value at this JSON pointer, or one that contains it, as secret.
pub fn is_secret_at(schema: &Value, pointer: &str) -> bool {
    let mut at = Some(Property::root(schema));
    pointer.split('/').skip(1).any(|part| {
        at = at.and_then(|property| property.child(part));
        at.is_some_and(Property::is_secret)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mask(schema: &Value, config: &Value, text: &str) -> String {
        let secrets = Secrets::default();
        secrets.learn(schema, config.as_object().unwrap());
        secrets.mask(text)
    }

    #[test]
    fn values_of_secret_properties_are_masked_wherever_they_lie() {
        let schema = json!({
            "properties": {
                "token": {"x-secret": true, "type": "string"},
                "name": {"type": "string"},
                "nodes": {"items": {"$ref": "#/$defs/Node"}},
            },
            "$defs": {"Node": {"properties": {"key": {"anyOf": [{"x-secret": true}, {"type": "null"}]}}}},
        });
        let config =
            json!({"token": "hunter22", "name": "plain", "nodes": [{"key": "hunter22-more"}]});
        let text = mask(&schema, &config, "plain: hunter22-more is not hunter22");
        assert_eq!(text, "plain: *** is not ***");
    }

    #[test]
    fn a_secret_is_masked_in_texts_keys_and_numbers_of_a_value() {
        let secrets = Secrets::default();
        let schema =
            json!({"properties": {"token": {"x-secret": true}, "pin": {"x-secret": true}}});
        let config = json!({"token": "hunter22", "pin": 987_654});
        assert!(
            !secrets.can_be_in(r#""\u0068unter22""#),
            "nothing is secret yet"
        );
        secrets.learn(&schema, config.as_object().unwrap());
        let mut value = json!({"a": ["is hunter22", 987_654, 9_876_543], "hunter22": {"b": null}});
        assert!(secrets.can_be_in(&value.to_string()));
        secrets.mask_value(&mut value);
        assert_eq!(
            value,
            json!({"a": ["is ***", "***", 9_876_543], "***": {"b": null}})
        );
        assert!(secrets.can_be_in(r#""\u0068unter22""#) && !secrets.can_be_in(r#""hunter""#));
    }

    #[test]
    fn passwords_in_urls_are_masked_without_a_schema() {
        let config = json!({"url": "http://me:pass%20word@host/path"});
        assert_eq!(
            mask(&json!({}), &config, "GET http://me:pass%20word@host/path"),
            "GET http://me:***@host/path"
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"$ref": "#"});
        assert_eq!(mask(&schema, &json!({"a": "text"}), "text"), "text");
    }

    #[test]
    fn a_secret_with_quotes_is_masked_in_its_json_form_too() {
        let schema = json!({"properties": {"token": {"x-secret": true}}});
        let config = json!({"token": "say \"so\""});
        assert_eq!(
            mask(&schema, &config, r#"{"t":"say \"so\""}"#),
            r#"{"t":"***"}"#
        );
    }
}
