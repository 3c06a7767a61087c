//! What can be done to the rate limiter.

mod carry_out;
mod params;
mod request;

use operator_plugin_api::{ActionDefinition, Inverse, InverseParam, Risk};
use schemars::{JsonSchema, schema_for};

pub(crate) use carry_out::Invoker;

use crate::check::names::{
    COUNTER_DRIFT, GHOST_ALLOWING, HIGH_BLOCK_RATE, HIGH_LATENCY, OVER_LIMIT, REDIS_DISCONNECTED,
};

/// The names of the actions.
pub(crate) mod names {
    pub(crate) const RESET_COUNTER: &str = "reset_counter";
    pub(crate) const UPDATE_LIMIT: &str = "update_limit";
    pub(crate) const RESTORE_LIMIT: &str = "restore_limit";
    pub(crate) const BLOCK_KEY: &str = "block_key";
    pub(crate) const UNBLOCK_KEY: &str = "unblock_key";
    pub(crate) const DRAIN_NODE: &str = "drain_node";
    pub(crate) const UNDRAIN_NODE: &str = "undrain_node";
}

/// Every action that `invoke` accepts.
pub(crate) fn definitions() -> Vec<ActionDefinition> {
    let mut definitions = of_keys();
    definitions.extend(of_nodes());
    definitions
}

fn of_keys() -> Vec<ActionDefinition> {
    vec![
        ActionDefinition {
            mends: mends(&[COUNTER_DRIFT, GHOST_ALLOWING, OVER_LIMIT]),
            ..define::<params::Key>(
                names::RESET_COUNTER,
                "Empties a key's window on all nodes. The key may at once use its whole limit again.",
                Risk::Medium,
            )
        },
        ActionDefinition {
            inverse: inverse(
                names::RESTORE_LIMIT,
                &[
                    ("key", InverseParam::Param("key".into())),
                    ("had_override", InverseParam::Detail("had_override".into())),
                    ("limit", InverseParam::Detail("previous_limit".into())),
                    (
                        "window_ms",
                        InverseParam::Detail("previous_window_ms".into()),
                    ),
                ],
            ),
            mends: mends(&[HIGH_BLOCK_RATE]),
            ..define::<params::NewLimit>(
                names::UPDATE_LIMIT,
                "Sets the limit of a key, or of all keys with a prefix (`user:*`), on all nodes.",
                Risk::Medium,
            )
        },
        define::<params::PreviousLimit>(
            names::RESTORE_LIMIT,
            "Takes an `update_limit` back: sets the limit that was there before, or deletes the override if there was none.",
            Risk::Medium,
        ),
        ActionDefinition {
            inverse: inverse(
                names::UNBLOCK_KEY,
                &[("key", InverseParam::Param("key".into()))],
            ),
            mends: mends(&[GHOST_ALLOWING, OVER_LIMIT]),
            ..define::<params::Block>(
                names::BLOCK_KEY,
                "Refuses every check of a key for a while, on all nodes.",
                Risk::Medium,
            )
        },
        ActionDefinition {
            inverse: inverse(
                names::BLOCK_KEY,
                &[
                    ("key", InverseParam::Param("key".into())),
                    (
                        "duration_seconds",
                        InverseParam::Detail("remaining_seconds".into()),
                    ),
                ],
            ),
            mends: mends(&[HIGH_BLOCK_RATE]),
            ..define::<params::Key>(
                names::UNBLOCK_KEY,
                "Ends the block of a key; its limit holds again.",
                Risk::Low,
            )
        },
    ]
}

fn of_nodes() -> Vec<ActionDefinition> {
    let node = || [("node_id", InverseParam::Param("node_id".into()))];
    vec![
        ActionDefinition {
            inverse: inverse(names::UNDRAIN_NODE, &node()),
            mends: mends(&[REDIS_DISCONNECTED, HIGH_LATENCY]),
            ..define::<params::Node>(
                names::DRAIN_NODE,
                "Makes a node refuse checks, so that clients go to the others. These must be able to carry its load.",
                Risk::Medium,
            )
        },
        ActionDefinition {
            inverse: inverse(names::DRAIN_NODE, &node()),
            ..define::<params::Node>(
                names::UNDRAIN_NODE,
                "Makes a drained node take checks again.",
                Risk::Low,
            )
        },
    ]
}

/// Every action here sets a state, so doing it twice is doing it once.
fn define<P: JsonSchema>(name: &str, description: &str, risk: Risk) -> ActionDefinition {
    ActionDefinition {
        name: name.into(),
        description: description.into(),
        params_schema: schema_for!(P).to_value(),
        risk,
        idempotent: true,
        inverse: None,
        mends: Vec::new(),
        dry_run: true,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the field that it fills is optional"
)]
fn inverse(action: &str, params: &[(&str, InverseParam)]) -> Option<Inverse> {
    let params = params
        .iter()
        .map(|(name, from)| ((*name).to_owned(), from.clone()));
    Some(Inverse {
        action: action.into(),
        params: params.collect(),
    })
}

fn mends(invariants: &[&str]) -> Vec<String> {
    invariants.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inverse_is_an_action_and_gets_each_of_its_required_parameters() {
        let all = definitions();
        for definition in &all {
            let Some(inverse) = &definition.inverse else {
                continue;
            };
            let other = all
                .iter()
                .find(|other| other.name == inverse.action)
                .unwrap();
            let required = other.params_schema["required"].as_array().unwrap();
            let given: Vec<_> = inverse.params.keys().map(String::as_str).collect();
            for name in required {
                assert!(
                    given.contains(&name.as_str().unwrap()),
                    "{} lacks {name}",
                    definition.name
                );
            }
        }
    }

    #[test]
    fn every_parameter_is_typed_and_bounded_and_no_other_is_accepted() {
        for definition in definitions() {
            let schema = &definition.params_schema;
            assert_eq!(schema["additionalProperties"], false, "{}", definition.name);
            for (name, property) in schema["properties"].as_object().unwrap() {
                let bounded = property["type"] == "boolean"
                    || !property["maximum"].is_null()
                    || !property["maxLength"].is_null();
                assert!(bounded, "{}.{name}: {property}", definition.name);
            }
        }
    }
    #[test]
    fn what_is_touched_is_the_key_or_the_node_and_nothing_else() {
        for definition in definitions() {
            let properties = definition.params_schema["properties"].as_object().unwrap();
            let marked = properties
                .iter()
                .filter(|(_, property)| property["x-resource"] == true);
            let names: Vec<_> = marked.map(|(name, _)| name.as_str()).collect();
            let of_nodes = definition.name.ends_with("_node");
            let expected = if of_nodes { "node_id" } else { "key" };
            assert_eq!(names, [expected], "{}", definition.name);
        }
    }
}
