//! Checks of what a plugin declares.

use std::collections::HashSet;

use operator_plugin_api::{ActionDefinition, Description};
use serde_json::Value;

/// Every inverse is an action, and is given each of its required parameters.
pub fn assert_inverses_are_complete(actions: &[ActionDefinition]) {
    for action in actions {
        let Some(inverse) = &action.inverse else {
            continue;
        };
        let other = actions.iter().find(|other| other.name == inverse.action);
        let other =
            other.unwrap_or_else(|| panic!("{}: no action {}", action.name, inverse.action));
        let required = other.params_schema["required"].as_array();
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            let is_given = inverse.params.contains_key(name);
            assert!(is_given, "the inverse of {} lacks {name}", action.name);
        }
    }
}

/// Every parameter has a type and bounds, and no other parameter is accepted.
pub fn assert_params_are_bounded(actions: &[ActionDefinition]) {
    for action in actions {
        let schema = &action.params_schema;
        assert_eq!(schema["additionalProperties"], false, "{}", action.name);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let bounds = ["enum", "oneOf", "maximum", "maxLength"];
            let bounded = property["type"] == "boolean"
                || bounds.iter().any(|keyword| !property[keyword].is_null());
            assert!(bounded, "{}.{name}: {property}", action.name);
        }
    }
}

/// Every action that an invariant suggests exists, and every invariant that an action repairs.
pub fn assert_names_exist(description: &Description, actions: &[ActionDefinition]) {
    let invariants = description.invariants.iter();
    let invariants: HashSet<_> = invariants.map(|i| i.name.as_str()).collect();
    let known: HashSet<_> = actions.iter().map(|action| action.name.as_str()).collect();
    for action in actions {
        for name in &action.mends {
            assert!(
                invariants.contains(name.as_str()),
                "{}: {name}",
                action.name
            );
        }
    }
    for invariant in &description.invariants {
        for name in &invariant.suggested_actions {
            assert!(known.contains(name.as_str()), "{}: {name}", invariant.name);
        }
    }
}

/// The parameters of an action that are marked `x-resource`.
pub fn resources(action: &ActionDefinition) -> Vec<&str> {
    let properties = action.params_schema["properties"].as_object();
    let marked = properties
        .into_iter()
        .flatten()
        .filter(|(_, property)| property["x-resource"] == true);
    marked.map(|(name, _)| name.as_str()).collect()
}
