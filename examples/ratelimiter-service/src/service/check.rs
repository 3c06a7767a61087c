//! `POST /check`, the hot path. It is served on the worker that owns the connection.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::batch::{Decision, NotDecided, Pending};
use super::error::ApiError;
use super::limit::{Limit, MAX_KEY_BYTES, MAX_LIMIT, MAX_WINDOW_MS};
use super::node::{Node, WorkerState};
use super::policy::RequestedLimit;
use super::reason::Reason;
use super::script::Check;
use super::settings::OnRedisError;

/// Maximum body size of any request.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const DEGRADED: HeaderName = HeaderName::from_static("x-ratelimit-degraded");
const DRAFT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const DRAFT_STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Answers the checks of one worker.
pub(crate) struct Checker {
    pub(crate) node: Arc<Node>,
    pub(crate) worker_state: Arc<WorkerState>,
    pub(crate) checks: mpsc::UnboundedSender<Pending>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    key: String,
    limit: Option<i64>,
    window_ms: Option<i64>,
}

#[derive(Serialize)]
struct CheckResponse {
    allowed: bool,
    current_count: u64,
    remaining: u64,
    retry_after_seconds: u64,
}

impl Checker {
    pub(crate) async fn answer<B>(&self, body: B) -> Response
    where
        B: http_body_util::BodyExt<Data = bytes::Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let since = Instant::now();
        match self.decide(body).await {
            Ok((decision, degraded)) => {
                self.observe(decision.allowed, since);
                respond(decision, degraded)
            }
            Err(error) => error.into_response(),
        }
    }

    async fn decide<B>(&self, body: B) -> Result<(Decision, bool), ApiError>
    where
        B: http_body_util::BodyExt<Data = bytes::Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = read(body).await?;
        if self.node.is_draining() {
            return Err(ApiError::draining());
        }
        let check = parse(&body)?;
        self.node.metrics.checks.inc();
        let faults = self.node.chaos.now();
        if let Some(latency) = faults.added_latency() {
            tokio::time::sleep(latency).await;
        }
        // An active fault must take effect, whatever is cached from before it.
        if faults.keeps_decisions_correct()
            && let Some(refusal) = self
                .worker_state
                .refusal_cache()
                .get(&check, Instant::now())
        {
            self.worker_state.recent().record_outcome(false);
            return Ok((refusal, false));
        }
        let outcome = self.submit(check.clone()).await;
        self.worker_state.recent().record_outcome(outcome.is_err());
        match outcome {
            Ok(decision) => Ok((decision, false)),
            Err(NotDecided(reason)) => {
                self.node.metrics.check_failed(reason);
                self.without_redis(&check, reason)
            }
        }
    }

    async fn submit(&self, check: Check) -> Result<Decision, NotDecided> {
        let (reply, outcome) = oneshot::channel();
        let since = Instant::now();
        let pending = Pending {
            check,
            since,
            reply,
        };
        // Only while the node stops is there nobody to decide.
        let stopping = NotDecided(Reason::Connection);
        self.checks.send(pending).map_err(|_| stopping)?;
        outcome.await.map_err(|_| stopping)?
    }

    /// The configured reply without Redis. A block that the node knows of applies even then.
    fn without_redis(&self, check: &Check, why: Reason) -> Result<(Decision, bool), ApiError> {
        if self.node.settings.on_redis_error == OnRedisError::Deny {
            let message = format!(
                "{}, and this node is configured to deny checks without it",
                why.text()
            );
            return Err(ApiError::unavailable("redis_unavailable", message));
        }
        let (policy, now_ms) = (self.node.policy(), self.node.clock.now_ms());
        let (key, default) = (&check.key, self.node.settings.default_rule());
        let limit = policy.limit_for(key, default, check.requested);
        let wait_ms = policy.blocked_until(key).saturating_sub(now_ms);
        let (allowed, reset) = (wait_ms == 0, policy.last_reset(key));
        let mut allowed_counts = self.worker_state.allowed_counts();
        if allowed {
            allowed_counts.record(key, limit, 1, now_ms, reset);
        }
        let count = allowed_counts.allowed(key, now_ms, reset);
        Ok((
            Decision {
                allowed,
                count,
                limit,
                wait_ms,
            },
            true,
        ))
    }

    fn observe(&self, allowed: bool, since: Instant) {
        let took = since.elapsed();
        let metrics = &self.node.metrics;
        if allowed {
            metrics.allowed.inc();
        } else {
            metrics.blocked.inc();
        }
        metrics.check_duration.observe(took.as_secs_f64());
        self.worker_state.recent().record(allowed, took);
    }
}

async fn read<B>(body: B) -> Result<bytes::Bytes, ApiError>
where
    B: http_body_util::BodyExt<Data = bytes::Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(MAX_BODY_BYTES)),
        Err(error) => Err(ApiError::invalid(
            "invalid_body",
            format!("the body is incomplete: {error}"),
        )),
    }
}

