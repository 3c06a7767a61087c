//! The state of Redis itself. Nothing is written or removed.

use std::collections::BTreeMap;

use operator_plugin_api::Deadline;
use redis::{Cmd, ConnectionInfo, FromRedisValue, Pipeline, Value};

use crate::{
    redis_link::{RedisFault, RedisLink, allowed},
    wire::{is_node_id, parse_moment},
};

/// Rounds of SCAN in one cycle: the next cycle goes on where this one ends.
const SCANS: usize = 5;
/// Names read in one round of SCAN.
const SCAN_COUNT: usize = 1_000;

const NODE_PREFIX: &str = "ratelimiter:nodes:";

/// The state of a Redis that answered.
pub(crate) struct RedisView {
    pub(crate) link: RedisLink,
    pub(crate) ping_ms: f64,
    /// How long it has been up; none where this plugin may not ask.
    pub(crate) uptime_s: Option<u64>,
    /// A part of the nodes whose registration has not expired.
    pub(crate) registry: Registry,
    /// For how long the registration of each node that was asked for still holds.
    pub(crate) registrations: BTreeMap<String, Option<u64>>,
    /// What this plugin may not do.
    pub(crate) refused: Option<String>,
}

/// What to read beside the state of Redis itself.
pub(crate) struct Wanted<'a> {
    /// Where to go on reading the registry; none where a node lists the others.
    pub(crate) registry_from: Option<u64>,
    /// The nodes whose registration is looked at.
    pub(crate) nodes: Vec<&'a str>,
}

/// A slice of the registry.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) nodes: Vec<Registered>,
    /// Where the next slice begins.
    pub(crate) cursor: u64,
    /// Whether this slice is the last one.
    pub(crate) is_whole: bool,
}

/// A node as it wrote itself into Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) id: String,
    pub(crate) address: Option<String>,
    pub(crate) since_ms: Option<i64>,
}

impl RedisView {
    /// Connects, and reads what does not depend on the counters. What Redis does not allow is noted and left out.
    pub(crate) fn read(
        info: &ConnectionInfo,
        wanted: &Wanted<'_>,
        deadline: Deadline,
    ) -> Result<Self, RedisFault> {
        let mut link = RedisLink::connect(info, deadline)?;
        let asked = std::time::Instant::now();
        link.ask(&redis::cmd("PING"))?;
        let ping_ms = asked.elapsed().as_secs_f64() * 1_000.0;
        let mut refusals = Refusals::default();
        let info = link.ask(redis::cmd("INFO").arg("server"));
        let uptime_s = refusals.or_default("INFO", info.map(uptime))?;
        let mut registry = Registry::default();
        if let Some(cursor) = wanted.registry_from {
            registry = refusals.or_default("SCAN", read_registry(&mut link, cursor))?;
        }
        let registrations = registrations(&mut link, &wanted.nodes);
        let registrations = refusals.or_default("PTTL", registrations)?;
        Ok(Self {
            link,
            ping_ms,
            uptime_s,
            registry,
            registrations,
            refused: refusals.first,
        })
    }
}

/// What Redis did not allow.
#[derive(Default)]
struct Refusals {
    first: Option<String>,
}

impl Refusals {
    /// A command that is refused gives nothing, and is no reason to give up the rest.
    fn or_default<T: Default>(
        &mut self,
        command: &str,
        answer: Result<T, RedisFault>,
    ) -> Result<T, RedisFault> {
        match answer {
            Err(RedisFault::Refused(why)) => {
                self.first
                    .get_or_insert_with(|| format!("{command}: {why}"));
                Ok(T::default())
            }
            answer => answer,
        }
    }
}

fn uptime(info: Value) -> Option<u64> {
    let info = String::from_redis_value(info).ok()?;
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix("uptime_in_seconds:")?.trim().parse().ok())
}

