//! HTTP requests to other nodes. They are bounded: a dead node costs at most half a second.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::node::Node;
use super::working::{Failing, State};

const TIMEOUT: Duration = Duration::from_millis(500);
/// Large enough for a thousand of the longest keys.
const MAX_REPLY_BYTES: usize = 4 * 1024 * 1024;
/// Marks a request from one node to another, so that it is not forwarded a second time.
pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("x-ratelimiter-forwarded");

/// Why another node's reply is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("{0} did not answer in time")]
    TimedOut(String),
    #[error("request to {address} failed: {reason}")]
    Failed { address: String, reason: String },
}

/// The body of a node's `/health`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Health {
    pub(crate) node_id: String,
    pub(crate) redis_connected: bool,
    pub(crate) draining: bool,
    /// A node of an earlier version does not say it.
    #[serde(default, flatten)]
    pub(crate) works: Works,
}

/// What a node says of its own work on Redis, in `/health` and in the list of nodes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Works {
    #[serde(default)]
    pub(crate) checks: State,
    #[serde(default)]
    pub(crate) checks_failing: Option<Failing>,
    #[serde(default)]
    pub(crate) heartbeats: State,
    #[serde(default)]
    pub(crate) heartbeats_failing: Option<Failing>,
}

impl Works {
    pub(crate) fn of(node: &Node) -> Self {
        let (checks, checks_failing) = node.checks.state();
        let (heartbeats, heartbeats_failing) = node.heartbeats.state();
        Self {
            checks,
            checks_failing,
            heartbeats,
            heartbeats_failing,
        }
    }
}

/// The health of the node; `None` if it does not reply, or if another node replies in its place.
pub(crate) async fn health(id: &str, address: &str) -> Option<Health> {
    let (_, body) = call(Method::GET, address, "/health", &HeaderMap::new())
        .await
        .ok()?;
    let health: Health = serde_json::from_slice(&body).ok()?;
    (health.node_id == id).then_some(health)
}

/// Sends one request, with the caller's authorization if there is one.
pub(crate) async fn call(
    method: Method,
    address: &str,
    path: &str,
    from: &HeaderMap,
) -> Result<(StatusCode, Bytes), PeerError> {
    match tokio::time::timeout(TIMEOUT, exchange(method, address, path, from)).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(PeerError::Failed {
            address: address.to_owned(),
            reason: error.to_string(),
        }),
        Err(_) => Err(PeerError::TimedOut(address.to_owned())),
    }
}

async fn exchange(
    method: Method,
    address: &str,
    path: &str,
    from: &HeaderMap,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, conn) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = request(method, address, path, from)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_REPLY_BYTES)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(conn);
    tokio::pin!(exchange);
    // The connection makes progress only while it is polled; it ends with this call.
    tokio::select! {
        reply = &mut exchange => reply,
        ended = &mut conn => {
            ended?;
            exchange.await
        }
    }
}

fn request(
    method: Method,
    address: &str,
    path: &str,
    from: &HeaderMap,
) -> Result<Request<Empty<Bytes>>, axum::http::Error> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address)
        .header(FORWARDED, HeaderValue::from_static("1"));
    if let Some(authorization) = from.get(header::AUTHORIZATION) {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(Empty::new())
}

/// The path of a node resource, such as `/api/v1/nodes/node-1/drain`.
pub(crate) fn node_path(id: &str, what: &str) -> String {
    let id = utf8_percent_encode(id, NON_ALPHANUMERIC);
    format!("/api/v1/nodes/{id}/{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment_of_the_path() {
        assert_eq!(node_path("a:1", "drain"), "/api/v1/nodes/a%3A1/drain");
    }

    #[test]
    fn only_the_authorization_is_forwarded() {
        let mut from = HeaderMap::new();
        from.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        from.insert(header::COOKIE, HeaderValue::from_static("a=b"));
        let request = request(Method::POST, "localhost:1", "/", &from).unwrap();
        assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer x");
        assert!(!request.headers().contains_key(header::COOKIE));
    }
}
