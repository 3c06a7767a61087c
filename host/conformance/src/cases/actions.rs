//! The list of actions.

use std::collections::HashSet;

use operator_loader::{Method, Payload};
use operator_model::Property;
use operator_plugin_api::{ActionDefinition, Inverse, InverseParam, document::ActionList};
use serde_json::Value;

use crate::{
    backends::Mode, case::Case, context::CaseContext, samples::validator, verdict::CaseResult,
    verdict::Stop, worker::document, worker::method,
};

pub(super) const CASES: [Case; 4] = [
    Case {
        id: "actions.unique-stable",
        expects: "every action has a unique name, and every call, instance and process lists the same actions",
        fix: "build the list from constants, with names in lower case letters, digits and _",
        run: unique_stable,
    },
    Case {
        id: "actions.params-typed",
        expects: "the parameters of every action are an object with typed keys, and no other key is allowed",
        fix: "derive JsonSchema and #[serde(deny_unknown_fields)] for the parameters",
        run: params_typed,
    },
    Case {
        id: "actions.risk-declared",
        expects: "every action declares a description, its risk, and whether it is idempotent",
        fix: "fill in description, risk and idempotent of every ActionDefinition",
        run: risk_declared,
    },
    Case {
        id: "actions.inverse-exists",
        expects: "the inverses, invariants and suggested actions that are named exist, and an inverse gets every required parameter",
        fix: "fix the names in inverse, mends and suggested_actions",
        run: inverse_exists,
    },
];

/// The list as the plugin returned it.
pub(super) fn listed(context: &CaseContext) -> Result<String, Stop> {
    let mut setup = context.set_up(Mode::Closed)?;
    match setup
        .worker
        .ask(method(0, Method::ListActions, ""))?
        .payload
    {
        Payload::Text(text) => Ok(text),
        other => {
            let list: Result<ActionList, Stop> = document("list_actions", other);
            Err(list.err().unwrap_or_else(|| Stop::error("no text")))
        }
    }
}

fn actions(context: &CaseContext) -> Result<Vec<ActionDefinition>, Stop> {
    let text = listed(context).map_err(|stop| stop.attributed_to(&["actions.params-typed"]))?;
    let list: ActionList = document("list_actions", Payload::Text(text))
        .map_err(|stop| stop.attributed_to(&["actions.params-typed"]))?;
    if list.actions.is_empty() {
        return Err(Stop::skip("the plugin has no actions"));
    }
    Ok(list.actions)
}

fn unique_stable(context: &CaseContext) -> CaseResult {
    let mut names = HashSet::new();
    for action in actions(context)? {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if action.name.is_empty() || !action.name.chars().all(fits) {
            return Err(Stop::fail(format!("an action is called {:?}", action.name)));
        }
        if !names.insert(action.name.clone()) {
            return Err(Stop::fail(format!("`{}` is listed twice", action.name)));
        }
    }
    let first = listed(context)?;
    let mut setup = context.set_up(Mode::Closed)?;
    let config = setup.backends.config.clone();
    setup.worker.create(1, &config)?;
    for instance in [0, 0, 1] {
        let ask = method(instance, Method::ListActions, "");
        if setup.worker.ask(ask)?.payload != Payload::Text(first.clone()) {
            return Err(Stop::fail("two calls listed different actions"));
        }
    }
    Ok(())
}

fn params_typed(context: &CaseContext) -> CaseResult {
    let text = listed(context)?;
    let list: ActionList = document("list_actions", Payload::Text(text))?;
    if list.actions.is_empty() {
        return Err(Stop::skip("the plugin has no actions"));
    }
    for action in &list.actions {
        let wrong = |what: String| Err(Stop::fail(format!("`{}`: {what}", action.name)));
        let schema = &action.params_schema;
        if validator(schema).is_none() || schema["type"] != "object" {
            return wrong("its params_schema is not the schema of an object".into());
        }
        if schema["additionalProperties"] != false {
            return wrong("its schema allows parameters that it does not name".into());
        }
        for (name, property) in Property::root(schema).properties() {
            if property.kinds().next().is_none() && property.keyword("enum").is_none() {
                return wrong(format!("parameter `{name}` has no type"));
            }
        }
    }
    Ok(())
}

fn risk_declared(context: &CaseContext) -> CaseResult {
    let text = listed(context).map_err(|stop| stop.attributed_to(&["actions.params-typed"]))?;
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
            return wrong("it does not declare whether it is idempotent");
        }
        if action["description"]
            .as_str()
            .is_none_or(|text| text.trim().len() < 10)
        {
            return wrong("its description has less than 10 characters");
        }
    }
    Ok(())
}

fn inverse_exists(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let invariants = &setup.descriptor.invariants;
    let names: HashSet<_> = invariants.iter().map(|i| i.name.clone()).collect();
    let suggested: Vec<_> = invariants
        .iter()
        .flat_map(|i| {
            i.suggested_actions
                .iter()
                .map(|action| (i.name.clone(), action.clone()))
        })
        .collect();
    let actions = setup.worker.actions(0)?;
    for (invariant, action) in suggested {
        if !actions.iter().any(|known| known.name == action) {
            let what = format!("invariant {invariant} suggests `{action}`, which is not listed");
            return Err(Stop::fail(what));
        }
    }
    if actions.is_empty() {
        return Err(Stop::skip("the plugin has no actions"));
    }
    for action in &actions {
        if let Some(unknown) = action.mends.iter().find(|fixed| !names.contains(*fixed)) {
            let what = format!(
                "`{}` has {unknown} in mends, which is not a declared invariant",
                action.name
            );
            return Err(Stop::fail(what));
        }
        if let Some(inverse) = &action.inverse {
            fits(action, inverse, &actions)
                .map_err(|what| Stop::fail(format!("`{}`: {what}", action.name)))?;
        }
    }
    Ok(())
}

/// Whether the inverse is listed and gets what it requires.
fn fits(
    action: &ActionDefinition,
    inverse: &Inverse,
    all: &[ActionDefinition],
) -> Result<(), String> {
    let Some(other) = all.iter().find(|other| other.name == inverse.action) else {
        return Err(format!("its inverse `{}` is not listed", inverse.action));
    };
    let required = other.params_schema["required"]
        .as_array()
        .into_iter()
        .flatten();
    for name in required.filter_map(Value::as_str) {
        if !inverse.params.contains_key(name) {
            return Err(format!(
                "its inverse `{}` does not get `{name}`",
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
            return Err(format!(
                "its inverse `{}` has no parameter `{name}`",
                other.name
            ));
        }
        if let InverseParam::Param(own) = from
            && !has(&action.params_schema, own)
        {
            return Err(format!(
                "its inverse gets `{own}`, which is not a parameter of the action"
            ));
        }
    }
    Ok(())
}
