//! What can be done to the cluster.

mod before;
mod carry_out;
mod follow;
mod params;
mod request;

use operator_plugin_api::{ActionDefinition, Inverse, InverseParam, Risk};
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

pub(crate) use carry_out::invoke;

use crate::check::names as invariants;

/// The names of the actions.
pub(crate) mod names {
    pub(crate) const TRANSFER_LEADER: &str = "transfer_leader";
    pub(crate) const TRANSFER_PEER: &str = "transfer_peer";
    pub(crate) const SPLIT_REGION: &str = "split_region";
    pub(crate) const MERGE_REGION: &str = "merge_region";
    pub(crate) const SCATTER_REGION: &str = "scatter_region";
    pub(crate) const DRAIN_STORE: &str = "drain_store";
    pub(crate) const UNDRAIN_STORE: &str = "undrain_store";
    pub(crate) const SET_STORE_LIMIT: &str = "set_store_limit";
    pub(crate) const PAUSE_SCHEDULER: &str = "pause_scheduler";
    pub(crate) const RESUME_SCHEDULER: &str = "resume_scheduler";
    pub(crate) const SET_LEADER_SCHEDULE_LIMIT: &str = "set_leader_schedule_limit";
    pub(crate) const SET_REGION_SCHEDULE_LIMIT: &str = "set_region_schedule_limit";
    pub(crate) const SET_REPLICA_SCHEDULE_LIMIT: &str = "set_replica_schedule_limit";
    pub(crate) const SET_LOW_SPACE_THRESHOLD: &str = "set_low_space_threshold";
    pub(crate) const CANCEL_OPERATOR: &str = "cancel_operator";
    pub(crate) const RESIGN_PD_LEADER: &str = "resign_pd_leader";
    pub(crate) const TRANSFER_PD_LEADER: &str = "transfer_pd_leader";
}

/// Every action that `invoke` accepts.
pub(crate) fn definitions() -> Vec<ActionDefinition> {
    let mut definitions = of_regions();
    definitions.extend(of_stores());
    definitions.extend(of_schedulers());
    definitions.extend(of_limits());
    definitions.extend(of_pd());
    definitions
}

fn of_regions() -> Vec<ActionDefinition> {
    vec![
        define::<params::LeaderMove>(
            names::TRANSFER_LEADER,
            "Moves a region's leader to another store that holds a healthy voter of it, and waits until it is there.",
            Risk::Medium,
        )
        .mends(&[invariants::HIGH_LATENCY, invariants::LEADER_IMBALANCE])
        .undone_by(names::TRANSFER_LEADER, &[("region_id", param("region_id")), ("to_store_id", detail("previous_leader_store_id"))])
        .done(),
        define::<params::PeerMove>(
            names::TRANSFER_PEER,
            "Moves one of a region's peers, with its data, to another store, and waits until it is there, which can take minutes.",
            Risk::High,
        )
        .mends(&[invariants::LOW_DISK_SPACE, invariants::UNDER_REPLICATED])
        .undone_by(
            names::TRANSFER_PEER,
            &[("region_id", param("region_id")), ("from_store_id", param("to_store_id")), ("to_store_id", param("from_store_id"))],
        )
        .done(),
        define::<params::Split>(
            names::SPLIT_REGION,
            "Splits a region in two, in the middle or at a key. PD may merge small ones again.",
            Risk::Medium,
        )
        .repeats()
        .mends(&[invariants::HIGH_LATENCY])
        .undone_by(
            names::MERGE_REGION,
            &[("source_region_id", detail("new_region_id")), ("target_region_id", param("region_id"))],
        )
        .done(),
        define::<params::Merge>(
            names::MERGE_REGION,
            "Merges a region into its neighbour. Both must be healthy and fully replicated.",
            Risk::Medium,
        )
        .repeats()
        .undone_by(
            names::SPLIT_REGION,
            &[("region_id", param("target_region_id")), ("policy", value(json!("usekey"))), ("key", detail("boundary_key"))],
        )
        .done(),
        define::<params::Region>(
            names::SCATTER_REGION,
            "Spreads a region's peers and leader as PD sees fit. PD may find nothing to do.",
            Risk::Medium,
        )
        .repeats()
        .mends(&[invariants::LEADER_IMBALANCE])
        .done(),
        define::<params::Region>(
            names::CANCEL_OPERATOR,
            "Cancels the operator that PD runs on a region; what it has done so far stays. Whatever runs at that moment is meant.",
            Risk::Medium,
        )
        .repeats()
        .done(),
    ]
}

fn of_stores() -> Vec<ActionDefinition> {
    let store = [("store_id", param("store_id"))];
    vec![
        define::<params::Store>(
            names::DRAIN_STORE,
            "Has PD move all leaders off a store and keep them off until `undrain_store` (evict-leader). Peers and data stay. The \
             others must be able to carry its load.",
            Risk::High,
        )
        .mends(&[invariants::HIGH_LATENCY, invariants::SERVER_BUSY, invariants::WRITE_STALL])
        .undone_by(names::UNDRAIN_STORE, &store)
        .done(),
        define::<params::Store>(
            names::UNDRAIN_STORE,
            "Ends a `drain_store`: the store takes leaders again, and PD's balance brings them.",
            Risk::Low,
        )
        .mends(&[invariants::EVICT_LEADER_LEFT_BEHIND])
        .undone_by(names::DRAIN_STORE, &store)
        .done(),
        define::<params::StoreLimit>(
            names::SET_STORE_LIMIT,
            "Sets how many peers a minute PD moves to or from a store. More heals sooner and takes more from users.",
            Risk::Medium,
        )
        .mends(&[invariants::UNDER_REPLICATED])
        .undone_by(
            names::SET_STORE_LIMIT,
            &[("store_id", param("store_id")), ("type", param("type")), ("rate", detail("previous_rate"))],
        )
        .done(),
    ]
}

