//! The management API in both forms, `/health` and `/metrics`.

mod auth;
mod blocks;
mod chaos;
mod cluster;
mod counters;
mod extract;
mod legacy;
mod limits;
mod nodes;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};

use super::check::MAX_BODY_BYTES;
use super::error::ApiError;
use super::node::Node;

/// All routes except `POST /check`.
pub(crate) fn router(node: Arc<Node>) -> Router {
    let mut v1 = Router::new()
        .route("/nodes", get(nodes::list))
        .route("/nodes/{id}", get(nodes::one))
        .route("/nodes/{id}/metrics", get(nodes::metrics))
        .route(
            "/nodes/{id}/drain",
            post(nodes::drain).delete(nodes::undrain),
        )
        .route("/cluster/state", get(cluster::state))
        .route("/counters", get(counters::list))
        .route("/counters/{*key}", delete(counters::reset))
        .route("/limits", get(limits::list).post(limits::set))
        .route("/limits/{*key_pattern}", delete(limits::remove))
        .route("/blocks", get(blocks::list))
        .route(
            "/blocks/{*key}",
            post(blocks::block).delete(blocks::unblock),
        );
    if node.settings.enable_chaos {
        v1 = v1.route("/chaos", get(chaos::show).put(chaos::set));
    }
    Router::new()
        .nest("/api/v1", v1)
        .nest("/api", legacy::routes())
        .layer(from_fn_with_state(node.clone(), auth::require_token))
        .route("/health", get(status::health))
        .route("/metrics", get(status::metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(node)
}

async fn not_found(uri: Uri) -> ApiError {
    let message = format!("no resource at {}", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn wrong_method() -> ApiError {
    let message = "this path does not support the method";
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
