//! Tries the check script itself while no check does, so that an idle node knows whether Redis would decide one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::batch::BatchOperation;
use super::limit::Limit;
use super::node::Node;
use super::policy::RequestedLimit;
use super::reason::Reason;
use super::redis_client::RedisFailure;
use super::script::{Check, Item, ScriptCall, ScriptReply};

/// The longest time without knowing whether checks work.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Runs for as long as the node does.
pub(crate) async fn probe_idle(node: Arc<Node>) {
    // No client can use this key by accident, and the script deletes its counter again.
    let key = format!("probe.{}.{:x}", node.id(), rand::random::<u64>());
    let mut tick = interval(PROBE_EVERY / 2);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if !node.checks.is_idle_for(PROBE_EVERY) {
            continue;
        }
        match probe(&node, &key).await {
            Ok(ScriptReply::Decided { .. }) => node.checks.worked(),
            // Nothing was tried. The poll of Redis loads the policy soon.
            Ok(ScriptReply::OtherPolicy) => {}
            Err(error) => {
                let reason = error.reason().unwrap_or(Reason::Connection);
                let error = anyhow::Error::new(error);
                node.checks.failed(reason, 1, &format_args!("{error:#}"));
            }
        }
    }
}

/// One check of a counter that nobody ever sees.
async fn probe(node: &Node, key: &str) -> Result<ScriptReply, RedisFailure> {
    let policy = node.policy();
    let item = Item {
        check: Check {
            key: key.to_owned(),
            requested: RequestedLimit::default(),
        },
        wanted: 1,
        limit: Limit {
            max: 1,
            window_ms: 1_000,
        },
        blocked_until: 0,
        reset: 0,
    };
    let operation = BatchOperation {
        run: ScriptCall {
            version: &policy.version,
            clock_ms: None,
            ignore_limits: false,
            member_prefix: key,
            counters: node.counter_keys(),
            leave_no_trace: true,
        },
        items: &[item],
        non_atomic: false,
    };
    let deadline = Instant::now() + node.settings.redis_timeout();
    node.redis.call("probe", deadline, &operation).await
}
