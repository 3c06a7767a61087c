//! The node registry: the record that each node writes with its heartbeat, and the state that others derive from it.

use std::collections::HashMap;

use redis::Cmd;
use serde::{Deserialize, Serialize};

use super::redis_client::{RedisClient, RedisFailure};

/// Every node that is not forgotten: a hash of id to record. It has no TTL, so a dead node stays listed.
pub(crate) const REGISTRY: &str = "ratelimiter:registry";

/// Writes a record with Redis's time in it, so that no node's clock decides which nodes are alive.
const HEARTBEAT: &str = r#"
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], ARGV[1], '{"last_heartbeat_ms":' .. now .. ',' .. string.sub(ARGV[2], 2))
return now
"#;

/// Replaces a record, unless it has changed meanwhile.
const REPLACE: &str = r"
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
";

/// What a node reports about itself with every heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) registered_at_ms: u64,
    #[serde(default, skip_serializing)]
    pub(crate) last_heartbeat_ms: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) draining: bool,
    pub(crate) version: String,
}

/// The state of a node as derived by the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeState {
    Healthy,
    Unhealthy,
    Draining,
}

impl NodeState {
    pub(crate) const ALL: [Self; 3] = [Self::Healthy, Self::Unhealthy, Self::Draining];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        }
    }

    /// The name in the legacy form; services other than this one only use `Up`.
    pub(crate) fn legacy_name(self) -> &'static str {
        match self {
            Self::Healthy => "Up",
            Self::Unhealthy => "Down",
            Self::Draining => "Draining",
        }
    }
}

impl NodeRecord {
    pub(crate) fn state(&self, now_ms: u64) -> NodeState {
        if now_ms.saturating_sub(self.last_heartbeat_ms) > self.ttl_ms {
            NodeState::Unhealthy
        } else if self.draining {
            NodeState::Draining
        } else {
            NodeState::Healthy
        }
    }

    fn is_forgotten(&self, now_ms: u64, forget_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_heartbeat_ms) > forget_ms
    }
}

/// All nodes at one instant, by id.
pub(crate) type Roster = HashMap<String, NodeRecord>;

/// Parses the records, skipping entries that are not records.
pub(crate) fn parse(stored: HashMap<String, String>) -> Roster {
    let parse = |(id, json): (String, String)| match serde_json::from_str(&json) {
        Ok(record) => Some((id, record)),
        Err(error) => {
            tracing::warn!(node = %id, %error, "skipping an invalid node record in redis");
            None
        }
    };
    stored.into_iter().filter_map(parse).collect()
}

/// The ids of nodes that have been dead long enough to be forgotten.
pub(crate) fn forgotten(roster: &Roster, now_ms: u64, forget_ms: u64) -> Vec<String> {
    let over = roster
        .values()
        .filter(|node| node.is_forgotten(now_ms, forget_ms));
    over.map(|node| node.id.clone()).collect()
}

/// Writes this node's record, and the hash with a TTL by which legacy tools find a node.
pub(crate) async fn heartbeat(
    redis: &RedisClient,
    record: &NodeRecord,
) -> Result<(), RedisFailure> {
    let json = serde_json::json!(record).to_string();
    let mut beat = redis::cmd("EVAL");
    beat.arg(HEARTBEAT)
        .arg(1)
        .arg(REGISTRY)
        .arg(&record.id)
        .arg(json);
    redis.cmd::<u64>("heartbeat", beat).await?;
    let name = legacy_name(&record.id);
    let fields = [
        ("address", record.address.clone()),
        (
            "registered_at",
            super::clock::without_zone(record.registered_at_ms),
        ),
    ];
    let mut pipe = redis::pipe();
    pipe.atomic()
        .hset_multiple(&name, &fields)
        .pexpire(&name, i64::try_from(record.ttl_ms).unwrap_or(i64::MAX));
    redis.pipe::<()>("heartbeat", pipe).await
}

