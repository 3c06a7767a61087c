//! Probing one node: whether it is alive, and its own metrics.

use std::{collections::HashMap, thread, time::Duration};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Answer, Endpoint, Fault, Http, endpoint::segment};

use crate::{
    checks::CheckTotals,
    exposition,
    observation::{ApiForm, NodeMetrics},
    wire::{Health, LimitInWindow, NodeMetricsV1, is_node_id},
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
    let health = match answer.json::<Health>() {
        Ok(health) if answer.status == 503 && health.draining == Some(true) => health,
        _ => answer.ok()?,
    };
    if !is_node_id(&health.node_id) {
        return Err(Fault::Garbage("its `node_id` is not an id".into()));
    }
    Ok(health)
}

/// What a node that answered reports about itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeReport {
    pub(crate) metrics: NodeMetrics,
    /// What it allowed per key in the key's window; none where it does not report it.
    pub(crate) allowed: Option<Allowed>,
    /// Its checks since it started; none where its metrics were not read.
    pub(crate) checks: Option<CheckTotals>,
    pub(crate) fault: Option<Fault>,
}

/// What a node allowed per key, perhaps without the keys that are the least busy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed {
    pub(crate) by_key: HashMap<String, u64>,
    /// The limits by which the keys were checked, where the node tells them.
    pub(crate) limits: HashMap<String, LimitInWindow>,
    /// A key that is not named was allowed no more than this.
    pub(crate) others_at_most: u64,
}

/// Reads what the node reports. One of the older form has its `/metrics` alone.
pub(crate) fn read(
    http: &Http,
    id: &str,
    endpoint: &Endpoint,
    form: Option<ApiForm>,
    end: Deadline,
) -> NodeReport {
    let reported = (form != Some(ApiForm::Older)).then(|| metrics(http, id, endpoint, end));
    let mut report = match reported {
        Some(Ok(v1)) => of_v1(v1),
        None | Some(Err(Fault::Status(404, _))) => NodeReport::default(),
        Some(Err(fault)) => NodeReport {
            fault: Some(fault),
            ..NodeReport::default()
        },
    };
    match read_metrics(http, endpoint, end) {
        Ok(text) => {
            report.metrics.allowed_total = exposition::checked(&text, "allowed");
            report.metrics.blocked_total = exposition::checked(&text, "blocked");
            report.checks = Some(exposition::checks(&text));
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
        limits: v1.limits_in_window,
        others_at_most: if all_named { 0 } else { least },
    })
}

fn read_metrics(http: &Http, endpoint: &Endpoint, end: Deadline) -> Result<String, Fault> {
    let answer = http.get(endpoint, "/metrics", end.remaining())?;
    answer.text().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

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
