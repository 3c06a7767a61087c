//! Counters: paginated list, and reset.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::extract::{Params, PathKey};
use super::limits::{fresh_policy, seconds};
use crate::service::counters::{self, Counter};
use crate::service::error::ApiError;
use crate::service::node::Node;

const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    prefix: String,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(crate) async fn list(
    State(node): State<Arc<Node>>,
    Params(page): Params<Page>,
) -> Result<Json<Value>, ApiError> {
    let size = page.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&size) {
        let message = format!("limit must be from 1 to {LARGEST_PAGE}");
        return Err(ApiError::invalid("invalid_query", message));
    }
    let mut keys = counters::keys(&node, &page.prefix).await?;
    // The cursor is the last key of the previous page, so keys that come and go in between shift nothing.
    let cursor = page.cursor.unwrap_or_default();
    keys.retain(|key| *key > cursor);
    keys.sort_unstable();
    let more = keys.len() > size;
    keys.truncate(size);
    let next_cursor = keys.last().filter(|_| more).cloned();
    let policy = fresh_policy(&node).await;
    let counters = counters::read(&node, &policy, &keys).await?;
    let views: Vec<Value> = counters.iter().map(view).collect();
    Ok(Json(
        json!({ "counters": views, "next_cursor": next_cursor }),
    ))
}

fn view(counter: &Counter) -> Value {
    json!({
        "key": counter.key,
        "count": counter.count,
        "limit": counter.limit.max,
        "remaining": counter.remaining(),
        "window_seconds": seconds(counter.limit.window_ms),
    })
}

pub(crate) async fn reset(
    State(node): State<Arc<Node>>,
    PathKey(key): PathKey,
) -> Result<Json<Value>, ApiError> {
    reset_key(&node, &key).await
}

pub(crate) async fn reset_key(node: &Node, key: &str) -> Result<Json<Value>, ApiError> {
    let reset = node.store.reset(key).await?;
    tracing::info!(key, reset, "counter reset");
    Ok(Json(json!({ "key": key, "reset": reset })))
}
