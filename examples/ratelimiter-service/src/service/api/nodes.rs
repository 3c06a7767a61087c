//! Nodes: the list with their states, metrics of each, and draining.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::extract::PathText;
use super::limits::fresh_policy;
use crate::service::allowed_counts::InWindow;
use crate::service::background;
use crate::service::clock::rfc3339;
use crate::service::error::ApiError;
use crate::service::node::Node;
use crate::service::peers::{self, FORWARDED, Health, Works};
use crate::service::registry::{NodeRecord, NodeState};

/// Maximum number of keys in `allowed_in_window`.
const MAX_KEYS: usize = 1_000;

#[derive(Serialize)]
pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) state: NodeState,
    redis_connected: bool,
    /// Unknown for a node that does not answer.
    #[serde(flatten)]
    works: Works,
    registered_at: String,
    last_heartbeat_at: String,
    version: String,
    #[serde(skip)]
    pub(crate) registered_at_ms: u64,
}

pub(crate) async fn list(State(node): State<Arc<Node>>) -> Json<Value> {
    Json(json!({ "nodes": view_all(&node).await }))
}

pub(crate) async fn one(
    State(node): State<Arc<Node>>,
    PathText(id): PathText,
) -> Result<Json<NodeView>, ApiError> {
    let record = find(&node, &id).await?;
    let health = query_health(&node, &record).await;
    Ok(Json(view(&node, record, health.as_ref())))
}

/// All nodes by id; all peers are queried concurrently.
pub(crate) async fn view_all(node: &Arc<Node>) -> Vec<NodeView> {
    let mut asking = JoinSet::new();
    for record in records(node).await {
        let node = node.clone();
        asking.spawn(async move {
            let health = query_health(&node, &record).await;
            view(&node, record, health.as_ref())
        });
    }
    let mut nodes = asking.join_all().await;
    nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    nodes
}

/// All records, including this node's own even if Redis does not have it yet.
async fn records(node: &Node) -> Vec<NodeRecord> {
    let mut roster = background::roster(node).await;
    let seen = roster.get(node.id()).map(|seen| seen.last_heartbeat_ms);
    let own = NodeRecord {
        last_heartbeat_ms: seen.unwrap_or(node.registered_at_ms),
        ..node.record()
    };
    roster.insert(own.id.clone(), own);
    roster.into_values().collect()
}

async fn find(node: &Node, id: &str) -> Result<NodeRecord, ApiError> {
    let mut all = records(node).await.into_iter();
    all.find(|record| record.id == id)
        .ok_or_else(|| ApiError::no_such_node(id))
}

async fn query_health(node: &Node, record: &NodeRecord) -> Option<Health> {
    if record.id == node.id() {
        return Some(Health {
            node_id: record.id.clone(),
            redis_connected: node.redis_connected(),
            draining: node.is_draining(),
            works: Works::of(node),
        });
    }
    peers::health(&record.id, &record.address).await
}

/// With Redis, heartbeats decide. Without it no heartbeat is visible, so a node that replies is alive.
fn view(node: &Node, record: NodeRecord, health: Option<&Health>) -> NodeView {
    let by_heartbeat = record.state(node.clock.now_ms());
    let state = match health {
        Some(health) if !node.redis_connected() || by_heartbeat != NodeState::Unhealthy => {
            if health.draining {
                NodeState::Draining
            } else {
                NodeState::Healthy
            }
        }
        _ => by_heartbeat,
    };
    // If a node cannot be queried: it had Redis when its last heartbeat was written.
    let heard = node.redis_connected() && by_heartbeat != NodeState::Unhealthy;
    NodeView {
        redis_connected: health.map_or(heard, |health| health.redis_connected),
        works: health
            .map(|health| health.works.clone())
            .unwrap_or_default(),
        state,
        registered_at: rfc3339(record.registered_at_ms),
        last_heartbeat_at: rfc3339(record.last_heartbeat_ms),
        registered_at_ms: record.registered_at_ms,
        id: record.id,
        address: record.address,
        version: record.version,
    }
}

pub(crate) async fn metrics(
    State(node): State<Arc<Node>>,
    PathText(id): PathText,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if id == node.id() {
        // A reset through another node takes effect here at once.
        fresh_policy(&node).await;
        return Ok(Json(own_metrics(&node)).into_response());
    }
    forward(&node, Method::GET, &id, "metrics", &headers).await
}

