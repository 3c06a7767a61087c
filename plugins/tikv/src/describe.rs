//! The plugin's description: invariants, runbooks and service level objectives.

use std::time::Duration;

use operator_plugin_api::{
    Description, Invariant,
    Severity::{Critical, Info, Warning},
    Slo,
};

use crate::{
    actions::names as actions,
    check::{STORE, names},
};

/// The official alert rules wait this long before they fire.
const MINUTE: Duration = Duration::from_mins(1);

pub(crate) fn description() -> Description {
    let mut invariants = of_stores();
    invariants.extend(of_metrics());
    invariants.extend(of_regions());
    invariants.extend(of_pd());
    invariants.extend(of_schedulers());
    Description::new(
        "tikv",
        "A TiKV cluster: stores that hold regions, and the PDs that place them",
    )
    .invariants(invariants)
    .slos(slos())
}

fn of_stores() -> Vec<Invariant> {
    vec![
        Invariant::new(
            names::STORE_DOWN,
            Critical,
            "PD has received a heartbeat of every store within `max-store-down-time` (30 minutes). PD replaces a store that is down: \
             it makes new replicas of its regions, if other stores can take them.",
        )
        .on(STORE)
        .grace_period(MINUTE)
        .runbook(
            "1. Is the machine up, and is the process running? Start it: nothing else is needed.\n\
             2. If it is lost for good: does the number of `under_replicated` regions fall? If not, there may be no store that can \
             take the peers, and one must be added.",
        ),
        Invariant::new(
            names::STORE_DISCONNECTED,
            Warning,
            "PD has received a heartbeat of every store within 20 s. A store that is disconnected gets no leaders and no peers; its \
             leaders are elected elsewhere.",
        )
        .on(STORE)
        .grace_period(MINUTE)
        .runbook(
            "Is it being restarted? Is it alive but cut off from PD (`curl http://<status address>/status`)? Is its disk or its CPU \
             saturated?",
        ),
        Invariant::new(
            names::STORE_OFFLINE,
            Info,
            "No store is being removed from the cluster. This is done on purpose; the ticket shows that it is in progress, and how far.",
        )
        .on(STORE)
        .runbook(
            "Nothing, as long as the number of peers on it falls. It stops falling when the other stores are full or at their store \
             limits.",
        ),
        Invariant::new(
            names::LOW_DISK_SPACE,
            Warning,
            "At most 70 % of every store's capacity is used, by any program. Less than 20 % left is critical, because PD then places \
             nothing there any more, and a store with a full disk stops.",
        )
        .on(STORE)
        .grace_period(MINUTE)
        .suggested_actions([actions::TRANSFER_PEER, actions::SET_REGION_SCHEDULE_LIMIT])
        .runbook(
            "Compare `own_data_bytes` with what is used: other programs use the rest. A single store: let PD balance, or move peers. All \
             stores: add one, or remove data.",
        ),
    ]
}

fn of_metrics() -> Vec<Invariant> {
    vec![
        Invariant::new(
            names::HIGH_LATENCY,
            Warning,
            "99 of 100 gRPC requests to each store take at most 100 ms, over the last minute.",
        )
        .on(STORE)
        .grace_period(MINUTE)
        .suggested_actions([
            actions::DRAIN_STORE,
            actions::TRANSFER_LEADER,
            actions::SPLIT_REGION,
        ])
        .runbook(
            "A single store: is its disk slow, is it hot (`hot_stores`), does it stall (`write_stall`)? Draining it moves the load away. \
             All stores: is the load new, or is PD slow?",
        ),
        Invariant::new(
            names::RAFT_LOG_LAG,
            Critical,
            "The followers of each store's leaders are at most 5,000 entries behind, at the p99. A follower that is further behind cannot \
             take over, and may need a snapshot.",
        )
        .on(STORE)
        .grace_period(MINUTE)
        .runbook(
            "Is the store of a follower slow or down? Is a snapshot in progress (`sending_snapshots`)? It recovers once that store keeps up.",
        ),
        Invariant::new(
            names::WRITE_STALL,
            Critical,
            "No store's engine delays writes. It does when compaction cannot keep up.",
        )
        .on(STORE)
        .grace_period(MINUTE)
        .suggested_actions([actions::DRAIN_STORE])
        .runbook(
            "Is its disk slow or full? Is there a bulk load? Reduce the writes, or drain the store until compaction has caught up.",
        ),
        Invariant::new(
            names::SERVER_BUSY,
            Critical,
            "No store rejects requests because a queue is full. Clients see `server is busy` and wait.",
        )
        .on(STORE)
        .grace_period(MINUTE)
        .suggested_actions([actions::DRAIN_STORE, actions::SCATTER_REGION])
        .runbook("Is it hot (`hot_stores`), or does it stall (`write_stall`)? Spread the load, or reduce it."),
    ]
}

