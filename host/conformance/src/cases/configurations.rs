//! Whether check judges by the observation alone, whatever its instance was configured with.

use operator_loader::{Method, Payload};
use operator_model::Property;
use operator_plugin_api::Descriptor;
use serde_json::{Map, Value, json};

use super::check_report::{same, texts};
use crate::{
    backends::Mode, context::CaseContext, samples::validator, verdict::CaseResult, verdict::Stop,
    worker::Worker, worker::method,
};

/// Of nested tables of settings.
const DEEPEST: usize = 8;
/// Configurations that are tried.
const MOST: usize = 64;

/// A configuration that differs from the usual one in one setting.
struct Variant {
    config: Map<String, Value>,
    /// `thresholds.latency_p99_ms = 60000.0`
    name: String,
}

pub(super) fn same_verdict(context: &CaseContext) -> CaseResult {
    let documents = texts(context)?;
    let mut setup = context.set_up(Mode::Closed)?;
    let expected = reports(&mut setup.worker, 0, &documents)?;
    let variants = variants(&setup.descriptor, &setup.backends.config);
    let mut accepted = 0;
    for (instance, variant) in (1..).zip(variants) {
        let config = Value::Object(variant.config).to_string();
        // The schema cannot express bounds that depend on other settings.
        let Payload::Text(_) = setup.worker.try_create(instance, config)? else {
            continue;
        };
        accepted += 1;
        let found = reports(&mut setup.worker, instance, &documents)?;
        setup.worker.drop_instance(instance)?;
        let what = format!(
            "an observation that was checked with {} configured",
            variant.name
        );
        same(&expected, &found, &what).map_err(of_another)?;
    }
    if accepted == 0 {
        return Err(Stop::skip(
            "no number, switch or choice of the configuration has another value that create accepts",
        ));
    }
    Ok(())
}

/// A report that changes by itself is found by other cases.
fn of_another(stop: Stop) -> Stop {
    stop.attributed_to(&[
        "check.deterministic",
        "check.pure-state",
        "check.no-cross-instance-memory",
    ])
}

fn reports(worker: &mut Worker, instance: u32, documents: &[String]) -> Result<Vec<Payload>, Stop> {
    let checks = documents
        .iter()
        .map(|text| method(instance, Method::Check, text.as_str()));
    let answers = worker.repeat(checks.collect(), 1)?;
    Ok(answers.into_iter().map(|answer| answer.payload).collect())
}

/// Valid configurations, each with another value for one setting.
fn variants(descriptor: &Descriptor, base: &Map<String, Value>) -> Vec<Variant> {
    let schema = &descriptor.config_schema;
    let Some(validator) = validator(schema) else {
        return Vec::new();
    };
    let base = Value::Object(base.clone());
    let mut found = Vec::new();
    collect(
        Property::root(schema),
        &base,
        &mut Vec::new(),
        &mut |path, value| {
            let mut config = base.clone();
            put(&mut config, path, value.clone());
            if found.len() < MOST
                && validator.is_valid(&config)
                && let Value::Object(config) = config
            {
                let name = format!("{} = {value}", path.join("."));
                found.push(Variant { config, name });
            }
        },
    );
    found
}

fn collect<'a>(
    table: Property<'a>,
    given: &Value,
    path: &mut Vec<&'a str>,
    add: &mut impl FnMut(&[&str], Value),
) {
    for (name, property) in table.properties().filter(|(_, one)| !one.is_secret()) {
        path.push(name);
        let current = match &given[name] {
            Value::Null => property.keyword("default").unwrap_or(&Value::Null),
            given => given,
        };
        for value in others(property, current) {
            add(path, value);
        }
        if path.len() < DEEPEST {
            collect(property, current, path, add);
        }
        path.pop();
    }
}

/// Other values of one setting: its bounds, half and double of a number, the other choices.
fn others(property: Property<'_>, current: &Value) -> Vec<Value> {
    let is = |kind| property.kinds().any(|one| one == kind);
    let choices = property.keyword("enum").and_then(Value::as_array);
    let mut others = match choices {
        Some(choices) => choices.clone(),
        None if is("boolean") => vec![json!(true), json!(false)],
        None if is("integer") || is("number") => numbers(property, current),
        None => Vec::new(),
    };
    others.retain(|other| other != current && !other.is_null());
    others
}

fn numbers(property: Property<'_>, current: &Value) -> Vec<Value> {
    let bound = |keyword| property.keyword(keyword).cloned();
    let scaled = match (current.as_i64(), current.as_f64()) {
        (Some(whole), _) => vec![json!(whole / 2), json!(whole.saturating_mul(2))],
        (None, Some(number)) => vec![json!(number / 2.0), json!(number * 2.0)],
        (None, None) => Vec::new(),
    };
    let bounds = [bound("minimum"), bound("maximum")];
    bounds.into_iter().flatten().chain(scaled).collect()
}

fn put(table: &mut Value, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *table = value;
        return;
    };
    if !table.is_object() {
        *table = json!({});
    }
    put(&mut table[*first], rest, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_differs_in_one_setting_and_is_valid() {
        let schema = json!({
            "type": "object",
            "properties": {
                "level": {"type": "integer", "minimum": 1, "maximum": 100, "default": 60},
                "mode": {"enum": ["a", "b"]},
                "token": {"type": "integer", "x-secret": true},
                "url": {"type": "string"},
                "limits": {"$ref": "#/$defs/Limits"},
            },
            "$defs": {"Limits": {"type": "object", "properties": {"on": {"type": "boolean"}}}},
        });
        let descriptor =
            json!({"subject": "x", "description": "x", "config_schema": schema, "invariants": []});
        let descriptor: Descriptor = serde_json::from_value(descriptor).unwrap();
        let base = json!({"mode": "a", "limits": {"on": true}});
        let mut names: Vec<_> = variants(&descriptor, base.as_object().unwrap())
            .into_iter()
            .map(|variant| variant.name)
            .collect();
        names.sort();
        let expected = [
            "level = 1",
            "level = 100",
            "level = 30",
            "limits.on = false",
            "mode = \"b\"",
        ];
        assert_eq!(names, expected);
    }
}
