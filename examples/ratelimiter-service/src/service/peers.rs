//! Asking another node, directly and over HTTP. Bounded: a dead node costs no more than half a second.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_millis(500);
/// A thousand of the longest keys fit in.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Marks what one node asks another, so that it is not passed on a second time.
pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("x-ratelimiter-forwarded");

/// Why another node's answer is missing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerFault {
    #[error("{0} did not answer in time")]
    TimedOut(String),
    #[error("{address} could not be asked: {reason}")]
    Failed { address: String, reason: String },
}

/// What a node's `/health` tells.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Health {
    pub(crate) node_id: String,
    pub(crate) redis_connected: bool,
    pub(crate) draining: bool,
}

/// Asks whether the node lives; none where it does not answer, or is another one.
pub(crate) async fn health(id: &str, address: &str) -> Option<Health> {
    let (_, body) = call(Method::GET, address, "/health", &HeaderMap::new())
        .await
        .ok()?;
    let health: Health = serde_json::from_slice(&body).ok()?;
    (health.node_id == id).then_some(health)
}

/// One request, with the caller's authorization where it has one.
pub(crate) async fn call(
    method: Method,
    address: &str,
    path: &str,
    from: &HeaderMap,
) -> Result<(StatusCode, Bytes), PeerFault> {
    match tokio::time::timeout(TIMEOUT, exchange(method, address, path, from)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(PeerFault::Failed {
            address: address.to_owned(),
            reason: error.to_string(),
        }),
        Err(_) => Err(PeerFault::TimedOut(address.to_owned())),
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
    let ask = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(conn);
    tokio::pin!(ask);
    // The connection only moves bytes while it is polled; it ends with this call.
    tokio::select! {
        answer = &mut ask => answer,
        ended = &mut conn => {
            ended?;
            ask.await
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

/// A path on a node about a node, such as `/api/v1/nodes/node-1/drain`.
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
    fn only_the_authorization_is_passed_on() {
        let mut from = HeaderMap::new();
        from.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        from.insert(header::COOKIE, HeaderValue::from_static("a=b"));
        let request = request(Method::POST, "localhost:1", "/", &from).unwrap();
        assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer x");
        assert!(!request.headers().contains_key(header::COOKIE));
    }
}
