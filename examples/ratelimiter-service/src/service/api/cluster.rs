//! State of the whole cluster.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::limits::{fresh_policy, views};
use super::nodes::{requests_per_second, view_all};
use crate::service::counters;
use crate::service::node::Node;
use crate::service::registry::NodeState;

/// Values that are unknown without Redis are null.
pub(crate) async fn state(State(node): State<Arc<Node>>) -> Json<Value> {
    let nodes = view_all(&node).await;
    let node_count = nodes.len();
    let healthy = nodes
        .iter()
        .filter(|it| it.state == NodeState::Healthy)
        .count();
    let mut asking = JoinSet::new();
    for it in nodes
        .into_iter()
        .filter(|it| it.state != NodeState::Unhealthy)
    {
        let node = node.clone();
        asking.spawn(async move { requests_per_second(&node, &it).await });
    }
    let per_second: f64 = asking.join_all().await.into_iter().flatten().sum();
    let keys = counters::keys(&node, "").await.ok();
    let policy = fresh_policy(&node).await;
    Json(json!({
        "node_count": node_count,
        "healthy_nodes": healthy,
        "total_keys": keys.map(|keys| keys.len()),
        "total_requests_per_second": per_second,
        "limits": views(&policy),
    }))
}
