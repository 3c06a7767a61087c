//! The plugin's description: invariants, runbooks and service level objectives.

use std::time::Duration;

use operator_plugin_api::{Description, Invariant, Severity, Slo};

use crate::{
    actions::names as actions,
    check::names,
    observe::KEY,
    roster::{NODE, REDIS_CLIENT},
};

pub(crate) fn description() -> Description {
    Description::new(
        "ratelimiter",
        "A distributed rate limiter: nodes that share their counters in Redis",
    )
    .invariants([
        node_down(),
        redis_disconnected(),
        checks_failing(),
        high_latency(),
        counter_drift(),
        ghost_allowing(),
        high_block_rate(),
        over_limit(),
    ])
    .slos(slos())
}

fn node_down() -> Invariant {
    Invariant::new(
        names::NODE_DOWN,
        Severity::Critical,
        "Every node answers its own /health, unless it drains or has signed off. A node that does not answer serves no checks, \
         so its clients are either not limited or not served.",
    )
    .on(NODE)
    .runbook(
        "1. Is the machine up? Is the process there, and is it running rather than stopped?\n\
         2. Does `curl http://<address>/health` answer from another node's machine? Then the network in between is the cause.\n\
         3. Restart it. No action of this plugin can: the service does not manage processes.",
    )
}

fn redis_disconnected() -> Invariant {
    Invariant::new(
        names::REDIS_DISCONNECTED,
        Severity::Critical,
        "Redis answers, and every node that answers reaches it. Without Redis the nodes deny all checks or allow all, depending \
         on their configuration. With a resource, only that node has lost Redis.",
    )
    .on(REDIS_CLIENT)
    .suggested_actions([actions::DRAIN_NODE])
    .runbook(
        "Without a resource: Redis itself is down or hangs. Check `redis-cli PING`, its log, its memory and `CLIENT LIST`.\n\n\
         With a resource: the connection between that node and Redis is broken. Drain the node, so that clients use the others, \
         and check its network and Redis's `maxclients`.",
    )
}

fn checks_failing() -> Invariant {
    Invariant::new(
        names::CHECKS_FAILING,
        Severity::Critical,
        "Of the checks of each node, at most `failed_checks_percent` fail. They can fail although the node and Redis answer: Redis \
         may have become a replica, have no room, be paused for writing, or have changed this user's rights.",
    )
    .on(NODE)
    .grace_period(Duration::from_secs(10))
    .suggested_actions([actions::DRAIN_NODE])
    .runbook(
        "Send one check: `curl -d '{\"key\":\"probe\"}' http://<address>/check`, and read the node's log. On Redis: `INFO \
         replication` (is it a replica?), `INFO persistence` (MISCONF stops writing), `INFO memory`, `CLIENT LIST`, `ACL LOG`.\n\n\
         Only one node: its connection or its user. Drain it, so that clients use the others.",
    )
}

fn high_latency() -> Invariant {
    Invariant::new(
        names::HIGH_LATENCY,
        Severity::Warning,
        "The p99 of checks over the last minute stays within `latency_p99_ms`. Every request of every client waits for its check.",
    )
    .grace_period(Duration::from_mins(1))
    .suggested_actions([actions::DRAIN_NODE])
    .runbook(
        "Compare `latency.p99_ms_by_node`: a single slow node can be drained. If all are slow, compare `redis.ping_ms` and the \
         nodes' `redis_latency_ms`: Redis is the usual cause (a slow command, swapping, a saturated CPU).",
    )
}

fn counter_drift() -> Invariant {
    Invariant::new(
        names::COUNTER_DRIFT,
        Severity::Warning,
        "For each key, the count in Redis and the sum of what the nodes allowed within the window agree within \
         `counter_drift_percent`. Otherwise limits are enforced on wrong numbers.",
    )
    .on(KEY)
    .grace_period(Duration::from_secs(30))
    .suggested_actions([actions::RESET_COUNTER])
    .runbook(
        "The nodes allowed more than Redis counts: checks were allowed without Redis (`allow` on Redis errors), or Redis lost \
         writes. Redis counts more than the nodes allowed: another program writes these keys, or a clock is wrong.",
    )
}

fn ghost_allowing() -> Invariant {
    Invariant::new(
        names::GHOST_ALLOWING,
        Severity::Critical,
        "For each key, the nodes together allow no more than its limit within one window. If they allow more, the rate limiter \
         fails at its purpose.",
    )
    .on(KEY)
    .suggested_actions([actions::BLOCK_KEY, actions::RESET_COUNTER])
    .runbook(
        "Was Redis unavailable while the nodes are configured to allow? Then it ends with the window. Otherwise checks are not \
         atomic, or a node does not enforce limits: compare `allowed_in_window` of the nodes, and drain the one that differs.",
    )
}

fn high_block_rate() -> Invariant {
    Invariant::new(
        names::HIGH_BLOCK_RATE,
        Severity::Warning,
        "At most `block_rate_percent` of all checks are blocked. A higher share is an attack, a client in a loop, or a limit \
         that is too low.",
    )
    .grace_period(Duration::from_mins(1))
    .suggested_actions([actions::UNBLOCK_KEY, actions::UPDATE_LIMIT])
    .runbook(
        "Check `hot_keys` and `blocks`. A single key: a client in a loop or an attack, and blocking is right. Many keys: was a \
         limit lowered, or the default changed?",
    )
}

fn over_limit() -> Invariant {
    Invariant::new(
        names::OVER_LIMIT,
        Severity::Warning,
        "For each key, Redis counts no more than the key's limit in the window. A key at its limit is full, which is normal; \
         only checks that are not atomic, or another program, can exceed it.",
    )
    .on(KEY)
    .suggested_actions([actions::RESET_COUNTER, actions::BLOCK_KEY])
    .runbook(
        "Is `ghost_allowing` open for the same key? Then the nodes allow too much. Otherwise another program writes the key in \
         Redis (`MONITOR`), and the key's users are blocked for no reason: reset the counter.",
    )
}

fn slos() -> [Slo; 4] {
    [
        Slo::at_most("check_latency", "latency_p99_ms", 10.0)
            .unit("ms")
            .description("99 of 100 checks take at most 10 ms"),
        Slo::at_most("false_blocks", "false_block_rate_percent", 0.01)
            .unit("%")
            .description("Checks of keys below their limit are not blocked"),
        Slo::at_least("node_availability", "node_availability_percent", 100.0)
            .unit("%")
            .description("Every node that should serve answers"),
        Slo::at_least("redis_connectivity", "redis_connectivity_percent", 100.0)
            .unit("%")
            .description("Every node reaches Redis"),
    ]
}
