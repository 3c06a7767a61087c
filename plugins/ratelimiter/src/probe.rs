//! Probing one node: whether it is alive, and its own metrics.

use std::{collections::HashMap, thread, time::Duration};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Answer, Endpoint, Fault, Http, endpoint::segment};

use crate::{
    observation::NodeMetrics,
    wire::{Health, NodeMetricsV1},
};

/// Between two probes: a node that is just restarting its listener, or a machine that is busy for a moment, is not down.
const PAUSE: Duration = Duration::from_millis(100);

/// An endpoint, and the node that is expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    /// None at a configured URL while it is unknown which node answers there.
    pub(crate) id: Option<String>,
}

/// The result of probing a target.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    pub(crate) target: Target,
    pub(crate) health: Result<Health, Fault>,
    pub(crate) took: Duration,
}

/// Reads the node's health, and once more if no answer came: one slow answer does not mean that it is down.
pub(crate) fn probe(http: &Http, target: &Target, timeout: Duration, end: Deadline) -> Probed {
    let asked = std::time::Instant::now();
    let once = || health(&http.get(&target.endpoint, "/health", end.at_most(timeout))?);
    let health = once().or_else(|_| {
        thread::sleep(end.at_most(PAUSE));
        once()
    });
    Probed {
        target: target.clone(),
        health,
        took: asked.elapsed(),
    }
}

/// A node that drains answers 503 with `draining`; any other failure is one.
fn health(answer: &Answer) -> Result<Health, Fault> {
    if answer.status == 503
        && let Ok(health) = answer.json::<Health>()
        && health.draining == Some(true)
    {
        return Ok(health);
    }
    answer.ok()
}

/// What a node that answered reports about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeReport {
    pub(crate) metrics: NodeMetrics,
    /// What it allowed per key in the key's window; none where it does not report it.
    pub(crate) allowed: Option<Allowed>,
    /// Whether it reaches Redis, where its `/health` does not report it.
    pub(crate) redis_connected: Option<bool>,
    pub(crate) fault: Option<Fault>,
}

/// What a node allowed per key, perhaps without the keys that are the least busy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed {
    pub(crate) by_key: HashMap<String, u64>,
    /// A key that is not named was allowed no more than this.
    pub(crate) others_at_most: u64,
}

/// Reads what the node reports, in either form.
pub(crate) fn read(http: &Http, id: &str, endpoint: &Endpoint, end: Deadline) -> NodeReport {
    let mut report = match metrics(http, id, endpoint, end) {
        Ok(v1) => of_v1(v1),
        Err(Fault::Status(404, _)) => of_older(http, endpoint, end),
        Err(fault) => NodeReport {
            fault: Some(fault),
            ..NodeReport::default()
        },
    };
    match totals(http, endpoint, end) {
        Ok((allowed, blocked)) => {
            report.metrics.allowed_total = allowed;
            report.metrics.blocked_total = blocked;
        }
        Err(fault) => report.fault = report.fault.or(Some(fault)),
    }
    report
}

/// Reads again what the node allowed.
pub(crate) fn allowed_again(
    http: &Http,
    id: &str,
    endpoint: &Endpoint,
    end: Deadline,
) -> Option<Allowed> {
    metrics(http, id, endpoint, end).ok().and_then(allowed)
}

fn metrics(
    http: &Http,
    id: &str,
    endpoint: &Endpoint,
    end: Deadline,
) -> Result<NodeMetricsV1, Fault> {
    let path = format!("/api/v1/nodes/{}/metrics", segment(id));
    http.get(endpoint, &path, end.remaining())?.ok()
}

fn of_v1(v1: NodeMetricsV1) -> NodeReport {
    let metrics = NodeMetrics {
        requests_per_second: v1.requests_per_second,
        allowed_rate: v1.allowed_rate,
        blocked_rate: v1.blocked_rate,
        latency_p50_ms: v1.latency_p50_ms,
        latency_p99_ms: v1.latency_p99_ms,
        redis_latency_ms: v1.redis_latency_ms,
        active_keys: v1.active_keys,
        ..NodeMetrics::default()
    };
    NodeReport {
        metrics,
        allowed: allowed(v1),
        ..NodeReport::default()
    }
}

fn allowed(v1: NodeMetricsV1) -> Option<Allowed> {
    let by_key = v1.allowed_in_window?;
    let all_named = v1
        .active_keys
        .is_some_and(|active| active <= by_key.len() as u64);
    let least = by_key.values().min().copied().unwrap_or_default();
    Some(Allowed {
        by_key,
        others_at_most: if all_named { 0 } else { least },
    })
}

/// The older form's `/health` reports healthy without Redis, while its counters answer 500.
fn of_older(http: &Http, endpoint: &Endpoint, end: Deadline) -> NodeReport {
    let counters = http.get(endpoint, "/api/counters", end.remaining());
    let redis_connected = match &counters {
        Ok(answer) if answer.status == 200 => Some(true),
        Ok(answer) if answer.status == 500 || answer.status == 503 => Some(false),
        _ => None,
    };
    NodeReport {
        redis_connected,
        ..NodeReport::default()
    }
}

/// Checks allowed and blocked since the node started; none where it has not counted any.
fn totals(
    http: &Http,
    endpoint: &Endpoint,
    end: Deadline,
) -> Result<(Option<u64>, Option<u64>), Fault> {
    let answer = http.get(endpoint, "/metrics", end.remaining())?;
    let text = answer.text()?;
    Ok((total(text, "allowed"), total(text, "blocked")))
}

/// Sums the lines `ratelimiter_requests_checked_total{...result="allowed"...} 17` of a Prometheus text.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter is a natural number, written as a float"
)]
fn total(text: &str, result: &str) -> Option<u64> {
    let label = format!("result=\"{result}\"");
    let counts = text.lines().filter_map(|line| {
        let series = line.strip_prefix("ratelimiter_requests_checked_total{")?;
        let (labels, value) = series.rsplit_once('}')?;
        let value: f64 = value.split_whitespace().next()?.parse().ok()?;
        (labels.contains(&label) && value >= 0.0).then_some(value as u64)
    });
    counts.reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_both_forms_of_the_metrics() {
        let ours =
            "# HELP x\nratelimiter_requests_checked_total{node_id=\"n\",result=\"allowed\"} 17\n";
        let older = "ratelimiter_requests_checked_total{result=\"allowed\"} 1.7e1 1700000000\n";
        for text in [ours, older] {
            assert_eq!(
                (total(text, "allowed"), total(text, "blocked")),
                (Some(17), None)
            );
        }
    }

    #[test]
    fn a_key_that_is_not_named_may_have_as_much_as_the_least_that_is() {
        let metrics = |active| NodeMetricsV1 {
            active_keys: active,
            allowed_in_window: Some(HashMap::from([("a".into(), 9), ("b".into(), 4)])),
            ..NodeMetricsV1::default()
        };
        assert_eq!(allowed(metrics(Some(2))).unwrap().others_at_most, 0);
        assert_eq!(allowed(metrics(Some(3))).unwrap().others_at_most, 4);
        assert_eq!(allowed(metrics(None)).unwrap().others_at_most, 4);
    }
}
