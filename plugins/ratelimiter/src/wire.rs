//! The answers of the management API in both forms, read into one. Fields that a version may not have are optional;
//! unknown fields are ignored.

use std::collections::HashMap;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Deserialize;
use serde_json::Value;

use crate::observation::{Block, Limits, Listed, Override};

/// `GET /health`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Health {
    pub(crate) node_id: String,
    pub(crate) redis_connected: Option<bool>,
    pub(crate) draining: Option<bool>,
    pub(crate) version: Option<String>,
    /// `working` or `failing`, or another word where the node cannot tell.
    checks: Option<String>,
    checks_failing: Option<Failing>,
}

/// Why checks fail.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Failing {
    message: Option<String>,
    reason: Option<String>,
}

impl Health {
    /// Whether its checks work, where it tells.
    pub(crate) fn checks_work(&self) -> Option<bool> {
        match self.checks.as_deref() {
            Some("working") => Some(true),
            Some("failing") => Some(false),
            _ => None,
        }
    }

    /// Why its checks fail, in its own words.
    pub(crate) fn checks_error(&self) -> Option<String> {
        let failing = self.checks_failing.as_ref()?;
        failing.message.clone().or_else(|| failing.reason.clone())
    }
}

/// `GET /api/v1/nodes` and `GET /api/nodes`.
#[derive(Debug, Deserialize)]
pub(crate) struct NodeList {
    nodes: Vec<ListedNode>,
}

impl NodeList {
    /// Those whose id is one.
    pub(crate) fn nodes(self) -> Vec<ListedNode> {
        let nodes = self.nodes.into_iter();
        nodes.filter(|node| is_node_id(&node.id)).collect()
    }
}

/// The longest id of a node. Bytes.
pub(crate) const MAX_NODE_ID_BYTES: usize = 128;

/// Whether a text can be the id of a node. Anything can be in Redis.
pub(crate) fn is_node_id(text: &str) -> bool {
    (1..=MAX_NODE_ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ListedNode {
    pub(crate) id: String,
    pub(crate) address: Option<String>,
    #[serde(default)]
    state: String,
    #[serde(default, deserialize_with = "moment")]
    pub(crate) registered_at: Option<i64>,
    #[serde(default, deserialize_with = "moment")]
    pub(crate) last_heartbeat_at: Option<i64>,
    pub(crate) version: Option<String>,
}

impl ListedNode {
    /// The older form writes `Up`; none for an unknown state.
    pub(crate) fn listed(&self) -> Option<Listed> {
        match self.state.to_ascii_lowercase().as_str() {
            "healthy" | "up" => Some(Listed::Healthy),
            "unhealthy" | "down" => Some(Listed::Unhealthy),
            "draining" => Some(Listed::Draining),
            _ => None,
        }
    }
}

/// A page of `GET /api/v1/counters`, or the whole of `GET /api/counters`.
#[derive(Debug, Deserialize)]
pub(crate) struct CounterPage {
    pub(crate) counters: Vec<ListedCounter>,
    #[serde(default, alias = "cursor")]
    next_cursor: Value,
}

impl CounterPage {
    /// Where the next page begins; none after the last.
    pub(crate) fn next(&self) -> Option<String> {
        match &self.next_cursor {
            Value::String(cursor) if !cursor.is_empty() => Some(cursor.clone()),
            Value::Number(cursor) if cursor.as_u64() != Some(0) => Some(cursor.to_string()),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ListedCounter {
    pub(crate) key: String,
    pub(crate) limit: Option<u64>,
    window_ms: Option<u64>,
    window_seconds: Option<f64>,
}

impl ListedCounter {
    pub(crate) fn window_ms(&self) -> Option<u64> {
        self.window_ms
            .or_else(|| self.window_seconds.and_then(seconds_to_ms))
    }
}

/// `GET /api/v1/nodes/{id}/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct NodeMetricsV1 {
    pub(crate) requests_per_second: Option<f64>,
    pub(crate) allowed_rate: Option<f64>,
    pub(crate) blocked_rate: Option<f64>,
    pub(crate) latency_p50_ms: Option<f64>,
    pub(crate) latency_p99_ms: Option<f64>,
    pub(crate) redis_latency_ms: Option<f64>,
    pub(crate) active_keys: Option<u64>,
    pub(crate) allowed_in_window: Option<HashMap<String, u64>>,
    /// The limits by which all of that was checked; absent in earlier versions.
    pub(crate) limits_in_window: HashMap<String, LimitInWindow>,
}

/// The limit of one key, as a node has applied it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct LimitInWindow {
    pub(crate) limit: u64,
    pub(crate) window_ms: u64,
}

/// `GET /api/v1/limits`.
#[derive(Debug, Deserialize)]
pub(crate) struct LimitsV1 {
    default: LimitV1,
    limits: Vec<RuleV1>,
}

#[derive(Debug, Deserialize)]
struct LimitV1 {
    max_requests: u64,
    window_seconds: f64,
}

/// One of the overrides of `GET /api/v1/limits`.
#[derive(Debug, Deserialize)]
struct RuleV1 {
    key_pattern: String,
    max_requests: u64,
    window_seconds: f64,
    #[serde(default, deserialize_with = "moment")]
    updated_at: Option<i64>,
}

impl From<LimitsV1> for Limits {
    fn from(limits: LimitsV1) -> Self {
        let rule = |rule: RuleV1| {
            Some(Override {
                key_pattern: rule.key_pattern,
                max_requests: rule.max_requests,
                window_ms: seconds_to_ms(rule.window_seconds)?,
                updated_at_ms: rule.updated_at,
            })
        };
        Self {
            default_limit: Some(limits.default.max_requests),
            default_window_ms: seconds_to_ms(limits.default.window_seconds),
            overrides: Some(limits.limits.into_iter().filter_map(rule).collect()),
        }
    }
}

/// `GET /api/limits`.
#[derive(Debug, Deserialize)]
pub(crate) struct LimitsOlder {
    default_limit: u64,
    default_window_ms: u64,
}

impl From<LimitsOlder> for Limits {
    fn from(limits: LimitsOlder) -> Self {
        Self {
            default_limit: Some(limits.default_limit),
            default_window_ms: Some(limits.default_window_ms),
            overrides: None,
        }
    }
}

/// `GET /api/v1/blocks` and `GET /api/blocks`.
#[derive(Debug, Deserialize)]
pub(crate) struct BlockList {
    #[serde(alias = "blocks")]
    blocked: Vec<ListedBlock>,
}

#[derive(Debug, Deserialize)]
struct ListedBlock {
    key: String,
    current_count: Option<u64>,
    limit: Option<u64>,
    #[serde(
        default,
        alias = "blocked_until",
        alias = "expires_at",
        deserialize_with = "moment"
    )]
    until: Option<i64>,
}

impl From<BlockList> for Vec<Block> {
    fn from(list: BlockList) -> Self {
        let block = |block: ListedBlock| Block {
            key: block.key,
            current_count: block.current_count,
            limit: block.limit,
            until_ms: block.until,
        };
        list.blocked.into_iter().map(block).collect()
    }
}

/// Windows in seconds can have a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be positive, and a year of ms is far below 2^53"
)]
fn seconds_to_ms(seconds: f64) -> Option<u64> {
    (seconds > 0.0 && seconds < 1e9).then(|| (seconds * 1_000.0).round() as u64)
}