fn of_regions() -> Vec<Invariant> {
    vec![
        Invariant::new(
            names::REGION_UNAVAILABLE,
            Critical,
            "Every region has a leader on a store that is up. A region without a leader can be neither read nor written; it has lost the \
             majority of its peers, or cannot elect a leader.",
        )
        .grace_period(MINUTE)
        .runbook(
            "Bring back the stores that are down: all data is on them. Only if they are lost for good is unsafe recovery an option, and it \
             loses data; no action of this plugin does it.",
        ),
        Invariant::new(
            names::UNDER_REPLICATED,
            Warning,
            "Every region has all its peers, and all of them answer. `down-peer`: a peer has not answered for 10 minutes. `miss-peer`: \
             there are fewer than the placement rules require; more than 100 such regions are critical.",
        )
        .grace_period(MINUTE)
        .suggested_actions([
            actions::SET_REPLICA_SCHEDULE_LIMIT,
            actions::SET_STORE_LIMIT,
        ])
        .runbook(
            "Which store is down? Is there another one that can take the peers? Is the repair blocked (replica-schedule-limit, store limits, \
             paused schedulers, a full disk)?",
        ),
        Invariant::new(
            names::LEADER_IMBALANCE,
            Warning,
            "No store's leader score is more than 50 %, and more than 10, off the mean. Leaders do the work, so the other stores are idle.",
        )
        .grace_period(10 * MINUTE)
        .suggested_actions([
            actions::RESUME_SCHEDULER,
            actions::SET_LEADER_SCHEDULE_LIMIT,
            actions::SCATTER_REGION,
        ])
        .runbook(
            "Does balance-leader-scheduler exist, and is it not paused? Has a store just come back, so that leaders are still being moved? Is \
             leader-schedule-limit 0?",
        ),
    ]
}

fn of_pd() -> Vec<Invariant> {
    vec![
        Invariant::new(
            names::PD_NO_LEADER,
            Critical,
            "PD has a leader. Without one nothing is scheduled and no timestamps are allocated, so transactions stop.",
        )
        .grace_period(Duration::from_secs(10))
        .runbook(
            "Is the majority of the members running? Start those that are down. If all are running: is etcd's disk slow, do the clocks differ, \
             is the network between them partitioned?",
        ),
        Invariant::new(
            names::PD_MEMBER_DOWN,
            Warning,
            "Every member of PD answers the others.",
        )
        .grace_period(MINUTE)
        .runbook(
            "Is the machine up, and is the process running? Start it. If it is lost for good, remove the member and add another one.",
        ),
        Invariant::new(
            names::PD_QUORUM_AT_RISK,
            Critical,
            "PD can lose a member without losing its majority. Once a member is down and the loss of one more would lose the majority, it \
             cannot.",
        )
        .grace_period(MINUTE)
        .runbook("Bring the member back before anything else is restarted."),
    ]
}

fn of_schedulers() -> Vec<Invariant> {
    vec![
        Invariant::new(
            names::SCHEDULER_PAUSED_TOO_LONG,
            Warning,
            "No scheduler of PD is paused, and scheduling is not halted, for more than 30 minutes.",
        )
        .suggested_actions([actions::RESUME_SCHEDULER])
        .runbook(
            "Who paused it, and is that work done? A pause ends by itself (`resumes_in_ms`); `halt-scheduling` does not.",
        ),
        Invariant::new(
            names::EVICT_LEADER_LEFT_BEHIND,
            Warning,
            "No evict-leader scheduler holds a store for more than 30 minutes. It stays until it is removed, and the other stores carry the \
             load.",
        )
        .suggested_actions([actions::UNDRAIN_STORE])
        .runbook("Is anyone still working on the store? If not, undrain it."),
    ]
}

fn slos() -> [Slo; 3] {
    [
        Slo::at_most("write_latency", "write_latency_p99_ms", 100.0)
            .unit("ms")
            .description("99 of 100 raft writes take at most 100 ms"),
        Slo::at_most("disk_usage", "disk_used_percent", 70.0)
            .unit("%")
            .description("At most 70 % of every store's capacity is used"),
        Slo::at_least("store_availability", "store_availability_percent", 100.0)
            .unit("%")
            .description("Every store that should be up is up"),
    ]
}
