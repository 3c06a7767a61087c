//! What the plugin says of itself.

use operator_plugin_api::{
    Description, Invariant,
    Objective::{AtLeast, AtMost},
    Severity, Slo,
};

use crate::{actions::names as actions, check::names};

pub(crate) fn description() -> Description {
    Description {
        subject: "ratelimiter",
        description: "A distributed rate limiter: nodes that share their counters in Redis",
        invariants: vec![
            node_down(),
            redis_disconnected(),
            high_latency(),
            counter_drift(),
            ghost_allowing(),
            high_block_rate(),
            over_limit(),
        ],
        slos: slos(),
    }
}

/// An invariant that opens and resolves at once.
fn invariant(name: &str, severity: Severity, description: &str, runbook: &str) -> Invariant {
    Invariant {
        name: name.into(),
        description: description.into(),
        severity,
        grace_period_ms: 0,
        keep_firing_for_ms: 0,
        suggested_actions: Vec::new(),
        runbook: runbook.into(),
    }
}

fn suggest(actions: &[&str]) -> Vec<String> {
    actions.iter().map(|name| (*name).to_owned()).collect()
}

fn node_down() -> Invariant {
    invariant(
        names::NODE_DOWN,
        Severity::Critical,
        "Every node that neither drains nor left in good order answers its own /health. A node that does not serves no \
         checks, and its clients are not limited or not served.",
        "1. Is the process there, and is it running (not stopped)? Is its machine there?\n\
         2. Does `curl http://<address>/health` answer from another node's machine? If so, the network between is at fault.\n\
         3. Restart it. No action of this plugin can: the service does not manage processes.",
    )
}

fn redis_disconnected() -> Invariant {
    Invariant {
        suggested_actions: suggest(&[actions::DRAIN_NODE]),
        ..invariant(
            names::REDIS_DISCONNECTED,
            Severity::Critical,
            "Redis answers, and every node that answers reaches it. Without Redis the nodes deny all checks, or allow them \
             all, as they are set. With a resource, that node alone has lost Redis.",
            "Without a resource: Redis itself is away or hangs. `redis-cli PING`, its log, its memory, `CLIENT LIST`.\n\n\
             With a resource: that node's way to Redis is broken. Drain it, so that clients go to the others, and look at \
             its network and at Redis's `maxclients`.",
        )
    }
}

fn high_latency() -> Invariant {
    Invariant {
        grace_period_ms: 60_000,
        suggested_actions: suggest(&[actions::DRAIN_NODE]),
        ..invariant(
            names::HIGH_LATENCY,
            Severity::Warning,
            "The p99 of checks over the last minute stays within `latency_p99_ms`. Every request of every client waits for \
             its check.",
            "Compare `latency.p99_ms_by_node`: one slow node can be drained. If all are slow, compare `redis.ping_ms` and \
             the nodes' `redis_latency_ms`: Redis is the usual cause (a slow command, swapping, a full CPU).",
        )
    }
}

fn counter_drift() -> Invariant {
    Invariant {
        grace_period_ms: 30_000,
        suggested_actions: suggest(&[actions::RESET_COUNTER]),
        ..invariant(
            names::COUNTER_DRIFT,
            Severity::Warning,
            "For each key, what Redis counts in the window and what the nodes together allowed in it agree within \
             `counter_drift_percent`. If they do not, limits are enforced on wrong numbers.",
            "The nodes allowed more than Redis counts: checks were allowed without Redis (`allow` on Redis errors), or Redis \
             lost writes. Redis counts more than the nodes allowed: someone else writes these keys, or a clock is off.",
        )
    }
}

fn ghost_allowing() -> Invariant {
    Invariant {
        suggested_actions: suggest(&[actions::BLOCK_KEY, actions::RESET_COUNTER]),
        ..invariant(
            names::GHOST_ALLOWING,
            Severity::Critical,
            "For each key, the nodes together allowed no more within one window than its limit. If they did, the rate \
             limiter does not do what it is there for.",
            "Was Redis away with the nodes set to allow? Then it passes with the window. If not, checks are not atomic, or \
             a node does not enforce limits: compare `allowed_in_window` of the nodes, and drain the one that stands out.",
        )
    }
}

fn high_block_rate() -> Invariant {
    Invariant {
        grace_period_ms: 60_000,
        suggested_actions: suggest(&[actions::UNBLOCK_KEY, actions::UPDATE_LIMIT]),
        ..invariant(
            names::HIGH_BLOCK_RATE,
            Severity::Warning,
            "At most `block_rate_percent` of all checks are blocked. More is an attack, a client in a loop, or a limit that \
             is too low.",
            "Look at `hot_keys` and `blocks`. One key: a client in a loop or an attack, and blocking is right. Many keys: \
             was a limit lowered or a default changed?",
        )
    }
}

fn over_limit() -> Invariant {
    Invariant {
        suggested_actions: suggest(&[actions::RESET_COUNTER, actions::BLOCK_KEY]),
        ..invariant(
            names::OVER_LIMIT,
            Severity::Warning,
            "For each key, Redis counts no more in the window than the key's limit. A key at its limit is full, which is \
             normal; beyond it only a check that is not atomic, or someone else, can write.",
            "See whether `ghost_allowing` is open for the same key. If it is, the nodes let too much through. If not, something \
             else writes the key in Redis (`MONITOR`), and its users are blocked for no reason: reset the counter.",
        )
    }
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
            "check_latency",
            "99 of 100 checks take at most 10 ms",
            "latency_p99_ms",
            AtMost,
            10.0,
            "ms",
        ),
        slo(
            "false_blocks",
            "Checks of keys with room are not blocked",
            "false_block_rate_percent",
            AtMost,
            0.01,
            "%",
        ),
        slo(
            "node_availability",
            "Every node that is meant to serve does",
            "node_availability_percent",
            AtLeast,
            100.0,
            "%",
        ),
        slo(
            "redis_connectivity",
            "Every node reaches Redis",
            "redis_connectivity_percent",
            AtLeast,
            100.0,
            "%",
        ),
    ]
}
