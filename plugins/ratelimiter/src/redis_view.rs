//! The state of Redis itself. Nothing is written or removed.

use operator_plugin_api::Deadline;
use redis::{Cmd, ConnectionInfo, FromRedisValue, Pipeline, Value};

use crate::{
    redis_link::{RedisFault, RedisLink},
    wire::parse_moment,
};

/// Rounds of SCAN at most, so that a Redis full of other things does not hold an observation.
const MAX_SCANS: usize = 20;
/// Names read in one round of SCAN.
const SCAN_COUNT: usize = 1_000;

const NODE_PREFIX: &str = "ratelimiter:nodes:";

/// The state of a Redis that answered.
pub(crate) struct RedisView {
    pub(crate) link: RedisLink,
    pub(crate) ping_ms: f64,
    /// How long it has been up; none where this plugin may not ask.
    pub(crate) uptime_s: Option<u64>,
    /// The nodes whose registration has not expired.
    pub(crate) registry: Vec<Registered>,
}

/// A node as it wrote itself into Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) id: String,
    pub(crate) address: Option<String>,
    pub(crate) since_ms: Option<i64>,
}

impl RedisView {
    /// Connects, and reads what does not depend on the counters. The registry is read where no node listed the others in the
    /// last cycle.
    pub(crate) fn read(
        info: &ConnectionInfo,
        with_registry: bool,
        deadline: Deadline,
    ) -> Result<Self, RedisFault> {
        let mut link = RedisLink::connect(info, deadline)?;
        let asked = std::time::Instant::now();
        link.ask(&redis::cmd("PING"))?;
        let ping_ms = asked.elapsed().as_secs_f64() * 1_000.0;
        let uptime_s = link
            .ask(redis::cmd("INFO").arg("server"))
            .ok()
            .and_then(uptime);
        let registry = if with_registry {
            registry(&mut link)?
        } else {
            Vec::new()
        };
        Ok(Self {
            link,
            ping_ms,
            uptime_s,
            registry,
        })
    }
}

fn uptime(info: Value) -> Option<u64> {
    let info = String::from_redis_value(info).ok()?;
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix("uptime_in_seconds:")?.trim().parse().ok())
}

fn registry(link: &mut RedisLink) -> Result<Vec<Registered>, RedisFault> {
    let names = scan(link, &format!("{NODE_PREFIX}*"))?;
    let mut pipeline = Pipeline::new();
    for name in &names {
        pipeline
            .cmd("HMGET")
            .arg(name)
            .arg("address")
            .arg("registered_at");
    }
    let records = link.run(&pipeline)?;
    let registered = names.iter().zip(records).filter_map(|(name, record)| {
        let (address, since) = <(Option<String>, Option<String>)>::from_redis_value(record).ok()?;
        Some(Registered {
            id: name.strip_prefix(NODE_PREFIX)?.to_owned(),
            address,
            since_ms: since.and_then(|since| parse_moment(&since)),
        })
    });
    Ok(registered.collect())
}

fn scan(link: &mut RedisLink, pattern: &str) -> Result<Vec<String>, RedisFault> {
    let mut names = Vec::new();
    let mut cursor = 0_u64;
    for _ in 0..MAX_SCANS {
        let mut command = redis::cmd("SCAN");
        command
            .arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT);
        let answer = link.ask(&command)?;
        let page = <(u64, Vec<String>)>::from_redis_value(answer);
        let (next, found) = page.map_err(|_| {
            RedisFault::Unavailable("the answer to SCAN is not a page of names".into())
        })?;
        names.extend(found);
        if next == 0 {
            break;
        }
        cursor = next;
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
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
