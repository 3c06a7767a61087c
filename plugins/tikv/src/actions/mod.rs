//! The actions of the cluster.

mod before;
mod execute;
mod follow;
mod params;
mod request;

use operator_plugin_api::{ActionDefinition, Inverse, Risk};
use operator_plugin_kit::params::NoParams;
use schemars::JsonSchema;

pub(crate) use execute::invoke;

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

    pub(crate) const ALL: [&str; 17] = [
        TRANSFER_LEADER,
        TRANSFER_PEER,
        SPLIT_REGION,
        MERGE_REGION,
        SCATTER_REGION,
        CANCEL_OPERATOR,
        DRAIN_STORE,
        UNDRAIN_STORE,
        SET_STORE_LIMIT,
        PAUSE_SCHEDULER,
        RESUME_SCHEDULER,
        SET_LEADER_SCHEDULE_LIMIT,
        SET_REGION_SCHEDULE_LIMIT,
        SET_REPLICA_SCHEDULE_LIMIT,
        SET_LOW_SPACE_THRESHOLD,
        RESIGN_PD_LEADER,
        TRANSFER_PD_LEADER,
    ];
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
        setting::<params::LeaderMove>(
            names::TRANSFER_LEADER,
            Risk::Medium,
            "Moves a region's leader to another store that holds a healthy voter of it, and waits until it is there.",
        )
        .mends([invariants::HIGH_LATENCY, invariants::LEADER_IMBALANCE])
        .inverse(
            Inverse::new(names::TRANSFER_LEADER)
                .param("region_id", "region_id")
                .detail("to_store_id", "previous_leader_store_id"),
        ),
        setting::<params::PeerMove>(
            names::TRANSFER_PEER,
            Risk::High,
            "Moves one of a region's peers, with its data, to another store, and waits until it is there, which can take minutes.",
        )
        .mends([invariants::LOW_DISK_SPACE, invariants::UNDER_REPLICATED])
        .inverse(
            Inverse::new(names::TRANSFER_PEER)
                .param("region_id", "region_id")
                .param("from_store_id", "to_store_id")
                .param("to_store_id", "from_store_id"),
        ),
        repeating::<params::Split>(
            names::SPLIT_REGION,
            Risk::Medium,
            "Splits a region in two, in the middle or at a key. PD may merge small regions again.",
        )
        .mends([invariants::HIGH_LATENCY])
        .inverse(
            Inverse::new(names::MERGE_REGION)
                .detail("source_region_id", "new_region_id")
                .param("target_region_id", "region_id"),
        ),
        repeating::<params::Merge>(
            names::MERGE_REGION,
            Risk::Medium,
            "Merges a region into its neighbour. Both must be healthy and fully replicated.",
        )
        .inverse(
            Inverse::new(names::SPLIT_REGION)
                .param("region_id", "target_region_id")
                .value("policy", "usekey")
                .detail("key", "boundary_key"),
        ),
        repeating::<params::Region>(
            names::SCATTER_REGION,
            Risk::Medium,
            "Spreads a region's peers and leader as PD decides. PD may find nothing to do.",
        )
        .mends([invariants::LEADER_IMBALANCE]),
        repeating::<params::Region>(
            names::CANCEL_OPERATOR,
            Risk::Medium,
            "Cancels the operator that PD runs on a region at that moment, whichever it is; what it has done so far remains.",
        ),
    ]
}

fn of_stores() -> Vec<ActionDefinition> {
    vec![
        setting::<params::Store>(
            names::DRAIN_STORE,
            Risk::High,
            "Makes PD move all leaders off a store and keep them off until `undrain_store` (evict-leader). Peers and data stay. The \
             other stores must be able to carry its load.",
        )
        .mends([
            invariants::HIGH_LATENCY,
            invariants::SERVER_BUSY,
            invariants::WRITE_STALL,
        ])
        .inverse(Inverse::new(names::UNDRAIN_STORE).param("store_id", "store_id")),
        setting::<params::Store>(
            names::UNDRAIN_STORE,
            Risk::Low,
            "Ends a `drain_store`: the store may have leaders again, and PD's balance moves them back.",
        )
        .mends([invariants::EVICT_LEADER_LEFT_BEHIND])
        .inverse(Inverse::new(names::DRAIN_STORE).param("store_id", "store_id")),
        setting::<params::StoreLimit>(
            names::SET_STORE_LIMIT,
            Risk::Medium,
            "Sets how many peers a minute PD moves to or from a store. A higher limit repairs faster and slows users down more.",
        )
        .mends([invariants::UNDER_REPLICATED])
        .inverse(
            Inverse::new(names::SET_STORE_LIMIT)
                .param("store_id", "store_id")
                .param("type", "type")
                .detail("rate", "previous_rate"),
        ),
    ]
}

