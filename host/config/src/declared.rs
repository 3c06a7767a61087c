//! What a schema declares, for listings.

use operator_model::Property;
use serde_json::Value;

use super::KeyPath;

/// One setting of a plugin, or one parameter of an action.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Declared {
    /// Its key; dotted if it is inside a table.
    pub key: String,
    /// `integer`, `string or null`, `any`.
    pub kind: String,
    /// Whether it must be given.
    pub required: bool,
    /// What holds if it is not given.
    pub default: Option<Value>,
    /// The environment variable that serves if it is not given.
    pub variable: Option<String>,
    /// Whether it must not be shown.
    pub secret: bool,
    /// For people.
    pub description: String,
}

/// Everything that a schema of an object declares, tables flattened.
pub fn declared(schema: &Value) -> Vec<Declared> {
    let mut found = Vec::new();
    collect(Property::root(schema), &KeyPath::default(), &mut found);
    found
}

fn collect(table: Property<'_>, at: &KeyPath, found: &mut Vec<Declared>) {
    /// Deeper than any honest schema goes; ends those that contain themselves.
    const DEEPEST: usize = 8;
    let required = |name: &str| {
        let names = table.keyword("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|one| one == name))
    };
    for (name, property) in table.properties() {
        let key = at.join(name);
        if key.parts().len() < DEEPEST && property.properties().next().is_some() {
            collect(property, &key, found);
            continue;
        }
        let text = |keyword| property.keyword(keyword).and_then(Value::as_str);
        let secret = property.is_secret();
        found.push(Declared {
            key: key.to_string(),
            kind: kind(property),
            required: required(name),
            default: property.keyword("default").filter(|_| !secret).cloned(),
            variable: text("x-env").map(str::to_owned),
            secret,
            description: text("description").unwrap_or_default().to_owned(),
        });
    }
}

fn kind(property: Property<'_>) -> String {
    let words = property.keyword("enum").and_then(Value::as_array);
    let kinds: Vec<_> = match words {
        Some(words) => words.iter().map(ToString::to_string).collect(),
        None => property.kinds().map(str::to_owned).collect(),
    };
    if kinds.is_empty() {
        "any".to_owned()
    } else {
        kinds.join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_are_flattened_and_secrets_have_no_default() {
        let schema = json!({
            "required": ["mode"],
            "properties": {
                "mode": {"enum": ["a", "b"]},
                "tls": {"properties": {"key": {
                    "type": ["string", "null"], "x-secret": true, "default": "k", "x-env": "KEY"
                }}},
            }
        });
        let shown: Vec<_> = declared(&schema)
            .into_iter()
            .map(|d| {
                format!(
                    "{} {} {} {:?} {:?}",
                    d.key, d.kind, d.required, d.default, d.variable
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#"mode "a" or "b" true None None"#,
                r#"tls.key string false None Some("KEY")"#,
            ]
        );
    }
}
