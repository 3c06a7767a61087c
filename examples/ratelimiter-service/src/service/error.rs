//! The common error format: `{"error":{"code","message"}}`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::reason::Reason;
use super::redis_client::RedisFailure;

/// An error response.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn no_such_node(id: &str) -> Self {
        let message = format!("no node is named `{id}`");
        Self::new(StatusCode::NOT_FOUND, "node_not_found", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is longer than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    pub(crate) fn draining() -> Self {
        Self::unavailable("draining", "this node is draining; ask another one")
    }
}

impl From<RedisFailure> for ApiError {
    fn from(error: RedisFailure) -> Self {
        // Redis's own message is only logged, because it can contain host names.
        let reason = error.reason().unwrap_or(Reason::Connection);
        let chain = anyhow::Error::new(error);
        tracing::warn!(error = format!("{chain:#}"), "a management call failed");
        Self::unavailable("redis_unavailable", reason.text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = json!({"error": {"code": self.code, "message": self.message}});
        let mut response = (self.status, axum::Json(error)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
