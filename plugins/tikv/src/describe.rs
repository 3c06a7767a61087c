//! What the plugin says of itself.

use operator_plugin_api::{
    Description, Invariant,
    Objective::{AtLeast, AtMost},
    Severity::{self, Critical, Info, Warning},
    Slo,
};

use crate::{actions::names as actions, check::names};

/// The official rules wait so long before they fire.
const MINUTE_MS: u64 = 60_000;

pub(crate) fn description() -> Description {
    let mut invariants = of_stores();
    invariants.extend(of_metrics());
    invariants.extend(of_regions());
    invariants.extend(of_pd());
    invariants.extend(of_schedulers());
    Description {
        subject: "tikv",
        description: "A TiKV cluster: stores that hold regions, and the PDs that place them",
        invariants,
        slos: slos(),
    }
}

fn invariant(
    name: &str,
    severity: Severity,
    grace_period_ms: u64,
    description: &str,
    runbook: &str,
) -> Invariant {
    Invariant {
        name: name.into(),
        description: description.into(),
        severity,
        grace_period_ms,
        keep_firing_for_ms: 0,
        suggested_actions: Vec::new(),
        runbook: runbook.into(),
    }
}

fn suggest(actions: &[&str], invariant: Invariant) -> Invariant {
    Invariant {
        suggested_actions: actions.iter().map(|name| (*name).to_owned()).collect(),
        ..invariant
    }
}

fn of_stores() -> Vec<Invariant> {
    vec![
        invariant(
            names::STORE_DOWN,
            Critical,
            MINUTE_MS,
            "PD has heard of every store within `max-store-down-time` (30 minutes). It gives up one that is down and makes new \
             replicas of its regions, if other stores can take them.",
            "1. Is the process there, and its machine? Start it: all it needs is to come back.\n\
             2. If it is lost for good: are `under_replicated` regions becoming fewer? If not, there may be no store to take the \
             peers, and one must be added.",
        ),
        invariant(
            names::STORE_DISCONNECTED,
            Warning,
            MINUTE_MS,
            "PD has heard of every store within 20 s. A store that is disconnected gets no leaders and no peers; its leaders are \
             elected elsewhere.",
            "Is it being restarted? Is it alive and cut off from PD (`curl http://<status address>/status`)? Is its disk or its CPU \
             at a stop?",
        ),
        invariant(
            names::STORE_OFFLINE,
            Info,
            0,
            "No store is being taken out of the cluster. It is done on purpose; the ticket shows that it is under way, and how far.",
            "Nothing, as long as the number of peers on it falls. It stops falling when the others are full or at their store limits.",
        ),
        suggest(
            &[actions::TRANSFER_PEER, actions::SET_REGION_SCHEDULE_LIMIT],
            invariant(
                names::LOW_DISK_SPACE,
                Warning,
                MINUTE_MS,
                "At most 70 % of every store's capacity are used, by whomever; less than 20 % left is critical, because PD then places \
                 nothing there any more, and a store whose disk is full stops.",
                "Compare `own_data_bytes` with what is used: the rest is somebody else's. One store: let PD balance, or move peers. All \
                 stores: add one, or remove data.",
            ),
        ),
    ]
}

fn of_metrics() -> Vec<Invariant> {
    vec![
        suggest(
            &[
                actions::DRAIN_STORE,
                actions::TRANSFER_LEADER,
                actions::SPLIT_REGION,
            ],
            invariant(
                names::HIGH_LATENCY,
                Warning,
                MINUTE_MS,
                "99 of 100 gRPC requests to each store take at most 100 ms, over the last minute.",
                "One store: is its disk slow, is it hot (`hot_stores`), does it stall (`write_stall`)? Draining it moves the load away. \
                 All stores: is the load new, or is PD slow?",
            ),
        ),
        invariant(
            names::RAFT_LOG_LAG,
            Critical,
            MINUTE_MS,
            "The followers of each store's leaders lie at most 5,000 entries behind, at the p99. One that lies further behind cannot take \
             over, and may need a snapshot.",
            "Is a follower's store slow or away? Is a snapshot under way (`sending_snapshots`)? It heals once that store keeps up.",
        ),
        suggest(
            &[actions::DRAIN_STORE],
            invariant(
                names::WRITE_STALL,
                Critical,
                MINUTE_MS,
                "No store's engine holds writes back. It does when compaction cannot keep up.",
                "Is its disk slow or full? Is there a bulk load? Slow the writes down, or drain the store until compaction has caught up.",
            ),
        ),
        suggest(
            &[actions::DRAIN_STORE, actions::SCATTER_REGION],
            invariant(
                names::SERVER_BUSY,
                Critical,
                MINUTE_MS,
                "No store turns requests away because a queue is full. Clients see `server is busy` and wait.",
                "Is it hot (`hot_stores`), or does it stall (`write_stall`)? Spread the load, or slow it down.",
            ),
        ),
    ]
}

