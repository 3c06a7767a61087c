//! Limits of keys and of prefixes, in the `/api/v1` form.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{JsonBody, PathKey};
use crate::service::check::{check_key, within};
use crate::service::clock::rfc3339;
use crate::service::error::ApiError;
use crate::service::limit::{Limit, MAX_LIMIT, MAX_WINDOW_MS, Rule};
use crate::service::node::Node;
use crate::service::policy::Policy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewLimit {
    key_pattern: String,
    max_requests: i64,
    window_seconds: Option<f64>,
}

pub(crate) async fn list(State(node): State<Arc<Node>>) -> Json<Value> {
    let policy = fresh_policy(&node).await;
    let default = node.settings.default_rule();
    Json(json!({
        "default": {"max_requests": default.max, "window_seconds": seconds(default.window_ms)},
        "limits": views(&policy),
    }))
}

/// The policy as Redis has it now; if Redis does not reply, as this node last read it.
pub(crate) async fn fresh_policy(node: &Node) -> Arc<Policy> {
    if node.redis_connected()
        && let Ok(policy) = node.load_policy(&node.redis).await
    {
        return policy;
    }
    node.policy()
}

pub(crate) fn views(policy: &Policy) -> Vec<Value> {
    let rules = policy.rules.sorted().into_iter();
    rules.map(|(pattern, rule)| view(pattern, rule)).collect()
}

fn view(pattern: &str, rule: &Rule) -> Value {
    json!({
        "key_pattern": pattern,
        "max_requests": rule.max_requests,
        "window_seconds": seconds(rule.window_ms),
        "created_at": rfc3339(rule.created_at_ms),
        "updated_at": rfc3339(rule.updated_at_ms),
    })
}

pub(crate) async fn set(
    State(node): State<Arc<Node>>,
    JsonBody(new): JsonBody<NewLimit>,
) -> Result<Json<Value>, ApiError> {
    check_key(&new.key_pattern)?;
    let max = within("max_requests", Some(new.max_requests), 0, MAX_LIMIT)?;
    let window_ms = new.window_seconds.map(window_ms).transpose()?;
    let rule = put(&node, &new.key_pattern, max.unwrap_or_default(), window_ms).await?;
    Ok(Json(view(&new.key_pattern, &rule)))
}

/// Sets one rule. If no window is given, the rule keeps its window, or a new rule takes the default.
pub(crate) async fn put(
    node: &Node,
    pattern: &str,
    max_requests: u64,
    window_ms: Option<u64>,
) -> Result<Rule, ApiError> {
    let policy = node.load_policy(&node.redis).await?;
    let (old, now_ms) = (policy.rules.get(pattern), node.clock.now_ms());
    let default = node.settings.default_window_ms;
    let rule = Rule {
        max_requests,
        window_ms: window_ms.unwrap_or_else(|| old.map_or(default, |old| old.window_ms)),
        created_at_ms: old.map_or(now_ms, |old| old.created_at_ms),
        updated_at_ms: now_ms,
    };
    node.store.set_rule(pattern, &rule).await?;
    let Limit { max, window_ms } = rule.limit();
    tracing::info!(pattern, max, window_ms, "limit set");
    Ok(rule)
}

pub(crate) async fn remove(
    State(node): State<Arc<Node>>,
    PathKey(pattern): PathKey,
) -> Result<Json<Value>, ApiError> {
    let deleted = node.store.delete_rule(&pattern).await?;
    tracing::info!(pattern, deleted, "limit deleted");
    Ok(Json(json!({ "key_pattern": pattern, "deleted": deleted })))
}

/// Whole seconds are written as an integer, as nearly all windows are.
pub(crate) fn seconds(ms: u64) -> Value {
    if ms.is_multiple_of(1_000) {
        json!(ms / 1_000)
    } else {
        json!(Duration::from_millis(ms).as_secs_f64())
    }
}

fn window_ms(seconds: f64) -> Result<u64, ApiError> {
    let window = Duration::try_from_secs_f64(seconds).ok();
    let ms = window.and_then(|window| u64::try_from(window.as_millis()).ok());
    ms.filter(|ms| (1..=MAX_WINDOW_MS).contains(ms))
        .ok_or_else(|| {
            let message = format!(
                "window_seconds must be from 0.001 to {}",
                MAX_WINDOW_MS / 1_000
            );
            ApiError::invalid("invalid_limit", message)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_in_seconds_round_trips() {
        assert_eq!(seconds(60_000), json!(60));
        assert_eq!(seconds(1_500), json!(1.5));
        assert_eq!(window_ms(1.5).unwrap(), 1_500);
        for wrong in [0.0, -1.0, 0.0001, f64::NAN, 1e18] {
            assert!(window_ms(wrong).is_err(), "{wrong}");
        }
    }
}
