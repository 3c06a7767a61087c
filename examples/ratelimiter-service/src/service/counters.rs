//! Reading the counters. A reader counts the young entries and removes nothing.

use redis::Cmd;

use super::limit::Limit;
use super::link::Fault;
use super::node::Node;
use super::policy::{Asked, Policy};
use super::scan;
use super::script::limit_in_member;

/// Keys read in one round trip.
const CHUNK: usize = 500;

/// One key's counter.
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

/// All keys with this prefix that have a counter, in no order. Other things that lie beside them are left out.
pub(crate) async fn keys(node: &Node, prefix: &str) -> Result<Vec<String>, Fault> {
    let names = node.counter_keys();
    let found = scan::counter_names(&node.link).await?;
    let key_of = |name: &String| {
        names
            .key_of(name)
            .filter(|key| key.starts_with(prefix))
            .map(str::to_owned)
    };
    let mut keys: Vec<String> = found.iter().filter_map(key_of).collect();
    // SCAN may name a key twice.
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// The counters of `keys`, without those of which nothing is left in the window.
pub(crate) async fn read(
    node: &Node,
    policy: &Policy,
    keys: &[String],
) -> Result<Vec<Counter>, Fault> {
    let mut counters = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(CHUNK) {
        counters.extend(read_chunk(node, policy, chunk).await?);
    }
    counters.retain(|counter| counter.count > 0);
    Ok(counters)
}

async fn read_chunk(node: &Node, policy: &Policy, keys: &[String]) -> Result<Vec<Counter>, Fault> {
    let names = node.counter_keys();
    let newest = keys
        .iter()
        .map(|key| Cmd::zrange(names.of(key), -1, -1))
        .collect();
    let newest: Vec<Vec<String>> = node.link.many("list_counters", newest).await?;
    let default = node.settings.default_rule();
    // A check may name its own limit, and its entry tells it; all others are held to the key's.
    let limit_of = |(key, newest): (&String, &Vec<String>)| {
        let told = newest.first().and_then(|member| limit_in_member(member));
        told.unwrap_or_else(|| policy.limit_for(key, default, Asked::default()))
    };
    let limits: Vec<Limit> = keys.iter().zip(&newest).map(limit_of).collect();
    let now_ms = node.clock.now_ms();
    let young = |(key, limit): (&String, &Limit)| {
        let oldest = format!("({}", now_ms.saturating_sub(limit.window_ms));
        Cmd::zcount(names.of(key), oldest, "+inf")
    };
    let young = keys.iter().zip(&limits).map(young).collect();
    let counts: Vec<u64> = node.link.many("list_counters", young).await?;
    let counter = |((key, limit), count): ((&String, Limit), u64)| Counter {
        key: key.clone(),
        count,
        limit,
    };
    Ok(keys.iter().zip(limits).zip(counts).map(counter).collect())
}
