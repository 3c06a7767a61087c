//! Iterates over all keys, on a single Redis or on every primary of a cluster.

use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};

use super::redis_client::{Conn, Operation, RedisClient, RedisFailure};

/// Keys per SCAN call; Redis serves nothing else during a call.
const STEP: usize = 1_000;

/// One SCAN call.
pub(crate) struct Step {
    /// The primary to scan; `None` for a single Redis, or for the first call on all primaries.
    primary: Option<String>,
    cursor: u64,
}

impl Step {
    fn command(&self) -> Cmd {
        let mut scan = redis::cmd("SCAN");
        scan.arg(self.cursor).arg("MATCH").arg("ratelimit:*");
        scan.arg("COUNT").arg(STEP).arg("TYPE").arg("zset");
        scan
    }

    fn routing(&self) -> RedisResult<RoutingInfo> {
        let Some(primary) = &self.primary else {
            return Ok(RoutingInfo::MultiNode((
                MultipleNodeRoutingInfo::AllMasters,
                None,
            )));
        };
        let address = primary.rsplit_once(':');
        let address = address.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
        let (host, port) =
            address.ok_or_else(|| wrong(format!("`{primary}` is not an address")))?;
        Ok(RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress {
            host,
            port,
        }))
    }
}

impl Operation for Step {
    type Reply = Value;

    async fn run(&self, conn: Conn) -> RedisResult<Value> {
        match conn {
            Conn::Single(mut conn) => self.command().query_async(&mut conn).await,
            Conn::Cluster(mut conn) => conn.route_command(self.command(), self.routing()?).await,
        }
    }
}

/// The names of all sorted sets that could be counters; some may appear twice.
pub(crate) async fn counter_names(redis: &RedisClient) -> Result<Vec<String>, RedisFailure> {
    let mut names = Vec::new();
    let mut steps = vec![Step {
        primary: None,
        cursor: 0,
    }];
    while let Some(step) = steps.pop() {
        let reply = redis.scan("list_counters", &step).await?;
        let parts = match reply {
            // The first call on a cluster returns address and reply of each primary.
            Value::Map(parts) => parts
                .into_iter()
                .map(|(at, part)| Ok((Some(text(at)?), part)))
                .collect(),
            part => Ok(vec![(step.primary, part)]),
        };
        for (primary, part) in parts.map_err(rejected)? {
            let (cursor, found): (u64, Vec<String>) =
                redis::from_redis_value(part).map_err(|error| rejected(error.into()))?;
            names.extend(found);
            if cursor != 0 {
                steps.push(Step { primary, cursor });
            }
        }
    }
    Ok(names)
}

fn text(value: Value) -> RedisResult<String> {
    Ok(redis::from_redis_value(value)?)
}

fn rejected(source: RedisError) -> RedisFailure {
    RedisFailure::Rejected {
        operation: "list_counters",
        source,
    }
}

fn wrong(detail: String) -> RedisError {
    (ErrorKind::Client, "cannot route", detail).into()
}
