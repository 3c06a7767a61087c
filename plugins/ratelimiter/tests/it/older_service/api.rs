//! The answers of the older service.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use operator_plugin_kit::testing::fake::Reply;
use redis::{Cmd, Connection, RedisError, RedisResult};
use serde_json::Value;

use super::{NAMES, Node};

/// The list of counters has no pages.
const MOST_COUNTERS: usize = 100;

/// By the node's own clock, and with a sequence whose key nobody declared and that never expires.
const CHECK: &str = "
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, ARGV[1] - ARGV[3])
local count = redis.call('ZCARD', KEYS[1])
if count < tonumber(ARGV[2]) then
  local number = redis.call('INCR', KEYS[1] .. ':seq')
  redis.call('ZADD', KEYS[1], ARGV[1], ARGV[1] .. ':' .. number)
  redis.call('PEXPIRE', KEYS[1], ARGV[3] + 1000)
  return {1, count + 1}
end
return {0, count}";

pub(super) struct Answer {
    pub(super) status: u16,
    media_type: &'static str,
    headers: String,
    body: String,
}

impl Answer {
    fn json(status: u16, body: String) -> Self {
        Self {
            status,
            media_type: "application/json",
            headers: String::new(),
            body,
        }
    }

    fn text(status: u16, body: String) -> Self {
        Self {
            media_type: "text/plain; charset=utf-8",
            ..Self::json(status, body)
        }
    }

    pub(super) fn reply(self) -> Reply {
        let Self {
            status,
            media_type,
            headers,
            body,
        } = self;
        let length = body.len();
        Reply::Raw(format!(
            "HTTP/1.1 {status} X\r\ndate: Tue, 27 Jan 2026 01:48:37 GMT\r\nserver: uvicorn\r\ncontent-length: {length}\r\n\
             content-type: {media_type}\r\n{headers}connection: close\r\n\r\n{body}"
        ))
    }
}

/// What goes wrong on the way is a plain 500, whatever it is.
impl From<Result<Answer, RedisError>> for Answer {
    fn from(result: Result<Answer, RedisError>) -> Self {
        result.unwrap_or_else(|_| Self::text(500, "Internal Server Error".into()))
    }
}