fn of_regions() -> Vec<Invariant> {
    vec![
        invariant(
            names::REGION_UNAVAILABLE,
            Critical,
            MINUTE_MS,
            "Every region has a leader on a store that is there. One without can be neither read nor written; it has lost the majority \
             of its peers, or cannot elect.",
            "Bring the stores back that are away: all data is on them. Only if they are lost for good is unsafe recovery an answer, and \
             it loses data; no action of this plugin does it.",
        ),
        suggest(
            &[
                actions::SET_REPLICA_SCHEDULE_LIMIT,
                actions::SET_STORE_LIMIT,
            ],
            invariant(
                names::UNDER_REPLICATED,
                Warning,
                MINUTE_MS,
                "Every region has all its peers, and all of them answer. `down-peer`: a peer has not answered for 10 minutes. `miss-peer`: \
                 there are fewer than the placement rules want; more than 100 such regions are critical.",
                "Which store is away? Is there another that can take the peers? Is repair held up (replica-schedule-limit, store limits, \
                 paused schedulers, a full disk)?",
            ),
        ),
        suggest(
            &[
                actions::RESUME_SCHEDULER,
                actions::SET_LEADER_SCHEDULE_LIMIT,
                actions::SCATTER_REGION,
            ],
            invariant(
                names::LEADER_IMBALANCE,
                Warning,
                10 * MINUTE_MS,
                "No store's leader score is more than 50 %, and more than 10, off the mean. Leaders do the work, so others idle meanwhile.",
                "Is balance-leader-scheduler there and not paused? Has a store just come back, so that leaders are still on their way? Is \
                 leader-schedule-limit 0?",
            ),
        ),
    ]
}

fn of_pd() -> Vec<Invariant> {
    vec![
        invariant(
            names::PD_NO_LEADER,
            Critical,
            10_000,
            "PD has a leader. Without one nothing is scheduled and no timestamp is given, so transactions stop.",
            "Is the majority of the members there? Start those that are away. If they are all there: is etcd's disk slow, are the clocks \
             apart, is the network between them split?",
        ),
        invariant(
            names::PD_MEMBER_DOWN,
            Warning,
            MINUTE_MS,
            "Every member of PD answers the others.",
            "Is the process there, and its machine? Start it. If it is lost for good, remove the member and add another.",
        ),
        invariant(
            names::PD_QUORUM_AT_RISK,
            Critical,
            MINUTE_MS,
            "PD can lose a member without losing its majority. Once a member is away and one more would take the majority along, it cannot.",
            "Bring the member back before anything else is restarted.",
        ),
    ]
}

fn of_schedulers() -> Vec<Invariant> {
    vec![
        suggest(
            &[actions::RESUME_SCHEDULER],
            invariant(
                names::SCHEDULER_PAUSED_TOO_LONG,
                Warning,
                0,
                "No scheduler of PD is paused, and scheduling is not halted, for more than 30 minutes.",
                "Who paused it, and is that work done? A pause ends by itself (`resumes_in_ms`); `halt-scheduling` does not.",
            ),
        ),
        suggest(
            &[actions::UNDRAIN_STORE],
            invariant(
                names::EVICT_LEADER_LEFT_BEHIND,
                Warning,
                0,
                "No evict-leader scheduler holds a store for more than 30 minutes. It stays for ever unless it is removed, and the others \
                 carry the load.",
                "Is somebody still at work on the store? If not, undrain it.",
            ),
        ),
    ]
}

fn slos() -> Vec<Slo> {
    let slo = |name: &str, description: &str, sli: &str, objective, target, unit: &str| Slo {
        name: name.into(),
        description: description.into(),
        sli: sli.into(),
        objective,
        target,
        unit: unit.into(),
    };
    vec![
        slo(
            "write_latency",
            "99 of 100 raft writes take at most 100 ms",
            "write_latency_p99_ms",
            AtMost,
            100.0,
            "ms",
        ),
        slo(
            "disk_usage",
            "At most 70 % of every store's capacity are used",
            "disk_used_percent",
            AtMost,
            70.0,
            "%",
        ),
        slo(
            "store_availability",
            "Every store that is meant to be up is",
            "store_availability_percent",
            AtLeast,
            100.0,
            "%",
        ),
    ]
}
