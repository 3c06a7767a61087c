//! What the plugin says can be done.

use std::collections::HashSet;

use operator_loader::{Method, Payload};
use operator_model::Property;
use operator_plugin_api::{ActionDefinition, Inverse, InverseParam, document::ActionList};
use serde_json::Value;

use crate::{
    backends::Mode, bench::document, bench::method, case::Case, lab::Lab, samples::validator,
    verdict::Ran, verdict::Stop,
};

pub(super) const CASES: [Case; 4] = [
    Case {
        id: "actions.unique-stable",
        expects: "every action has a name of its own, and every call, instance and process lists the same",
        fix: "build the list from constants alone, with names in lower case letters, digits and _",
        run: unique_stable,
    },
    Case {
        id: "actions.params-typed",
        expects: "the parameters of every action are an object of typed keys, and no other key",
        fix: "derive JsonSchema and #[serde(deny_unknown_fields)] for the parameters",
        run: params_typed,
    },
    Case {
        id: "actions.risk-declared",
        expects: "every action says what it does, its risk, and whether it is idempotent",
        fix: "fill in description, risk and idempotent of every ActionDefinition",
        run: risk_declared,
    },
    Case {
        id: "actions.inverse-exists",
        expects: "inverses, fixed invariants and suggested actions exist, and an inverse gets every required parameter",
        fix: "fix the names in inverse, mends and suggested_actions",
        run: inverse_exists,
    },
];

/// The list as it was answered.
fn listed(lab: &Lab) -> Result<String, Stop> {
    let mut ready = lab.ready(Mode::Closed)?;
    match ready.bench.ask(method(0, Method::ListActions, ""))?.payload {
        Payload::Text(text) => Ok(text),
        other => {
            let list: Result<ActionList, Stop> = document("list_actions", other);
            Err(list.err().unwrap_or_else(|| Stop::error("no text")))
        }
    }
}

fn actions(lab: &Lab) -> Result<Vec<ActionDefinition>, Stop> {
    let text = listed(lab).map_err(|stop| stop.of_another(&["actions.params-typed"]))?;
    let list: ActionList = document("list_actions", Payload::Text(text))
        .map_err(|stop| stop.of_another(&["actions.params-typed"]))?;
    if list.actions.is_empty() {
        return Err(Stop::skip("the plugin has no actions"));
    }
    Ok(list.actions)
}

fn unique_stable(lab: &Lab) -> Ran {
    let mut names = HashSet::new();
    for action in actions(lab)? {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if action.name.is_empty() || !action.name.chars().all(fits) {
            return Err(Stop::fail(format!("an action is called {:?}", action.name)));
        }
        if !names.insert(action.name.clone()) {
            return Err(Stop::fail(format!("`{}` is listed twice", action.name)));
        }
    }
    let first = listed(lab)?;
    let mut ready = lab.ready(Mode::Closed)?;
    let config = ready.backends.config.clone();
    ready.bench.create(1, &config)?;
    for instance in [0, 0, 1] {
        let ask = method(instance, Method::ListActions, "");
        if ready.bench.ask(ask)?.payload != Payload::Text(first.clone()) {
            return Err(Stop::fail("two calls listed different actions"));
        }
    }
    Ok(())
}

fn params_typed(lab: &Lab) -> Ran {
    let text = listed(lab)?;
    let list: ActionList = document("list_actions", Payload::Text(text))?;
    if list.actions.is_empty() {
        return Err(Stop::skip("the plugin has no actions"));
    }
    for action in &list.actions {
        let wrong = |what: String| Err(Stop::fail(format!("`{}`: {what}", action.name)));
        let schema = &action.params_schema;
        if validator(schema).is_none() || schema["type"] != "object" {
            return wrong("its parameters have no schema of an object".into());
        }
        if schema["additionalProperties"] != false {
            return wrong("its schema allows other parameters than those it names".into());
        }
        for (name, property) in Property::root(schema).properties() {
            if property.kinds().next().is_none() && property.keyword("enum").is_none() {
                return wrong(format!("parameter `{name}` has no type"));
            }
        }
    }
    Ok(())
}

fn risk_declared(lab: &Lab) -> Ran {
    let text = listed(lab).map_err(|stop| stop.of_another(&["actions.params-typed"]))?;
    let list: Value = serde_json::from_str(&text).unwrap_or_default();
    let actions = list["actions"].as_array().cloned().unwrap_or_default();
    if actions.is_empty() {
        return Err(Stop::skip("the plugin has no actions"));
    }
    for action in actions {
        let wrong = |what: &str| Err(Stop::fail(format!("{}: {what}", action["name"])));
        if !["low", "medium", "high"]
            .iter()
            .any(|risk| action["risk"] == *risk)
        {
            return wrong("its risk is not low, medium or high");
        }
        if !action["idempotent"].is_boolean() {
            return wrong("it does not say whether it is idempotent");
        }
        if action["description"]
            .as_str()
            .is_none_or(|text| text.trim().len() < 10)
        {
            return wrong("it has no description that a person could use");
        }
    }
    Ok(())
}

fn inverse_exists(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let invariants = &ready.descriptor.invariants;
    let names: HashSet<_> = invariants.iter().map(|i| i.name.clone()).collect();
    let suggested: Vec<_> = invariants
        .iter()
        .flat_map(|i| {
            i.suggested_actions
                .iter()
                .map(|action| (i.name.clone(), action.clone()))
        })
        .collect();
    let actions = ready.bench.actions(0)?;
    for (invariant, action) in suggested {
        if !actions.iter().any(|known| known.name == action) {
            let what = format!("invariant {invariant} suggests `{action}`, which is not there");
            return Err(Stop::fail(what));
        }
    }
    if actions.is_empty() {
        return Err(Stop::skip("the plugin has no actions"));
    }
    for action in &actions {
        if let Some(strange) = action.mends.iter().find(|fixed| !names.contains(*fixed)) {
            let what = format!("`{}` mends {strange}, which is not declared", action.name);
            return Err(Stop::fail(what));
        }
        if let Some(inverse) = &action.inverse {
            fits(action, inverse, &actions)
                .map_err(|what| Stop::fail(format!("`{}`: {what}", action.name)))?;
        }
    }
    Ok(())
}

/// Whether the inverse is there and is given what it requires.
fn fits(
    action: &ActionDefinition,
    inverse: &Inverse,
    all: &[ActionDefinition],
) -> Result<(), String> {
    let Some(other) = all.iter().find(|other| other.name == inverse.action) else {
        return Err(format!("its inverse `{}` is not there", inverse.action));
    };
    let required = other.params_schema["required"]
        .as_array()
        .into_iter()
        .flatten();
    for name in required.filter_map(Value::as_str) {
        if !inverse.params.contains_key(name) {
            return Err(format!(
                "its inverse `{}` is not given `{name}`",
                other.name
            ));
        }
    }
    let has = |schema: &Value, name: &str| {
        Property::root(schema)
            .properties()
            .any(|(known, _)| known == name)
    };
    for (name, from) in &inverse.params {
        if !has(&other.params_schema, name) {
            return Err(format!("its inverse `{}` has no `{name}`", other.name));
        }
        if let InverseParam::Param(own) = from
            && !has(&action.params_schema, own)
        {
            return Err(format!(
                "its inverse is given `{own}`, which it has not itself"
            ));
        }
    }
    Ok(())
}