fn own_metrics(node: &Node) -> Value {
    let recent = node.recent();
    let mut busiest: Vec<(String, InWindow)> = node.allowed_in_window().into_iter().collect();
    let active_keys = busiest.len();
    busiest.sort_unstable_by(|a, b| b.1.allowed.cmp(&a.1.allowed).then_with(|| a.0.cmp(&b.0)));
    busiest.truncate(MAX_KEYS);
    let limits = busiest.iter().filter_map(|(key, in_window)| {
        let limit = in_window.limit?;
        let told = json!({"limit": limit.max, "window_ms": limit.window_ms});
        Some((key.clone(), told))
    });
    let limits: serde_json::Map<String, Value> = limits.collect();
    let allowed: serde_json::Map<String, Value> = busiest
        .into_iter()
        .map(|(key, in_window)| (key, in_window.allowed.into()))
        .collect();
    json!({
        "node_id": node.id(),
        "requests_per_second": recent.per_second(),
        "allowed_rate": recent.percent(recent.allowed),
        "blocked_rate": recent.percent(recent.blocked),
        "failed_rate": recent.failed_percent(),
        "latency_p50_ms": recent.quantile_ms(0.50),
        "latency_p99_ms": recent.quantile_ms(0.99),
        "redis_latency_ms": node.metrics.redis_latency_ms(),
        "active_keys": active_keys,
        "allowed_in_window": allowed,
        "limits_in_window": limits,
    })
}

/// The checks per second of one node; `None` if it cannot be queried.
pub(crate) async fn requests_per_second(node: &Node, of: &NodeView) -> Option<f64> {
    if of.id == node.id() {
        return Some(node.recent().per_second());
    }
    let path = peers::node_path(&of.id, "metrics");
    let answer = peers::call(Method::GET, &of.address, &path, &HeaderMap::new()).await;
    let metrics: Value = serde_json::from_slice(&answer.ok()?.1).ok()?;
    metrics["requests_per_second"].as_f64()
}

pub(crate) async fn drain(
    state: State<Arc<Node>>,
    id: PathText,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    set_drain(state, id, &headers, true).await
}

pub(crate) async fn undrain(
    state: State<Arc<Node>>,
    id: PathText,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    set_drain(state, id, &headers, false).await
}

/// The node itself switches, so the change is in effect when the reply is sent, with or without Redis.
async fn set_drain(
    State(node): State<Arc<Node>>,
    PathText(id): PathText,
    headers: &HeaderMap,
    drain: bool,
) -> Result<Response, ApiError> {
    if id == node.id() {
        node.drain_self(drain).await;
        return Ok(drain_response(&id, drain));
    }
    let method = if drain { Method::POST } else { Method::DELETE };
    match forward(&node, method, &id, "drain", headers).await {
        Err(error) if error.code == "node_unreachable" => record_drain(&node, &id, drain).await,
        answer => answer,
    }
}

/// For a node that is alive but cannot be reached from here: it reads this from Redis within its next check or poll.
async fn record_drain(node: &Node, id: &str, drain: bool) -> Result<Response, ApiError> {
    if find(node, id).await?.state(node.clock.now_ms()) == NodeState::Unhealthy {
        let message = format!("`{id}` is dead and cannot drain");
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "node_unhealthy",
            message,
        ));
    }
    node.store.set_drain(id, drain).await?;
    Ok(drain_response(id, drain))
}

fn drain_response(id: &str, drain: bool) -> Response {
    let state = if drain {
        NodeState::Draining
    } else {
        NodeState::Healthy
    };
    Json(json!({ "id": id, "draining": drain, "state": state })).into_response()
}

/// Forwards the request to the node that it names.
async fn forward(
    node: &Node,
    method: Method,
    id: &str,
    what: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    if headers.contains_key(FORWARDED) {
        return Err(ApiError::no_such_node(id));
    }
    let record = find(node, id).await?;
    let path = peers::node_path(id, what);
    let (status, body) = peers::call(method, &record.address, &path, headers)
        .await
        .map_err(|error| ApiError::unavailable("node_unreachable", error.to_string()))?;
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    Ok((status, content_type, body).into_response())
}