fn parse(body: &[u8]) -> Result<Check, ApiError> {
    let request: Request = serde_json::from_slice(body).map_err(|error| {
        ApiError::invalid(
            "invalid_json",
            format!("the body is not a valid check: {error}"),
        )
    })?;
    check_key(&request.key)?;
    let requested = RequestedLimit {
        max: within("limit", request.limit, 0, MAX_LIMIT)?,
        window_ms: within("window_ms", request.window_ms, 1, MAX_WINDOW_MS)?,
    };
    Ok(Check {
        key: request.key,
        requested,
    })
}

/// Rejects keys that no counter can have.
pub(crate) fn check_key(key: &str) -> Result<(), ApiError> {
    if key.is_empty() {
        return Err(ApiError::invalid(
            "invalid_key",
            "the key is missing or empty",
        ));
    }
    if key.len() > MAX_KEY_BYTES {
        let message = format!("a key can have at most {MAX_KEY_BYTES} bytes");
        return Err(ApiError::invalid("invalid_key", message));
    }
    Ok(())
}

/// Rejects numbers outside `least..=most`.
pub(crate) fn within(
    name: &str,
    number: Option<i64>,
    least: u64,
    most: u64,
) -> Result<Option<u64>, ApiError> {
    let Some(number) = number else {
        return Ok(None);
    };
    match u64::try_from(number) {
        Ok(natural) if (least..=most).contains(&natural) => Ok(Some(natural)),
        _ => {
            let message = format!("{name} must be from {least} to {most}, not {number}");
            Err(ApiError::invalid("invalid_limit", message))
        }
    }
}

fn respond(decision: Decision, degraded: bool) -> Response {
    let answer = CheckResponse {
        allowed: decision.allowed,
        current_count: decision.count,
        remaining: if decision.allowed {
            decision.limit.max.saturating_sub(decision.count)
        } else {
            0
        },
        retry_after_seconds: decision.wait_ms.div_ceil(1_000),
    };
    // Only numbers and booleans: this cannot fail.
    let json = serde_json::to_vec(&answer).unwrap_or_default();
    let mut response = Response::new(Body::from(json));
    if !decision.allowed {
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    }
    set_headers(response.headers_mut(), &answer, decision.limit);
    if degraded {
        response
            .headers_mut()
            .insert(DEGRADED, HeaderValue::from_static("redis"));
    }
    response
}

fn set_headers(headers: &mut HeaderMap, answer: &CheckResponse, limit: Limit) {
    headers.reserve(8);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(LIMIT, limit.max.into());
    headers.insert(REMAINING, answer.remaining.into());
    if !answer.allowed {
        headers.insert(RESET, answer.retry_after_seconds.into());
        headers.insert(header::RETRY_AFTER, answer.retry_after_seconds.into());
    }
    let window = limit.window_ms.div_ceil(1_000);
    // For an allowed check: when its own entry, the youngest, leaves the window and the whole quota is available.
    let until = if answer.allowed {
        window
    } else {
        answer.retry_after_seconds
    };
    let drafts = [
        (
            DRAFT_POLICY,
            format!("\"default\";q={};w={window}", limit.max),
        ),
        (
            DRAFT_STATE,
            format!("\"default\";r={};t={until}", answer.remaining),
        ),
    ];
    for (name, text) in drafts {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(body: &str) -> &'static str {
        parse(body.as_bytes()).unwrap_err().code
    }

    #[test]
    fn limit_and_window_are_optional() {
        let check = parse(br#"{"key":"user:1","limit":null,"more":1}"#).unwrap();
        assert!(check.requested.is_empty());
        let check = parse(br#"{"key":"user:1","limit":0,"window_ms":1}"#).unwrap();
        assert_eq!(
            check.requested,
            RequestedLimit {
                max: Some(0),
                window_ms: Some(1)
            }
        );
    }

    #[test]
    fn invalid_checks_are_rejected() {
        assert_eq!(code_of("no json"), "invalid_json");
        assert_eq!(code_of(r#"{"key":7}"#), "invalid_json");
        assert_eq!(code_of(r#"{"key":"a","limit":1.5}"#), "invalid_json");
        assert_eq!(code_of("{}"), "invalid_key");
        assert_eq!(code_of(r#"{"key":""}"#), "invalid_key");
        assert_eq!(code_of(r#"{"key":"a","limit":-1}"#), "invalid_limit");
        assert_eq!(code_of(r#"{"key":"a","window_ms":0}"#), "invalid_limit");
        let long = format!(r#"{{"key":"{}"}}"#, "a".repeat(MAX_KEY_BYTES + 1));
        assert_eq!(code_of(&long), "invalid_key");
    }

    #[test]
    fn a_refusal_has_the_retry_time() {
        let limit = Limit {
            max: 5,
            window_ms: 60_000,
        };
        let decision = Decision {
            allowed: false,
            count: 5,
            limit,
            wait_ms: 1_001,
        };
        let response = respond(decision, false);
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        for (name, value) in [
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "2"),
            ("retry-after", "2"),
            ("ratelimit-policy", "\"default\";q=5;w=60"),
            ("ratelimit", "\"default\";r=0;t=2"),
        ] {
            assert_eq!(response.headers()[name], value, "{name}");
        }
    }
}