fn of_schedulers() -> Vec<ActionDefinition> {
    vec![
        setting::<params::Pause>(
            names::PAUSE_SCHEDULER,
            Risk::Medium,
            "Pauses one of PD's schedulers for at most an hour; it resumes by itself. PD forgets the pause when its leader changes.",
        )
        .inverse(Inverse::new(names::RESUME_SCHEDULER).param("name", "name")),
        setting::<params::Scheduler>(
            names::RESUME_SCHEDULER,
            Risk::Low,
            "Resumes a paused scheduler at once.",
        )
        .mends([invariants::SCHEDULER_PAUSED_TOO_LONG])
        .inverse(
            Inverse::new(names::PAUSE_SCHEDULER)
                .param("name", "name")
                .detail("seconds", "remaining_seconds"),
        ),
    ]
}

fn of_limits() -> Vec<ActionDefinition> {
    let limit = |name: &str, description: &str, repaired: &str| {
        setting::<params::ScheduleLimit>(name, Risk::Medium, description)
            .mends([repaired])
            .inverse(Inverse::new(name).detail("limit", "previous_limit"))
    };
    vec![
        limit(
            names::SET_LEADER_SCHEDULE_LIMIT,
            "Sets how many leader operators PD runs at a time, for a while with `ttl_seconds` or permanently. 0 stops them.",
            invariants::LEADER_IMBALANCE,
        ),
        limit(
            names::SET_REGION_SCHEDULE_LIMIT,
            "Sets how many region operators PD runs at a time, for a while with `ttl_seconds` or permanently. 0 stops them.",
            invariants::LOW_DISK_SPACE,
        ),
        limit(
            names::SET_REPLICA_SCHEDULE_LIMIT,
            "Sets how many replica operators PD runs at a time, for a while with `ttl_seconds` or permanently. 0 stops repair.",
            invariants::UNDER_REPLICATED,
        ),
        setting::<params::LowSpace>(
            names::SET_LOW_SPACE_THRESHOLD,
            Risk::High,
            "Sets the usage at which a store takes no more regions, for all stores. A higher one brings disks closer to being full.",
        )
        .mends([invariants::LOW_DISK_SPACE])
        .inverse(
            Inverse::new(names::SET_LOW_SPACE_THRESHOLD)
                .detail("used_percent", "previous_used_percent"),
        ),
    ]
}

fn of_pd() -> Vec<ActionDefinition> {
    let back = || Inverse::new(names::TRANSFER_PD_LEADER).detail("name", "previous_leader");
    vec![
        repeating::<NoParams>(
            names::RESIGN_PD_LEADER,
            Risk::High,
            "Makes PD's leader resign in favour of another member. No timestamps are allocated for some seconds, so every \
             transaction waits.",
        )
        .inverse(back()),
        setting::<params::PdMember>(
            names::TRANSFER_PD_LEADER,
            Risk::High,
            "Makes a member PD's leader. No timestamps are allocated for some seconds, so every transaction waits.",
        )
        .inverse(back()),
    ]
}

/// An action that sets a state, so that it is idempotent.
fn setting<P: JsonSchema>(name: &str, risk: Risk, description: &str) -> ActionDefinition {
    repeating::<P>(name, risk, description).idempotent()
}

/// An action that does something each time.
fn repeating<P: JsonSchema>(name: &str, risk: Risk, description: &str) -> ActionDefinition {
    ActionDefinition::new::<P>(name, risk, description).dry_run()
}

#[cfg(test)]
mod tests {
    use operator_plugin_kit::testing::definitions::{
        assert_inverses_are_complete, assert_names_exist, assert_params_are_bounded,
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
}
