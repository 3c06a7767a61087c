//! `/health` and `/metrics`, answered from memory even if Redis hangs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::service::error::ApiError;
use crate::service::node::{Node, VERSION};
use crate::service::peers::Works;

pub(crate) async fn health(State(node): State<Arc<Node>>) -> (StatusCode, Json<Value>) {
    let draining = node.is_draining();
    let (status, status_text) = if draining {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "healthy")
    };
    let works = Works::of(&node);
    let health = json!({
        "status": status_text,
        "node_id": node.id(),
        "redis_connected": node.redis_connected(),
        "draining": draining,
        "checks": works.checks,
        "checks_failing": works.checks_failing,
        "heartbeats": works.heartbeats,
        "heartbeats_failing": works.heartbeats_failing,
        "version": VERSION,
    });
    (status, Json(health))
}

pub(crate) async fn metrics(State(node): State<Arc<Node>>) -> Result<Response, ApiError> {
    let active = u32::try_from(node.allowed_in_window().len()).unwrap_or(u32::MAX);
    let text = node
        .metrics
        .render(active.into(), node.state())
        .map_err(|error| {
            ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics_failed",
                error.to_string(),
            )
        })?;
    let content_type = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    Ok((content_type, text).into_response())
}
