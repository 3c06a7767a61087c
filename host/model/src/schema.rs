//! Validators of a plugin's JSON Schemas, and whether a schema can be used at all: validators and listings follow its
//! references without a limit of their own, and cannot be interrupted.

use jsonschema::{Draft, PatternOptions, Validator};
use operator_plugin_api::bounds::{MAX_PATTERN, MAX_PATTERNS, MAX_SUBSCHEMAS};
use serde_json::{Map, Value};

use super::bounded;

/// How deep subschemas may be nested, references included.
const DEEPEST: usize = 100;
/// The same where a value decides how often a schema that refers to itself is entered.
const DEEPEST_WITH_VALUE: usize = 1_000;
/// How often a schema that refers to itself is followed.
const ROUNDS: usize = 8;
/// How many pairs of a subschema and a value may be compared.
const MAX_COMPARISONS: usize = 200_000;

/// Keywords whose subschemas apply to the same value.
const SAME: [&str; 9] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
];
/// Keywords whose subschemas apply to values inside of it.
const INSIDE: [&str; 10] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "contains",
    "unevaluatedProperties",
    "unevaluatedItems",
    "additionalItems",
];
/// Keywords that map names to subschemas.
const MAPS: [&str; 4] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
];
/// Keywords that make a reference depend on where it is read.
const REFUSED: [&str; 3] = ["$dynamicRef", "$recursiveRef", "$id"];

/// The largest compiled regular expression. Bytes.
const PATTERN_SIZE: usize = 1 << 20;
/// The longest explanation of a validator. Characters.
const LONGEST_FAULT: usize = 300;
/// How often a regular expression with look-around may go back in one text.
const BACKTRACKS: usize = 10_000;

/// What compares values with a schema (draft 2020-12); or why the schema cannot be used, in one line. Can take a while.
pub fn schema_validator(schema: &Value) -> Result<Validator, String> {
    check_schema(schema)?;
    let patterns = PatternOptions::fancy_regex()
        .size_limit(PATTERN_SIZE)
        .backtrack_limit(BACKTRACKS);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(patterns)
        .build(schema)
        .map_err(|error| bounded(&error.to_string(), LONGEST_FAULT))
}

/// Why a schema cannot be used, in one line: it refers to something outside of it or to itself without an end, or it is
/// too large once its references are followed.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    let mut walk = Walk {
        root: schema,
        left: MAX_SUBSCHEMAS,
        patterns: 0,
        followed: Vec::new(),
    };
    walk.visit(schema, None, 0).map_err(|fault| match fault {
        WalkFault::Exhausted => {
            format!("it has more than {MAX_SUBSCHEMAS} subschemas when its `$ref`s are followed")
        }
        WalkFault::Other(what) => what,
    })
}

/// Whether a value can be compared with a schema, which [`check_schema`] accepts, in reasonable time.
pub fn check_schema_with(schema: &Value, value: &Value) -> Result<(), String> {
    let mut walk = Walk {
        root: schema,
        left: MAX_COMPARISONS,
        patterns: 0,
        followed: Vec::new(),
    };
    walk.visit(schema, Some(value), 0)
        .map_err(|fault| match fault {
            WalkFault::Exhausted => format!(
                "to compare it with the schema takes more than {MAX_COMPARISONS} comparisons"
            ),
            WalkFault::Other(what) => what,
        })
}

enum WalkFault {
    Exhausted,
    Other(String),
}

impl From<String> for WalkFault {
    fn from(what: String) -> Self {
        Self::Other(what)
    }
}

struct Walk<'a> {
    root: &'a Value,
    /// How many more subschemas may be visited.
    left: usize,
    patterns: usize,
    /// The references that lead to the current subschema: where each leads, and whether a value inside of the one before
    /// it was entered since.
    followed: Vec<(&'a str, bool)>,
}