/// Heartbeats that lie in the future, because Redis's clock went back, count as now: otherwise a node that is dead would
/// be listed as healthy until the clock has caught up.
pub(crate) async fn settle(redis: &RedisClient) -> Result<(), RedisFailure> {
    let stored: HashMap<String, String> = redis.cmd("heartbeat", Cmd::hgetall(REGISTRY)).await?;
    let (seconds, micros): (u64, u64) = redis.cmd("heartbeat", redis::cmd("TIME")).await?;
    let now_ms = seconds * 1_000 + micros / 1_000;
    for (id, json) in stored {
        let Some(settled) = settled(&json, now_ms) else {
            continue;
        };
        let mut replace = redis::cmd("EVAL");
        replace.arg(REPLACE).arg(1).arg(REGISTRY);
        replace.arg(id).arg(json).arg(settled);
        redis.cmd::<()>("heartbeat", replace).await?;
    }
    Ok(())
}

/// The record with the heartbeat at `now_ms`, if it lies after it.
fn settled(json: &str, now_ms: u64) -> Option<String> {
    let mut record: serde_json::Value = serde_json::from_str(json).ok()?;
    let last = record.get("last_heartbeat_ms")?.as_u64()?;
    if last <= now_ms {
        return None;
    }
    record["last_heartbeat_ms"] = now_ms.into();
    Some(record.to_string())
}

/// Removes nodes from the registry: those that shut down, and those that are forgotten.
pub(crate) async fn remove(redis: &RedisClient, ids: &[String]) -> Result<(), RedisFailure> {
    redis
        .cmd::<()>("forget_node", Cmd::hdel(REGISTRY, ids))
        .await?;
    for id in ids {
        redis
            .cmd::<()>("forget_node", Cmd::del(legacy_name(id)))
            .await?;
    }
    Ok(())
}

/// Restores the records that Redis lost and this node still remembers.
pub(crate) async fn restore(redis: &RedisClient, roster: &Roster) -> Result<(), RedisFailure> {
    for node in roster.values() {
        let mut json = serde_json::json!(node);
        json["last_heartbeat_ms"] = node.last_heartbeat_ms.into();
        let put_back = Cmd::hset_nx(REGISTRY, &node.id, json.to_string());
        redis.cmd::<()>("restore_node", put_back).await?;
    }
    Ok(())
}

fn legacy_name(id: &str) -> String {
    format!("ratelimiter:nodes:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(last_heartbeat_ms: u64, draining: bool) -> NodeRecord {
        NodeRecord {
            id: "n".to_owned(),
            address: "localhost:1".to_owned(),
            registered_at_ms: 0,
            last_heartbeat_ms,
            ttl_ms: 3_000,
            draining,
            version: "0".to_owned(),
        }
    }

    #[test]
    fn a_node_without_a_heartbeat_is_unhealthy_even_if_it_was_draining() {
        assert_eq!(node(10_000, false).state(13_000), NodeState::Healthy);
        assert_eq!(node(10_000, true).state(13_000), NodeState::Draining);
        assert_eq!(node(10_000, true).state(13_001), NodeState::Unhealthy);
    }

    #[test]
    fn a_heartbeat_in_the_future_becomes_one_of_now() {
        let record = r#"{"id":"n","last_heartbeat_ms":9000,"of_a_later_version":1}"#;
        assert_eq!(settled(record, 9_000), None);
        let earlier = settled(record, 8_999).unwrap();
        assert!(earlier.contains(r#""last_heartbeat_ms":8999"#), "{earlier}");
        assert!(earlier.contains("of_a_later_version"), "{earlier}");
        assert_eq!(settled("no record", 1), None);
    }

    #[test]
    fn a_dead_node_is_remembered_until_it_is_forgotten() {
        let roster = Roster::from([("n".to_owned(), node(10_000, false))]);
        assert!(forgotten(&roster, 70_000, 60_000).is_empty());
        assert_eq!(forgotten(&roster, 70_001, 60_000), ["n"]);
    }

    #[test]
    fn invalid_records_are_skipped() {
        let stored = HashMap::from([("n".to_owned(), "{}".to_owned())]);
        assert!(parse(stored).is_empty());
    }
}