/// RFC 3339, or without a zone as the older form writes it, which is UTC. A time that cannot be read is unknown.
fn moment<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(value.as_i64().or_else(|| parse_moment(value.as_str()?)))
}

pub(crate) fn parse_moment(text: &str) -> Option<i64> {
    let zoned = text.parse::<Timestamp>().ok();
    let utc = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    zoned
        .or_else(|| utc().map(|zoned| zoned.timestamp()))
        .map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        for text in [
            "2026-01-27T01:48:37.123456",
            "2026-01-27T01:48:37.123456Z",
            "2026-01-27T02:48:37.123+01:00",
        ] {
            assert_eq!(parse_moment(text), Some(1_769_478_517_123), "{text}");
        }
        assert_eq!(parse_moment("yesterday"), None);
    }

    #[test]
    fn both_forms_of_the_node_list_are_read() {
        let v1 = r#"{"nodes":[{"id":"n","address":"h:1","state":"unhealthy","redis_connected":true,
            "registered_at":"2026-01-27T01:48:37Z","last_heartbeat_at":null,"version":"1"}]}"#;
        let older = r#"{"nodes":[{"id":"n","address":"h:1","state":"Up","registered_at":"2026-01-27T01:48:37.1"}]}"#;
        let read = |json| {
            serde_json::from_str::<NodeList>(json)
                .unwrap()
                .nodes()
                .remove(0)
        };
        assert_eq!(read(v1).listed(), Some(Listed::Unhealthy));
        assert_eq!(read(older).listed(), Some(Listed::Healthy));
        assert_eq!(read(older).registered_at, Some(1_769_478_517_100));
    }

    #[test]
    fn rubbish_in_the_list_of_nodes_is_no_node() {
        let long = "x".repeat(129);
        let list =
            serde_json::json!({"nodes": [{"id": ""}, {"id": "a\n"}, {"id": long}, {"id": "n"}]});
        let nodes = serde_json::from_value::<NodeList>(list).unwrap().nodes();
        assert_eq!(nodes.len(), 1);
        assert_eq!(nodes[0].id, "n");
    }

    #[test]
    fn the_last_page_is_told_from_the_others() {
        let next = |json: &str| serde_json::from_str::<CounterPage>(json).unwrap().next();
        assert_eq!(next(r#"{"counters":[]}"#), None);
        assert_eq!(next(r#"{"counters":[],"next_cursor":null}"#), None);
        assert_eq!(next(r#"{"counters":[],"next_cursor":0}"#), None);
        assert_eq!(
            next(r#"{"counters":[],"next_cursor":"user:9"}"#),
            Some("user:9".into())
        );
        assert_eq!(next(r#"{"counters":[],"cursor":17}"#), Some("17".into()));
    }
}