fn of_schedulers() -> Vec<ActionDefinition> {
    vec![
        define::<params::Pause>(
            names::PAUSE_SCHEDULER,
            "Pauses one of PD's schedulers for at most an hour; it goes on by itself. PD forgets the pause when its leader changes.",
            Risk::Medium,
        )
        .undone_by(names::RESUME_SCHEDULER, &[("name", param("name"))])
        .done(),
        define::<params::Scheduler>(names::RESUME_SCHEDULER, "Has a paused scheduler go on at once.", Risk::Low)
            .mends(&[invariants::SCHEDULER_PAUSED_TOO_LONG])
            .undone_by(names::PAUSE_SCHEDULER, &[("name", param("name")), ("seconds", detail("remaining_seconds"))])
            .done(),
    ]
}

fn of_limits() -> Vec<ActionDefinition> {
    let limit = |name, description, mended: &[&str]| {
        define::<params::ScheduleLimit>(name, description, Risk::Medium)
            .mends(mended)
            .undone_by(name, &[("limit", detail("previous_limit"))])
            .done()
    };
    vec![
        limit(
            names::SET_LEADER_SCHEDULE_LIMIT,
            "Sets how many leader operators PD runs at a time, for a while with `ttl_seconds` or for good. 0 stops them.",
            &[invariants::LEADER_IMBALANCE],
        ),
        limit(
            names::SET_REGION_SCHEDULE_LIMIT,
            "Sets how many region operators PD runs at a time, for a while with `ttl_seconds` or for good. 0 stops them.",
            &[invariants::LOW_DISK_SPACE],
        ),
        limit(
            names::SET_REPLICA_SCHEDULE_LIMIT,
            "Sets how many replica operators PD runs at a time, for a while with `ttl_seconds` or for good. 0 stops repair.",
            &[invariants::UNDER_REPLICATED],
        ),
        define::<params::LowSpace>(
            names::SET_LOW_SPACE_THRESHOLD,
            "Sets from which fill on a store takes no more regions, for all stores. A higher one brings disks closer to being full.",
            Risk::High,
        )
        .mends(&[invariants::LOW_DISK_SPACE])
        .undone_by(names::SET_LOW_SPACE_THRESHOLD, &[("used_percent", detail("previous_used_percent"))])
        .done(),
    ]
}

fn of_pd() -> Vec<ActionDefinition> {
    let back = || [("name", detail("previous_leader"))];
    vec![
        define::<params::None>(
            names::RESIGN_PD_LEADER,
            "Has PD's leader hand over to another member. No timestamps are given for some seconds, so every transaction waits.",
            Risk::High,
        )
        .repeats()
        .undone_by(names::TRANSFER_PD_LEADER, &back())
        .done(),
        define::<params::PdMember>(
            names::TRANSFER_PD_LEADER,
            "Makes a member PD's leader. No timestamps are given for some seconds, so every transaction waits.",
            Risk::High,
        )
        .undone_by(names::TRANSFER_PD_LEADER, &back())
        .done(),
    ]
}

/// An action that is being described. It sets a state, and so is idempotent, unless it says that it repeats.
struct Define(ActionDefinition);

fn define<P: JsonSchema>(name: &str, description: &str, risk: Risk) -> Define {
    Define(ActionDefinition {
        name: name.into(),
        description: description.into(),
        params_schema: schema_for!(P).to_value(),
        risk,
        idempotent: true,
        inverse: None,
        mends: Vec::new(),
        dry_run: true,
    })
}

impl Define {
    fn repeats(mut self) -> Self {
        self.0.idempotent = false;
        self
    }

    fn mends(mut self, invariants: &[&str]) -> Self {
        self.0.mends = invariants.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    fn undone_by(mut self, action: &str, params: &[(&str, InverseParam)]) -> Self {
        let params = params
            .iter()
            .map(|(name, from)| ((*name).to_owned(), from.clone()));
        self.0.inverse = Some(Inverse {
            action: action.into(),
            params: params.collect(),
        });
        self
    }

    fn done(self) -> ActionDefinition {
        self.0
    }
}

fn param(name: &str) -> InverseParam {
    InverseParam::Param(name.into())
}

fn detail(name: &str) -> InverseParam {
    InverseParam::Detail(name.into())
}

fn value(value: Value) -> InverseParam {
    InverseParam::Value(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inverse_is_an_action_and_gets_each_of_its_required_parameters() {
        let all = definitions();
        assert_eq!(all.len(), 17);
        for definition in &all {
            let Some(inverse) = &definition.inverse else {
                continue;
            };
            let other = all
                .iter()
                .find(|other| other.name == inverse.action)
                .unwrap();
            let none = Vec::new();
            let required = other.params_schema["required"].as_array().unwrap_or(&none);
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
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let enumerated = !property["enum"].is_null() || !property["oneOf"].is_null();
                let bounded = enumerated
                    || !property["maximum"].is_null()
                    || !property["maxLength"].is_null();
                assert!(bounded, "{}.{name}: {property}", definition.name);
            }
        }
    }

    #[test]
    fn whatever_is_mended_or_suggested_exists() {
        let description = crate::describe::description();
        let actions = definitions();
        for action in &actions {
            for name in &action.mends {
                assert!(
                    description
                        .invariants
                        .iter()
                        .any(|invariant| invariant.name == *name),
                    "{name}"
                );
            }
        }
        for invariant in &description.invariants {
            for name in &invariant.suggested_actions {
                assert!(actions.iter().any(|action| action.name == *name), "{name}");
            }
        }
    }
}
