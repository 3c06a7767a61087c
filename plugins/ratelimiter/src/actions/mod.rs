//! The actions of the rate limiter.

mod carry_out;
mod params;
mod request;

use operator_plugin_api::{ActionDefinition, Inverse, Risk};
use schemars::JsonSchema;

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

    pub(crate) const ALL: [&str; 7] = [
        RESET_COUNTER,
        UPDATE_LIMIT,
        RESTORE_LIMIT,
        BLOCK_KEY,
        UNBLOCK_KEY,
        DRAIN_NODE,
        UNDRAIN_NODE,
    ];
}

/// Every action that `invoke` accepts.
pub(crate) fn definitions() -> Vec<ActionDefinition> {
    let mut definitions = of_keys();
    definitions.extend(of_nodes());
    definitions
}

fn of_keys() -> Vec<ActionDefinition> {
    vec![
        define::<params::Key>(
            names::RESET_COUNTER,
            Risk::Medium,
            "Empties a key's window on all nodes. The key may use its whole limit again at once.",
        )
        .mends([COUNTER_DRIFT, GHOST_ALLOWING, OVER_LIMIT]),
        define::<params::NewLimit>(
            names::UPDATE_LIMIT,
            Risk::Medium,
            "Sets the limit of a key, or of all keys with a prefix (`user:*`), on all nodes.",
        )
        .inverse(
            Inverse::new(names::RESTORE_LIMIT)
                .param("key", "key")
                .detail("had_override", "had_override")
                .detail("limit", "previous_limit")
                .detail("window_ms", "previous_window_ms"),
        )
        .mends([HIGH_BLOCK_RATE]),
        define::<params::PreviousLimit>(
            names::RESTORE_LIMIT,
            Risk::Medium,
            "Undoes an `update_limit`: sets the previous limit, or deletes the override if there was none.",
        ),
        define::<params::Block>(
            names::BLOCK_KEY,
            Risk::Medium,
            "Refuses every check of a key for a while, on all nodes.",
        )
        .inverse(Inverse::new(names::UNBLOCK_KEY).param("key", "key"))
        .mends([GHOST_ALLOWING, OVER_LIMIT]),
        define::<params::Key>(
            names::UNBLOCK_KEY,
            Risk::Low,
            "Ends the block of a key; its limit applies again.",
        )
        .inverse(
            Inverse::new(names::BLOCK_KEY)
                .param("key", "key")
                .detail("duration_seconds", "remaining_seconds"),
        )
        .mends([HIGH_BLOCK_RATE]),
    ]
}

fn of_nodes() -> Vec<ActionDefinition> {
    vec![
        define::<params::Node>(
            names::DRAIN_NODE,
            Risk::Medium,
            "Makes a node refuse checks, so that clients use the other nodes, which must be able to carry its load.",
        )
        .inverse(Inverse::new(names::UNDRAIN_NODE).param("node_id", "node_id"))
        .mends([REDIS_DISCONNECTED, HIGH_LATENCY]),
        define::<params::Node>(
            names::UNDRAIN_NODE,
            Risk::Low,
            "Makes a drained node accept checks again.",
        )
        .inverse(Inverse::new(names::DRAIN_NODE).param("node_id", "node_id")),
    ]
}

/// Every action here sets a state, so it is idempotent.
fn define<P: JsonSchema>(name: &str, risk: Risk, description: &str) -> ActionDefinition {
    ActionDefinition::new::<P>(name, risk, description)
        .idempotent()
        .dry_run()
}

#[cfg(test)]
mod tests {
    use operator_plugin_kit::testing::definitions::{
        assert_inverses_are_complete, assert_names_exist, assert_params_are_bounded, resources,
    };

    use super::*;

    #[test]
    fn what_is_declared_fits_together() {
        let definitions = definitions();
        let declared: Vec<_> = definitions.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(declared, names::ALL);
        assert_inverses_are_complete(&definitions);
        assert_params_are_bounded(&definitions);
        assert_names_exist(&crate::describe::description(), &definitions);
    }

    #[test]
    fn the_resource_of_an_action_is_its_key_or_its_node() {
        for definition in definitions() {
            let of_nodes = definition.name.ends_with("_node");
            let expected = if of_nodes { "node_id" } else { "key" };
            assert_eq!(resources(&definition), [expected], "{}", definition.name);
        }
    }
}