fn read_registry(link: &mut RedisLink, from: u64) -> Result<Registry, RedisFault> {
    let (names, cursor) = scan(link, &format!("{NODE_PREFIX}*"), from)?;
    let mut pipeline = Pipeline::new();
    for name in &names {
        pipeline
            .cmd("HMGET")
            .arg(name)
            .arg("address")
            .arg("registered_at");
    }
    let records = link.run(&pipeline)?;
    let mut nodes = Vec::new();
    for (name, record) in names.iter().zip(records) {
        let record = <(Option<String>, Option<String>)>::from_redis_value(allowed(record)?);
        // A name that holds something else is no node.
        let id = name.strip_prefix(NODE_PREFIX).filter(|id| is_node_id(id));
        let (Ok((address, since)), Some(id)) = (record, id) else {
            continue;
        };
        nodes.push(Registered {
            id: id.to_owned(),
            address,
            since_ms: since.and_then(|since| parse_moment(&since)),
        });
    }
    Ok(Registry {
        nodes,
        cursor,
        is_whole: cursor == 0,
    })
}

/// The names of a slice, and where the next one begins: at 0 where this was the last.
fn scan(link: &mut RedisLink, pattern: &str, from: u64) -> Result<(Vec<String>, u64), RedisFault> {
    let mut names = Vec::new();
    let mut cursor = from;
    for _ in 0..SCANS {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT);
        let answer = link.ask(&command)?;
        let page = <(u64, Vec<Vec<u8>>)>::from_redis_value(answer);
        let (next, found) = page.map_err(|_| {
            RedisFault::Unavailable("the answer to SCAN is not a page of names".into())
        })?;
        // A name that is no text is the name of no node.
        names.extend(
            found
                .into_iter()
                .filter_map(|name| String::from_utf8(name).ok()),
        );
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok((names, cursor))
}

fn registrations(
    link: &mut RedisLink,
    nodes: &[&str],
) -> Result<BTreeMap<String, Option<u64>>, RedisFault> {
    let mut pipeline = Pipeline::new();
    for id in nodes {
        pipeline.cmd("PTTL").arg(format!("{NODE_PREFIX}{id}"));
    }
    let mut registrations = BTreeMap::new();
    for (id, left) in nodes.iter().zip(link.run(&pipeline)?) {
        // Negative where there is no such registration, or one that does not expire.
        if let Ok(left_ms) = i64::from_redis_value(allowed(left)?) {
            registrations.insert((*id).to_owned(), u64::try_from(left_ms).ok());
        }
    }
    Ok(registrations)
}

/// Counts the young entries of each key, as of one instant of Redis's clock; none where the key holds something else.
///
/// An entry younger than that instant is left out. So the span that is counted is one window and no more, however long
/// the reading takes, and a sound service never shows more in it than the limit.
pub(crate) fn young_counts(
    link: &mut RedisLink,
    keys: &[(String, u64)],
) -> Result<Vec<Option<u64>>, RedisFault> {
    let now_ms = now_ms(link)?;
    let mut pipeline = Pipeline::new();
    for (key, window_ms) in keys {
        let since = format!("({}", now_ms.saturating_sub(*window_ms));
        for name in [format!("ratelimit:{key}"), format!("ratelimit:{{{key}}}")] {
            pipeline.add_command(Cmd::zcount(name, &since, now_ms));
        }
    }
    let counts = link.run(&pipeline)?;
    let counts = counts.into_iter().map(allowed);
    let counts: Vec<Value> = counts.collect::<Result<_, _>>()?;
    let sum = |both: &[Value]| {
        let counts = both
            .iter()
            .filter_map(|count| u64::from_redis_value_ref(count).ok());
        counts.reduce(u64::saturating_add)
    };
    Ok(counts.chunks_exact(2).map(sum).collect())
}

fn now_ms(link: &mut RedisLink) -> Result<u64, RedisFault> {
    let time = link.ask(&redis::cmd("TIME"))?;
    let (seconds, micros) = <(u64, u64)>::from_redis_value(time)
        .map_err(|_| RedisFault::Unavailable("the answer to TIME is not a time".into()))?;
    Ok(seconds * 1_000 + micros / 1_000)
}