impl<'a> Walk<'a> {
    /// Visits a subschema and all that it applies, for any value or for this one.
    fn visit(
        &mut self,
        schema: &'a Value,
        value: Option<&Value>,
        depth: usize,
    ) -> Result<(), WalkFault> {
        self.left = self.left.checked_sub(1).ok_or(WalkFault::Exhausted)?;
        let deepest = match value {
            Some(_) => DEEPEST_WITH_VALUE,
            None => DEEPEST,
        };
        if depth > deepest {
            return Err(format!("its subschemas are nested more than {deepest} deep").into());
        }
        let keywords = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(keywords) => keywords,
            other => return Err(format!("{:.60} is not a schema", other.to_string()).into()),
        };
        if let Some(keyword) = REFUSED
            .iter()
            .find(|keyword| keywords.contains_key(**keyword))
        {
            return Err(format!("`{keyword}` is not supported; use `$defs` and `$ref`").into());
        }
        if value.is_none() {
            self.count_patterns(keywords)?;
        }
        if let Some(reference) = keywords.get("$ref") {
            self.follow(reference, value, depth)?;
        }
        for (keyword, below) in keywords {
            if SAME.contains(&keyword.as_str()) {
                for subschema in subschemas(keyword, below) {
                    self.visit(subschema, value, depth + 1)?;
                }
            } else if INSIDE.contains(&keyword.as_str()) {
                self.visit_inside(keyword, below, value, depth)?;
            }
        }
        Ok(())
    }

    fn visit_inside(
        &mut self,
        keyword: &'a str,
        below: &'a Value,
        value: Option<&Value>,
        depth: usize,
    ) -> Result<(), WalkFault> {
        let entered = self
            .followed
            .last_mut()
            .map(|last| std::mem::replace(&mut last.1, true));
        let visited = self.visit_each_inside(keyword, below, value, depth);
        if let (Some(entered), Some(last)) = (entered, self.followed.last_mut()) {
            last.1 = entered;
        }
        visited
    }

    fn visit_each_inside(
        &mut self,
        keyword: &'a str,
        below: &'a Value,
        value: Option<&Value>,
        depth: usize,
    ) -> Result<(), WalkFault> {
        let Some(value) = value else {
            for subschema in subschemas(keyword, below) {
                self.visit(subschema, None, depth + 1)?;
            }
            return Ok(());
        };
        if keyword == "properties" {
            for (name, subschema) in below.as_object().into_iter().flatten() {
                if let Some(inner) = value.get(name) {
                    self.visit(subschema, Some(inner), depth + 1)?;
                }
            }
            return Ok(());
        }
        let inner: Vec<&Value> = match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(members) => members.values().collect(),
            _ => return Ok(()),
        };
        for subschema in subschemas(keyword, below) {
            for inner in &inner {
                self.visit(subschema, Some(inner), depth + 1)?;
            }
        }
        Ok(())
    }

    fn follow(
        &mut self,
        reference: &'a Value,
        value: Option<&Value>,
        depth: usize,
    ) -> Result<(), WalkFault> {
        let text = reference.as_str().unwrap_or_default();
        let target = text
            .strip_prefix('#')
            .and_then(|pointer| self.root.pointer(pointer))
            .ok_or_else(|| {
                format!(
                    "`$ref` to {:.100} leads nowhere in the schema; only `#` and `#/...` are followed",
                    reference.to_string()
                )
            })?;
        let mut earlier = self.followed.iter().rev();
        let mut entered = false;
        let mut rounds = 0;
        for (followed, was_entered) in &mut earlier {
            entered |= was_entered;
            if *followed == text {
                if !entered {
                    return Err(
                        format!("`$ref` to {text:.100} refers to itself without an end").into(),
                    );
                }
                rounds += 1;
            }
        }
        if value.is_none() && rounds >= ROUNDS {
            return Ok(());
        }
        self.followed.push((text, false));
        let visited = self.visit(target, value, depth + 1);
        self.followed.pop();
        visited
    }

    fn count_patterns(&mut self, keywords: &Map<String, Value>) -> Result<(), WalkFault> {
        let names = keywords.get("patternProperties").and_then(Value::as_object);
        let names = names.into_iter().flat_map(Map::keys).map(String::as_str);
        let own = keywords.get("pattern").and_then(Value::as_str);
        for pattern in names.chain(own) {
            self.patterns += 1;
            if pattern.len() > MAX_PATTERN {
                return Err(format!(
                    "a pattern has {} bytes, at most {MAX_PATTERN} are allowed",
                    pattern.len()
                )
                .into());
            }
        }
        if self.patterns > MAX_PATTERNS {
            return Err(format!("it has more than {MAX_PATTERNS} patterns").into());
        }
        Ok(())
    }
}

