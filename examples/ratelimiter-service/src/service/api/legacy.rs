//! The legacy form of the management API, for tools that only support that one.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::counters::reset_key;
use super::extract::{JsonBody, PathKey};
use super::limits::{fresh_policy, put as put_rule};
use super::nodes::view_all;
use crate::service::check::{check_key, within};
use crate::service::clock::without_zone;
use crate::service::counters::{self, Counter};
use crate::service::error::ApiError;
use crate::service::limit::{MAX_LIMIT, MAX_WINDOW_MS};
use crate::service::node::Node;

/// The legacy form has no pagination.
const MAX_COUNTERS: usize = 100;

pub(crate) fn routes() -> Router<Arc<Node>> {
    Router::new()
        .route("/nodes", get(list_nodes))
        .route("/counters", get(list_counters))
        // The key may contain slashes, so the suffix is removed by hand.
        .route("/counters/{*key_and_reset}", post(reset))
        .route("/limits", get(defaults))
        .route("/limits/{*key}", put(set_limit))
        .route("/blocks", get(list_blocked))
}

async fn list_nodes(State(node): State<Arc<Node>>) -> Json<Value> {
    let nodes = view_all(&node).await.into_iter().map(|node| {
        json!({
            "id": node.id,
            "address": node.address,
            "state": node.state.legacy_name(),
            "registered_at": without_zone(node.registered_at_ms),
        })
    });
    Json(json!({ "nodes": nodes.collect::<Vec<_>>() }))
}

async fn list_counters(State(node): State<Arc<Node>>) -> Result<Json<Value>, ApiError> {
    let mut counters = all(&node).await?;
    counters.sort_unstable_by(|a, b| (Reverse(a.count), &a.key).cmp(&(Reverse(b.count), &b.key)));
    counters.truncate(MAX_COUNTERS);
    let view = |counter: &Counter| {
        json!({
            "key": counter.key,
            "count": counter.count,
            "limit": counter.limit.max,
            "remaining": counter.remaining(),
        })
    };
    let counters: Vec<Value> = counters.iter().map(view).collect();
    Ok(Json(json!({ "counters": counters })))
}

async fn list_blocked(State(node): State<Arc<Node>>) -> Result<Json<Value>, ApiError> {
    let mut counters = all(&node).await?;
    counters.retain(|counter| counter.remaining() == 0);
    counters.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let view = |counter: &Counter| {
        json!({
            "key": counter.key,
            "current_count": counter.count,
            "limit": counter.limit.max,
        })
    };
    let blocked: Vec<Value> = counters.iter().map(view).collect();
    Ok(Json(json!({ "blocked": blocked })))
}

async fn all(node: &Node) -> Result<Vec<Counter>, ApiError> {
    let keys = counters::keys(node, "").await?;
    let policy = fresh_policy(node).await;
    Ok(counters::read(node, &policy, &keys).await?)
}

async fn reset(
    State(node): State<Arc<Node>>,
    PathKey(path): PathKey,
) -> Result<Json<Value>, ApiError> {
    let key = path.strip_suffix("/reset").ok_or_else(|| {
        ApiError::new(
            axum::http::StatusCode::NOT_FOUND,
            "not_found",
            "the path must end in /reset",
        )
    })?;
    check_key(key)?;
    reset_key(&node, key).await
}

async fn defaults(State(node): State<Arc<Node>>) -> Json<Value> {
    let default = node.settings.default_rule();
    Json(json!({ "default_limit": default.max, "default_window_ms": default.window_ms }))
}

#[derive(Deserialize)]
struct NewLimit {
    limit: i64,
    window_ms: Option<i64>,
}

async fn set_limit(
    State(node): State<Arc<Node>>,
    PathKey(key): PathKey,
    JsonBody(new): JsonBody<NewLimit>,
) -> Result<Json<Value>, ApiError> {
    let max = within("limit", Some(new.limit), 0, MAX_LIMIT)?;
    let window_ms = within("window_ms", new.window_ms, 1, MAX_WINDOW_MS)?;
    let rule = put_rule(&node, &key, max.unwrap_or_default(), window_ms).await?;
    Ok(Json(json!({
        "key": key,
        "limit": rule.max_requests,
        "window_ms": rule.window_ms,
        "updated": true,
    })))
}
