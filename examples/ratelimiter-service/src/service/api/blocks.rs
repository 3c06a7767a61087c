//! Blocked keys: refused regardless of their limit until the block ends.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{JsonBody, PathKey};
use super::limits::fresh_policy;
use crate::service::check::within;
use crate::service::clock::rfc3339;
use crate::service::error::ApiError;
use crate::service::limit::MAX_WINDOW_MS;
use crate::service::node::Node;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBlock {
    duration_seconds: i64,
}

pub(crate) async fn list(State(node): State<Arc<Node>>) -> Json<Value> {
    let (policy, now_ms) = (fresh_policy(&node).await, node.clock.now_ms());
    let mut blocks: Vec<(&String, u64)> = policy
        .blocks
        .iter()
        .map(|(key, until)| (key, *until))
        .filter(|(_, until)| *until > now_ms)
        .collect();
    blocks.sort_unstable();
    let blocks: Vec<Value> = blocks
        .into_iter()
        .map(|(key, until)| view(key, until, now_ms))
        .collect();
    Json(json!({ "blocks": blocks }))
}

fn view(key: &str, until_ms: u64, now_ms: u64) -> Value {
    json!({
        "key": key,
        "blocked_until": rfc3339(until_ms),
        "remaining_seconds": until_ms.saturating_sub(now_ms).div_ceil(1_000),
    })
}

pub(crate) async fn block(
    State(node): State<Arc<Node>>,
    PathKey(key): PathKey,
    JsonBody(new): JsonBody<NewBlock>,
) -> Result<Json<Value>, ApiError> {
    let longest = MAX_WINDOW_MS / 1_000;
    let seconds = within("duration_seconds", Some(new.duration_seconds), 1, longest)?;
    let until = node
        .store
        .block(&key, seconds.unwrap_or_default() * 1_000)
        .await?;
    tracing::info!(key, seconds, "key blocked");
    Ok(Json(view(&key, until, node.clock.now_ms())))
}

pub(crate) async fn unblock(
    State(node): State<Arc<Node>>,
    PathKey(key): PathKey,
) -> Result<Json<Value>, ApiError> {
    let unblocked = node.store.unblock(&key).await?;
    tracing::info!(key, unblocked, "key unblocked");
    Ok(Json(json!({ "key": key, "unblocked": unblocked })))
}
