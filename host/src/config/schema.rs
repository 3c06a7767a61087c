//! What a plugin declares about its settings and parameters, as JSON Schema, and text read by it.

use serde_json::{Map, Value};

use super::{
    Fault, Faults, KeyPath, Origin,
    value::{Parsed, Wrong},
};

/// `KEY=VALUE`, as it was typed. The key may be dotted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The setting, from the top of what the plugin is given.
    pub key: KeyPath,
    /// The value; what it means depends on the setting's type.
    pub text: String,
}

impl Assignment {
    pub(super) fn parse(text: &str) -> Parsed<Self> {
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
        Ok(Self {
            key: KeyPath::new(key.split('.')),
            text: text.to_owned(),
        })
    }
}

/// Reads `KEY=VALUE` arguments by the schema of the parameters. Whether they fit the schema is not judged here.
pub fn arguments(schema: &Value, arguments: &[String]) -> Result<Map<String, Value>, Faults> {
    let root = Property::root(schema);
    let mut params = Map::new();
    let mut faults = Vec::new();
    for argument in arguments {
        let parsed = Assignment::parse(argument).and_then(|assignment| {
            let value = typed(root.at(&assignment.key), &assignment.text)?;
            insert(&mut params, assignment.key.parts(), value);
            Ok(())
        });
        if let Err(wrong) = parsed {
            let key = argument.split('=').next().unwrap_or_default();
            faults.push(Fault {
                origin: Origin::Flag(format!("argument {key}")),
                key: None,
                what: wrong.what,
                mend: wrong.mend,
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

/// One place in a schema.
#[derive(Clone, Copy)]
pub(crate) struct Property<'a> {
    root: &'a Value,
    here: &'a Value,
}

impl<'a> Property<'a> {
    pub(crate) fn root(schema: &'a Value) -> Self {
        Self {
            root: schema,
            here: schema,
        }
    }

    /// The schema of what a path leads to, if it is declared. Items of arrays are named by their position.
    pub(super) fn at(self, path: &KeyPath) -> Option<Self> {
        path.parts()
            .iter()
            .try_fold(self, |at, part| at.child(part))
    }

    /// The schema of a key or of an item.
    pub(crate) fn child(self, part: &str) -> Option<Self> {
        let declared = self.properties().find(|(name, _)| *name == part);
        declared
            .map(|(_, property)| property)
            .or_else(|| part.parse::<usize>().ok().and(self.items()))
            .or_else(|| self.below("additionalProperties"))
    }

    /// The declared keys of an object.
    pub(crate) fn properties(self) -> impl Iterator<Item = (&'a str, Self)> {
        self.alternatives()
            .into_iter()
            .filter_map(|schema| schema.get("properties")?.as_object())
            .flatten()
            .map(move |(name, here)| {
                let root = self.root;
                (name.as_str(), Self { root, here })
            })
    }

    /// The first value that this schema, or one that it stands for, gives to a keyword.
    pub(crate) fn keyword(self, keyword: &str) -> Option<&'a Value> {
        self.alternatives()
            .into_iter()
            .find_map(|schema| schema.get(keyword))
    }

    pub(crate) fn is_secret(self) -> bool {
        self.keyword("x-secret") == Some(&Value::Bool(true))
    }

    /// The declared types, in the order in which text is read as one of them.
    pub(crate) fn kinds(self) -> impl Iterator<Item = &'static str> {
        const KINDS: [&str; 6] = ["integer", "number", "boolean", "array", "object", "string"];
        KINDS.into_iter().filter(move |kind| self.allows(kind))
    }

    /// The schema of an array's items.
    pub(crate) fn items(self) -> Option<Self> {
        self.below("items")
    }

    fn allows(self, kind: &str) -> bool {
        self.alternatives()
            .into_iter()
            .any(|schema| match schema.get("type") {
                Some(Value::String(only)) => only == kind,
                Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
                _ => false,
            })
    }

    fn below(self, keyword: &str) -> Option<Self> {
        let here = self.keyword(keyword).filter(|schema| schema.is_object())?;
        Some(Self { here, ..self })
    }

    /// This schema and all that it refers to or is made of: `Option<T>` and nested types come as such.
    fn alternatives(self) -> Vec<&'a Value> {
        /// Deeper than any honest schema goes; ends those that refer to themselves.
        const MOST: usize = 32;
        let mut found = vec![self.here];
        let mut next = 0;
        while let Some(schema) = found.get(next).copied()
            && next < MOST
        {
            let target = schema
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|reference| self.root.pointer(reference.strip_prefix('#')?));
            found.extend(target);
            for keyword in ["allOf", "anyOf", "oneOf"] {
                found.extend(
                    schema
                        .get(keyword)
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten(),
                );
            }
            next += 1;
        }
        found
    }
}

/// Text as a value of the declared type; without one, as whatever it looks like. Never repeats the text of a secret.
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
