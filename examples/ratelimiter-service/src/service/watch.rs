//! The node's own loops: the heartbeat, and the watch over Redis, the policy and the other nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::link::Fault;
use super::node::Node;
use super::policy::keys;
use super::registry::{self, REGISTRY, Roster};

/// How old the node's view of Redis is at most. A second is what an outage may take to be reported.
const WATCH_EVERY: Duration = Duration::from_millis(200);
/// Where a Redis operation may take longer than this, the watch still gives up earlier.
const WATCH_TIMEOUT: Duration = Duration::from_millis(500);
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Says that this node lives, on time and whenever it is asked to.
pub(crate) async fn beat(node: Arc<Node>) {
    let mut tick = interval(Duration::from_secs(node.settings.node_heartbeat_seconds));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = node.beat_now.notified() => {}
        }
        if let Err(fault) = beat_once(&node).await {
            tracing::debug!(%fault, "no heartbeat");
        }
    }
}

async fn beat_once(node: &Node) -> Result<(), Fault> {
    registry::beat(&node.link, &node.record()).await?;
    node.save_drain().await;
    let forget_ms = node.settings.forget_node_seconds * 1_000;
    let over = registry::forgotten(&node.roster(), node.clock.now_ms(), forget_ms);
    if !over.is_empty() {
        tracing::info!(nodes = ?over, "forgetting nodes that have long been dead");
        registry::remove(&node.link, &over).await?;
    }
    node.store.tidy(&node.policy(), node.clock.now_ms()).await
}

/// Keeps the node's view of Redis young, and tells when Redis goes away and when it is back.
pub(crate) async fn over_redis(node: Arc<Node>) {
    let mut tick = interval(WATCH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        look_once(&node).await;
    }
}

/// One bounded look. A node that has not looked yet would say that Redis is away.
pub(crate) async fn look_once(node: &Node) {
    let seen = timeout(WATCH_TIMEOUT, look(node)).await;
    let connected = matches!(seen, Ok(Ok(())));
    if node.set_redis_connected(connected) == connected {
        return;
    }
    if connected {
        tracing::info!("redis is there");
        node.beat_now.notify_one();
    } else {
        let fault = seen
            .ok()
            .and_then(Result::err)
            .unwrap_or(Fault::TimedOut { operation: "watch" });
        tracing::warn!(
            error = format!("{:#}", anyhow::Error::new(fault)),
            "redis is away"
        );
    }
}

async fn look(node: &Node) -> Result<(), Fault> {
    let (version, roster) = fetch(node).await?;
    if version != node.policy().version {
        node.load_policy(&node.link).await?;
    }
    let known = node.roster().clone();
    let lost = known.contains_key(node.id()) && !roster.contains_key(node.id());
    if lost {
        // Nobody removes a living node: Redis lost its data. The peers it forgot are put back, dead ones too.
        tracing::warn!("redis lost the list of nodes; restoring it");
        registry::restore(&node.link, &known).await?;
        node.redis_lost_its_data();
        return Ok(());
    }
    *node.roster() = roster;
    Ok(())
}

/// The version of the policy and all nodes, in one step on a single Redis.
async fn fetch(node: &Node) -> Result<(String, Roster), Fault> {
    let (version, stored): (Option<String>, HashMap<String, String>) =
        if node.settings.redis_cluster {
            let version = node.link.cmd("watch", Cmd::get(keys::VERSION)).await?;
            (
                version,
                node.link.cmd("watch", Cmd::hgetall(REGISTRY)).await?,
            )
        } else {
            let mut pipe = redis::pipe();
            pipe.get(keys::VERSION).hgetall(REGISTRY);
            node.link.pipe("watch", pipe).await?
        };
    node.clock.learn(redis_now(node).await?);
    Ok((version.unwrap_or_default(), registry::parse(stored)))
}

async fn redis_now(node: &Node) -> Result<u64, Fault> {
    let (seconds, micros): (u64, u64) = node.link.cmd("watch", redis::cmd("TIME")).await?;
    Ok(seconds * 1_000 + micros / 1_000)
}

/// All nodes as Redis knows them now; as this node last saw them where Redis does not answer.
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

/// Forgets what has left every window.
pub(crate) async fn sweep(node: Arc<Node>) {
    let mut tick = interval(SWEEP_EVERY);
    loop {
        tick.tick().await;
        for desk in &node.desks {
            desk.ledger().sweep(node.clock.now_ms());
        }
    }
}

/// Leaves in good order, as far as Redis can be told.
pub(crate) async fn leave(node: &Node) {
    let gone = registry::remove(&node.link, &[node.id().to_owned()]).await;
    let undrained = match gone {
        Ok(()) if node.policy().drains.contains(node.id()) => {
            node.store.set_drain(node.id(), false).await
        }
        other => other,
    };
    if let Err(fault) = undrained {
        tracing::warn!(%fault, "redis could not be told that this node leaves; it will show as unhealthy");
    }
}
