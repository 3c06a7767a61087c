//! Reads counters. A read counts the entries within the window and removes nothing.

use redis::Cmd;

use super::limit::Limit;
use super::node::Node;
use super::policy::{Policy, RequestedLimit};
use super::redis_client::RedisFailure;
use super::scan;
use super::script::limit_in_member;

/// Keys read per round trip.
const CHUNK: usize = 500;

/// The counter of one key.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) key: String,
    pub(crate) count: u64,
    pub(crate) limit: Limit,
}

impl Counter {
    pub(crate) fn remaining(&self) -> u64 {
        self.limit.max.saturating_sub(self.count)
    }
}

/// All keys with this prefix that have a counter, in no particular order. Other Redis keys are skipped.
pub(crate) async fn keys(node: &Node, prefix: &str) -> Result<Vec<String>, RedisFailure> {
    let names = node.counter_keys();
    let found = scan::counter_names(&node.redis).await?;
    let key_of = |name: &String| {
        names
            .key_of(name)
            .filter(|key| key.starts_with(prefix))
            .map(str::to_owned)
    };
    let mut keys: Vec<String> = found.iter().filter_map(key_of).collect();
    // SCAN may return a key twice.
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// The counters of `keys`, without those that have nothing left in the window.
pub(crate) async fn read(
    node: &Node,
    policy: &Policy,
    keys: &[String],
) -> Result<Vec<Counter>, RedisFailure> {
    let mut counters = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(CHUNK) {
        counters.extend(read_chunk(node, policy, chunk).await?);
    }
    counters.retain(|counter| counter.count > 0);
    Ok(counters)
}

async fn read_chunk(
    node: &Node,
    policy: &Policy,
    keys: &[String],
) -> Result<Vec<Counter>, RedisFailure> {
    let names = node.counter_keys();
    let newest = keys
        .iter()
        .map(|key| Cmd::zrange(names.of(key), -1, -1))
        .collect();
    let newest: Vec<Vec<String>> = node.redis.many("list_counters", newest).await?;
    let default = node.settings.default_rule();
    // A check can give its own limit, which is stored in its entry; otherwise the key's limit applies.
    let limit_of = |(key, newest): (&String, &Vec<String>)| {
        let own_limit = newest.first().and_then(|member| limit_in_member(member));
        own_limit.unwrap_or_else(|| policy.limit_for(key, default, RequestedLimit::default()))
    };
    let limits: Vec<Limit> = keys.iter().zip(&newest).map(limit_of).collect();
    let now_ms = node.clock.now_ms();
    let young = |(key, limit): (&String, &Limit)| {
        let oldest = format!("({}", now_ms.saturating_sub(limit.window_ms));
        Cmd::zcount(names.of(key), oldest, "+inf")
    };
    let young = keys.iter().zip(&limits).map(young).collect();
    let counts: Vec<u64> = node.redis.many("list_counters", young).await?;
    let counter = |((key, limit), count): ((&String, Limit), u64)| Counter {
        key: key.clone(),
        count,
        limit,
    };
    Ok(keys.iter().zip(limits).zip(counts).map(counter).collect())
}
