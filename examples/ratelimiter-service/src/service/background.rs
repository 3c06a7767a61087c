//! The node's background tasks: the heartbeat, and polling Redis for the policy and the other nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::node::Node;
use super::policy::keys;
use super::reason::Reason;
use super::redis_client::RedisFailure;
use super::registry::{self, REGISTRY, Roster};

/// Maximum age of the node's view of Redis. An outage may take a second to be reported.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// Bounds the poll if the timeout of Redis operations is longer than this.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Writes this node's heartbeat, on schedule and on request.
pub(crate) async fn heartbeat(node: Arc<Node>) {
    let mut tick = interval(Duration::from_secs(node.settings.node_heartbeat_seconds));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = node.heartbeat_now.notified() => {}
        }
        let outcome = registry::heartbeat(&node.redis, &node.record()).await;
        match outcome {
            Ok(()) => node.heartbeats.worked(),
            Err(error) => {
                let reason = error.reason().unwrap_or(Reason::Connection);
                let error = anyhow::Error::new(error);
                node.heartbeats
                    .failed(reason, 1, &format_args!("{error:#}"));
                continue;
            }
        }
        if let Err(error) = after_heartbeat(&node).await {
            tracing::debug!(%error, "the registry was not tidied; the next heartbeat tries again");
        }
    }
}

async fn after_heartbeat(node: &Node) -> Result<(), RedisFailure> {
    node.save_drain().await;
    let forget_ms = node.settings.forget_node_seconds * 1_000;
    registry::settle(&node.redis).await?;
    let expired = registry::forgotten(&node.roster(), node.clock.now_ms(), forget_ms);
    if !expired.is_empty() {
        tracing::info!(nodes = ?expired, "removing nodes that have been dead for long");
        registry::remove(&node.redis, &expired).await?;
    }
    node.store.tidy(&node.policy(), node.clock.now_ms()).await
}

/// Keeps the node's view of Redis current, and logs when Redis becomes unavailable or available.
pub(crate) async fn poll_redis(node: Arc<Node>) {
    let mut tick = interval(POLL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        poll_once(&node).await;
    }
}

/// One bounded poll. A node that has not polled yet would report Redis as unavailable.
pub(crate) async fn poll_once(node: &Node) {
    let polled = timeout(POLL_TIMEOUT, poll(node)).await;
    let connected = matches!(polled, Ok(Ok(())));
    if node.set_redis_connected(connected) == connected {
        return;
    }
    if connected {
        tracing::info!("redis is available");
        node.heartbeat_now.notify_one();
    } else {
        let error = polled
            .ok()
            .and_then(Result::err)
            .unwrap_or(RedisFailure::TimedOut { operation: "watch" });
        tracing::warn!(
            error = format!("{:#}", anyhow::Error::new(error)),
            "redis is unavailable"
        );
    }
}

async fn poll(node: &Node) -> Result<(), RedisFailure> {
    let (version, roster) = fetch(node).await?;
    if version != node.policy().version {
        node.load_policy(&node.redis).await?;
    }
    let known = node.roster().clone();
    let lost = known.contains_key(node.id()) && !roster.contains_key(node.id());
    if lost {
        // A living node is never removed, so Redis lost its data. Put back the peers it lost, dead ones too.
        tracing::warn!("redis lost the node registry; restoring it");
        registry::restore(&node.redis, &known).await?;
        node.redis_lost_its_data();
        return Ok(());
    }
    *node.roster() = roster;
    Ok(())
}

/// The version of the policy and all nodes, atomically on a single Redis.
async fn fetch(node: &Node) -> Result<(String, Roster), RedisFailure> {
    let (version, stored): (Option<String>, HashMap<String, String>) =
        if node.settings.redis_cluster {
            let version = node.redis.cmd("watch", Cmd::get(keys::VERSION)).await?;
            (
                version,
                node.redis.cmd("watch", Cmd::hgetall(REGISTRY)).await?,
            )
        } else {
            let mut pipe = redis::pipe();
            pipe.get(keys::VERSION).hgetall(REGISTRY);
            node.redis.pipe("watch", pipe).await?
        };
    node.clock.learn(redis_now(node).await?);
    Ok((version.unwrap_or_default(), registry::parse(stored)))
}

async fn redis_now(node: &Node) -> Result<u64, RedisFailure> {
    let (seconds, micros): (u64, u64) = node.redis.cmd("watch", redis::cmd("TIME")).await?;
    Ok(seconds * 1_000 + micros / 1_000)
}

/// All nodes as Redis has them now; if Redis does not reply, as this node last read them.
pub(crate) async fn roster(node: &Node) -> Roster {
    if node.redis_connected()
        && let Ok((_, roster)) = fetch(node).await
    {
        if roster.contains_key(node.id()) {
            node.roster().clone_from(&roster);
        }
        return roster;
    }
    node.roster().clone()
}

/// Periodically removes entries that have left their window.
pub(crate) async fn sweep(node: Arc<Node>) {
    let mut tick = interval(SWEEP_EVERY);
    loop {
        tick.tick().await;
        for worker_state in &node.worker_states {
            worker_state.allowed_counts().sweep(node.clock.now_ms());
        }
    }
}

/// Removes this node from the registry, if Redis is available.
pub(crate) async fn deregister(node: &Node) {
    let gone = registry::remove(&node.redis, &[node.id().to_owned()]).await;
    let undrained = match gone {
        Ok(()) if node.policy().drains.contains(node.id()) => {
            node.store.set_drain(node.id(), false).await
        }
        other => other,
    };
    if let Err(error) = undrained {
        tracing::warn!(%error, "could not deregister this node; it will be listed as unhealthy");
    }
}