/// The answer, and the route that gave it.
pub(super) fn answer(node: &Node, method: &str, path: &str, body: &str) -> (&'static str, Answer) {
    match (method, path) {
        ("POST", "/check") => ("/check", check(node, body).into()),
        ("GET", "/health") => {
            let health = format!(r#"{{"status":"healthy","node_id":{}}}"#, text(&node.id));
            ("/health", Answer::json(200, health))
        }
        ("GET", "/metrics") => {
            let metrics = Answer {
                media_type: "text/plain; version=0.0.4; charset=utf-8",
                ..Answer::text(200, node.metrics().text())
            };
            ("/metrics", metrics)
        }
        ("GET", "/api/nodes") => ("/api/nodes", nodes(node).into()),
        ("GET", "/api/counters") => ("/api/counters", counters(node).into()),
        ("GET", "/api/limits") => ("/api/limits", Answer::json(200, limits(node))),
        ("GET", "/api/blocks") => ("/api/blocks", blocks(node).into()),
        _ => change(node, method, path, body),
    }
}

/// A key is one segment of the path: one with a slash in it has no route.
fn change(node: &Node, method: &str, path: &str, body: &str) -> (&'static str, Answer) {
    let decoded = decode(path);
    let of = |prefix: &str, suffix: &str| {
        let key = decoded.strip_prefix(prefix)?.strip_suffix(suffix)?;
        (!key.is_empty() && !key.contains('/')).then(|| key.to_owned())
    };
    let reset_key = of("/api/counters/", "/reset");
    let limit_key = of("/api/limits/", "");
    match (method, reset_key, limit_key) {
        ("POST", Some(key), _) => ("/api/counters/{key}/reset", reset(node, &key).into()),
        ("PUT", _, Some(key)) => ("/api/limits/{key}", set_limit(node, &key, body).into()),
        (_, Some(_), _) | (_, _, Some(_)) => (
            "none",
            Answer::json(405, r#"{"detail":"Method Not Allowed"}"#.into()),
        ),
        _ => (
            "none",
            Answer::json(404, r#"{"detail":"Not Found"}"#.into()),
        ),
    }
}

fn check(node: &Node, body: &str) -> RedisResult<Answer> {
    thread::sleep(Duration::from_millis(node.delay_ms.load(Ordering::Acquire)));
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let Some(key) = asked["key"].as_str().filter(|key| !key.is_empty()) else {
        let detail = r#"{"detail":"key must not be empty"}"#;
        return Ok(Answer::json(400, detail.into()));
    };
    let limit = asked["limit"]
        .as_u64()
        .unwrap_or(node.options.default_limit);
    let default_window = node.options.default_window_ms;
    let window_ms = asked["window_ms"].as_u64().unwrap_or(default_window);
    let (allowed, count): (u64, u64) = redis::cmd("EVAL")
        .arg(CHECK)
        .arg(1)
        .arg(format!("ratelimit:{key}"))
        .arg(now_ms())
        .arg(limit)
        .arg(window_ms)
        .query(&mut node.redis()?)?;
    node.metrics().checked(allowed == 1);
    let remaining = limit.saturating_sub(count);
    let retry_after = if allowed == 1 { 0 } else { window_ms / 1_000 };
    let is_allowed = allowed == 1;
    let body = format!(
        r#"{{"allowed":{is_allowed},"current_count":{count},"remaining":{remaining},"retry_after_seconds":{retry_after}}}"#
    );
    let mut headers =
        format!("x-ratelimit-limit: {limit}\r\nx-ratelimit-remaining: {remaining}\r\n");
    if !is_allowed {
        headers += &format!("x-ratelimit-reset: {retry_after}\r\nretry-after: {retry_after}\r\n");
    }
    Ok(Answer {
        headers,
        ..Answer::json(if is_allowed { 200 } else { 429 }, body)
    })
}

fn nodes(node: &Node) -> RedisResult<Answer> {
    let mut redis = node.redis()?;
    let mut listed = Vec::new();
    for name in names(node, &mut redis, &format!("{NAMES}*"))? {
        let fields = ["address", "registered_at"];
        let (address, since): (Option<String>, Option<String>) =
            Cmd::hmget(&name, &fields[..]).query(&mut redis)?;
        listed.push(format!(
            r#"{{"id":{},"address":{},"state":"Up","registered_at":{}}}"#,
            text(name.trim_start_matches(NAMES)),
            text(&address.unwrap_or_default()),
            text(&since.unwrap_or_default())
        ));
    }
    let body = format!(r#"{{"nodes":[{}]}}"#, listed.join(","));
    Ok(Answer::json(200, body))
}

fn counters(node: &Node) -> RedisResult<Answer> {
    let mut redis = node.redis()?;
    let limit = node.options.default_limit;
    let mut listed = Vec::new();
    for name in names(node, &mut redis, "ratelimit:*")? {
        if name.ends_with(":seq") || name.starts_with("ratelimit:limit:") {
            continue;
        }
        let count = count(node, &mut redis, &name)?;
        let remaining = limit.saturating_sub(count);
        let key = text(name.trim_start_matches("ratelimit:"));
        listed.push(format!(
            r#"{{"key":{key},"count":{count},"limit":{limit},"remaining":{remaining}}}"#
        ));
    }
    listed.truncate(MOST_COUNTERS);
    let body = format!(r#"{{"counters":[{}]}}"#, listed.join(","));
    Ok(Answer::json(200, body))
}

/// It takes an override for a counter, and fails.
fn blocks(node: &Node) -> RedisResult<Answer> {
    let mut redis = node.redis()?;
    let limit = node.options.default_limit;
    let mut listed = Vec::new();
    for name in names(node, &mut redis, "ratelimit:*")? {
        if name.ends_with(":seq") {
            continue;
        }
        let count = count(node, &mut redis, &name)?;
        if count >= limit {
            let key = text(name.trim_start_matches("ratelimit:"));
            listed.push(format!(
                r#"{{"key":{key},"current_count":{count},"limit":{limit}}}"#
            ));
        }
    }
    let body = format!(r#"{{"blocked":[{}]}}"#, listed.join(","));
    Ok(Answer::json(200, body))
}

fn limits(node: &Node) -> String {
    let (limit, window_ms) = (node.options.default_limit, node.options.default_window_ms);
    format!(r#"{{"default_limit":{limit},"default_window_ms":{window_ms}}}"#)
}

fn reset(node: &Node, key: &str) -> RedisResult<Answer> {
    let gone: u64 = Cmd::del(format!("ratelimit:{key}")).query(&mut node.redis()?)?;
    let body = format!(r#"{{"key":{},"reset":{}}}"#, text(key), gone > 0);
    Ok(Answer::json(200, body))
}

fn set_limit(node: &Node, key: &str, body: &str) -> RedisResult<Answer> {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let Some(limit) = asked["limit"].as_u64() else {
        let detail = r#"{"detail":"limit is required"}"#;
        return Ok(Answer::json(422, detail.into()));
    };
    let window_ms = asked["window_ms"].as_u64();
    let window_ms = window_ms.unwrap_or(node.options.default_window_ms);
    let fields = [("limit", limit), ("window_ms", window_ms)];
    Cmd::hset_multiple(format!("ratelimit:limit:{key}"), &fields).exec(&mut node.redis()?)?;
    let key = text(key);
    let body = format!(r#"{{"key":{key},"limit":{limit},"window_ms":{window_ms},"updated":true}}"#);
    Ok(Answer::json(200, body))
}

/// Every name is read as text, so that one that is none fails the whole list.
fn names(node: &Node, redis: &mut Connection, pattern: &str) -> RedisResult<Vec<String>> {
    thread::sleep(Duration::from_millis(
        node.listing_ms.load(Ordering::Acquire),
    ));
    redis::cmd("KEYS").arg(pattern).query(redis)
}

/// Counting removes what is older than the default window, whatever window the entries were made with.
fn count(node: &Node, redis: &mut Connection, name: &str) -> RedisResult<u64> {
    let oldest = now_ms().saturating_sub(node.options.default_window_ms);
    let mut expire = redis::cmd("ZREMRANGEBYSCORE");
    expire.arg(name).arg(0).arg(oldest).exec(redis)?;
    Cmd::zcard(name).query(redis)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn text(text: &str) -> String {
    Value::from(text).to_string()
}

fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let mut hex = || {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()
        };
        bytes.push(if byte == b'%' {
            hex().unwrap_or(byte)
        } else {
            byte
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