/// The subschemas of a keyword.
fn subschemas<'a>(keyword: &str, below: &'a Value) -> Vec<&'a Value> {
    match below {
        Value::Array(all) => all.iter().collect(),
        // A list in `dependencies` names keys.
        Value::Object(by_name) if MAPS.contains(&keyword) => {
            by_name.values().filter(|one| !one.is_array()).collect()
        }
        one => vec![one],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Each definition refers twice to the next.
    fn doubling(levels: usize) -> Value {
        let definitions: Map<String, Value> = (0..levels)
            .map(|level| {
                let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
                (format!("d{level}"), json!({"allOf": [next.clone(), next]}))
            })
            .chain([(format!("d{levels}"), json!({"type": "object"}))])
            .collect();
        json!({"$ref": "#/$defs/d0", "$defs": definitions})
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!({}), |inner, _| json!({"not": inner}))
    }

    #[test]
    fn a_schema_that_validators_cannot_bear_is_refused() {
        let many: Vec<_> = (0..=MAX_PATTERNS)
            .map(|n| json!({"pattern": n.to_string()}))
            .collect();
        let wide: Map<_, _> = (0..20)
            .map(|n| (n.to_string(), json!({"$ref": "#"})))
            .collect();
        for (schema, why) in [
            (doubling(31), "more than 10000 subschemas"),
            (json!({"properties": wide}), "more than 10000 subschemas"),
            (json!({"$ref": "#"}), "refers to itself without an end"),
            (
                json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
                "`$ref` to #/$defs/a refers to itself without an end",
            ),
            (
                json!({"$ref": "http://localhost/x"}),
                "leads nowhere in the schema",
            ),
            (
                json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}),
                "leads nowhere",
            ),
            (json!({"$ref": "#/$defs/none"}), "leads nowhere"),
            (json!({"$ref": 7}), "`$ref` to 7 leads nowhere"),
            (
                json!({"$dynamicRef": "#a"}),
                "`$dynamicRef` is not supported",
            ),
            (json!(17), "17 is not a schema"),
            (json!({"items": "x"}), "\"x\" is not a schema"),
            (nested(DEEPEST + 1), "nested more than 100 deep"),
            (json!({"allOf": many}), "more than 100 patterns"),
            (
                json!({"pattern": "x".repeat(MAX_PATTERN + 1)}),
                "a pattern has 1001 bytes",
            ),
        ] {
            let refused = check_schema(&schema).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn what_schemas_commonly_are_is_accepted() {
        for schema in [
            json!(true),
            json!({}),
            doubling(10),
            json!({"properties": {"children": {"items": {"$ref": "#"}}}}),
            json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/a"}, "$ref": {"type": "string"}}, "$defs": {"a": {"enum": [17]}}}),
            json!({"properties": {"a": {"default": {"items": 17}, "anyOf": [{"type": "string"}, {"type": "null"}]}}}),
        ] {
            assert_eq!(check_schema(&schema), Ok(()), "{schema}");
        }
    }

    #[test]
    fn what_is_no_json_schema_has_no_validator() {
        for schema in [
            json!({"pattern": "("}),
            json!({"type": "text"}),
            json!({"pattern": "(a{1000}){1000}"}),
            json!({"properties": []}),
        ] {
            assert!(schema_validator(&schema).is_err(), "{schema}");
        }
        let validator =
            schema_validator(&json!({"pattern": "^(?!x)a", "dependencies": {"a": ["b"]}})).unwrap();
        assert!(validator.is_valid(&json!("a")) && !validator.is_valid(&json!("xa")));
    }

    #[test]
    fn a_schema_that_doubles_at_each_level_of_a_value_is_refused_for_a_deep_value() {
        let schema = json!({"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        assert_eq!(check_schema(&schema), Ok(()));
        let value = |levels| (0..levels).fold(json!(1), |inner, _| json!({"a": inner}));
        assert_eq!(check_schema_with(&schema, &value(8)), Ok(()));
        let refused = check_schema_with(&schema, &value(40)).unwrap_err();
        assert!(refused.contains("comparisons"), "{refused}");
    }
}
