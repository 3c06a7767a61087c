//! Reads and changes the state that nodes share in Redis, except for the check itself.

use std::collections::HashMap;

use redis::{Cmd, FromRedisValue, Pipeline};

use super::limit::Rule;
use super::policy::{Policy, Stored, keys};
use super::redis_client::{RedisClient, RedisFailure};
use super::refusal_cache::LEASE;

/// How long reset markers are kept; by then the window of any common limit has passed.
const KEEP_MARKERS_MS: u64 = 86_400_000;

/// Sets a field of a hash to Redis's time plus an offset in ms, and atomically deletes a counter if one is given. No two
/// markers are equal, so that two resets within one millisecond are distinguishable.
const SET_MARKER: &str = r"
local gone = 0
if KEYS[3] then gone = redis.call('DEL', KEYS[3]) end
local time = redis.call('TIME')
local mark = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
local last = tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or 0)
if ARGV[3] == '0' and mark <= last then mark = last + 1 end
mark = string.format('%.0f', mark)
redis.call('HSET', KEYS[1], ARGV[2], mark)
redis.call('SET', KEYS[2], ARGV[1])
return {gone, mark}
";

/// How counter keys are named in Redis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CounterKeys {
    pub(crate) cluster: bool,
}

impl CounterKeys {
    pub(crate) fn of(self, key: &str) -> String {
        if self.cluster {
            format!("ratelimit:{{{key}}}")
        } else {
            format!("ratelimit:{key}")
        }
    }

    /// The key that a counter belongs to; `None` for names that this service does not write.
    pub(crate) fn key_of(self, name: &str) -> Option<&str> {
        let rest = name.strip_prefix("ratelimit:")?;
        if self.cluster {
            rest.strip_prefix('{')?.strip_suffix('}')
        } else {
            Some(rest)
        }
    }
}

pub(crate) struct Store {
    redis: std::sync::Arc<RedisClient>,
    counters: CounterKeys,
}

impl Store {
    pub(crate) fn new(redis: std::sync::Arc<RedisClient>, counters: CounterKeys) -> Self {
        Self { redis, counters }
    }

    /// The whole policy at one instant.
    pub(crate) async fn policy(redis: &RedisClient) -> Result<Policy, RedisFailure> {
        let mut pipe = redis::pipe();
        pipe.atomic()
            .get(keys::VERSION)
            .hgetall(keys::LIMITS)
            .hgetall(keys::BLOCKS)
            .hkeys(keys::DRAINS)
            .hgetall(keys::RESETS);
        redis
            .pipe::<Stored>("load_policy", pipe)
            .await
            .map(Policy::parse)
    }

    pub(crate) async fn set_rule(&self, pattern: &str, rule: &Rule) -> Result<(), RedisFailure> {
        let json = serde_json::json!(rule).to_string();
        let change = redis::Cmd::hset(keys::LIMITS, pattern, json);
        self.loosen::<i64>("set_limit", change).await.map(drop)
    }

    /// Returns whether the rule existed.
    pub(crate) async fn delete_rule(&self, pattern: &str) -> Result<bool, RedisFailure> {
        self.loosen("delete_limit", Cmd::hdel(keys::LIMITS, pattern))
            .await
    }

    /// Blocks `key` from now on; returns the end of the block.
    pub(crate) async fn block(&self, key: &str, duration_ms: u64) -> Result<u64, RedisFailure> {
        let (_, until) = self
            .mark("block", keys::BLOCKS, key, duration_ms, None)
            .await?;
        Ok(until)
    }

    /// Returns whether the key was blocked.
    pub(crate) async fn unblock(&self, key: &str) -> Result<bool, RedisFailure> {
        self.loosen("unblock", Cmd::hdel(keys::BLOCKS, key)).await
    }

    /// Returns whether there was a counter.
    pub(crate) async fn reset(&self, key: &str) -> Result<bool, RedisFailure> {
        let counter = self.counters.of(key);
        if self.counters.cluster {
            // The counter is in a different cluster slot from the markers.
            let gone: u64 = self.redis.cmd("reset", Cmd::del(&counter)).await?;
            self.mark("reset", keys::RESETS, key, 0, None).await?;
            return Ok(gone > 0);
        }
        let (gone, _) = self
            .mark("reset", keys::RESETS, key, 0, Some(&counter))
            .await?;
        Ok(gone > 0)
    }

    /// Deletes expired reset markers and blocks.
    pub(crate) async fn tidy(&self, policy: &Policy, now_ms: u64) -> Result<(), RedisFailure> {
        let over = |of: &HashMap<String, u64>, keep_ms: u64| -> Vec<String> {
            let old = of.iter().filter(|(_, at)| **at + keep_ms <= now_ms);
            old.map(|(key, _)| key.clone()).collect()
        };
        let (blocks, resets) = (
            over(&policy.blocks, 0),
            over(&policy.resets, KEEP_MARKERS_MS),
        );
        for (hash, fields) in [(keys::BLOCKS, blocks), (keys::RESETS, resets)] {
            if !fields.is_empty() {
                self.redis
                    .cmd::<()>("tidy", Cmd::hdel(hash, fields))
                    .await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn set_drain(&self, node_id: &str, drain: bool) -> Result<(), RedisFailure> {
        let change = if drain {
            Cmd::hset(keys::DRAINS, node_id, 1)
        } else {
            Cmd::hdel(keys::DRAINS, node_id)
        };
        self.change::<i64>("drain", change).await.map(drop)
    }

    /// Applies a change and gives the policy a new version atomically, so that no check sees one without the other.
    async fn change<T: FromRedisValue>(
        &self,
        operation: &'static str,
        change: Cmd,
    ) -> Result<T, RedisFailure> {
        let mut pipe: Pipeline = redis::pipe();
        pipe.atomic()
            .add_command(change)
            .set(keys::VERSION, new_version())
            .ignore();
        let (result,): (T,) = self.redis.pipe(operation, pipe).await?;
        Ok(result)
    }

    /// A change that can allow a check that was refused before.
    async fn loosen<T: FromRedisValue>(
        &self,
        operation: &'static str,
        change: Cmd,
    ) -> Result<T, RedisFailure> {
        let result = self.change(operation, change).await?;
        wait_for_leases().await;
        Ok(result)
    }

    async fn mark(
        &self,
        operation: &'static str,
        hash: &str,
        key: &str,
        plus_ms: u64,
        counter: Option<&str>,
    ) -> Result<(u64, u64), RedisFailure> {
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(SET_MARKER)
            .arg(if counter.is_some() { 3 } else { 2 })
            .arg(hash)
            .arg(keys::VERSION)
            .arg(counter)
            .arg(new_version())
            .arg(key)
            .arg(plus_ms);
        let marked = self.redis.cmd(operation, cmd).await?;
        wait_for_leases().await;
        Ok(marked)
    }
}

/// Waits until no node can use a cached refusal from before the change.
async fn wait_for_leases() {
    tokio::time::sleep(LEASE).await;
}

/// Random, because a counter would restart, and repeat versions, after a FLUSHALL.
fn new_version() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_name_leads_back_to_its_key() {
        for cluster in [false, true] {
            let names = CounterKeys { cluster };
            for key in ["user:1", "a/b", "{x}", "ключ", "*"] {
                assert_eq!(names.key_of(&names.of(key)), Some(key));
            }
        }
    }

    #[test]
    fn other_names_are_no_counters() {
        assert_eq!(
            CounterKeys { cluster: false }.key_of("ratelimiter:registry"),
            None
        );
        assert_eq!(
            CounterKeys { cluster: true }.key_of("ratelimit:plain"),
            None
        );
    }
}
