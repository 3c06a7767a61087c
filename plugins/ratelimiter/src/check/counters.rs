//! `counter_drift`, `ghost_allowing` and `over_limit`: one verdict per key.

use operator_plugin_api::{Unknown, UnknownKind, Violation};
use operator_plugin_kit::Findings;
use serde_json::json;

use super::{
    names::{COUNTER_DRIFT, GHOST_ALLOWING, OVER_LIMIT},
    nodes::redis_gone,
};
use crate::{
    keys::Suspicion,
    observation::{Counter, Data, LimitSource},
    thresholds::ObservedThresholds,
};

/// How far the clocks by which the nodes and Redis count may be apart.
const CLOCKS_APART_MS: u64 = 100;

/// The verdict on one key.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    Violated(String),
    Unknown(&'static str),
    NotSupported(&'static str),
}

const LIMIT_UNKNOWN: &str =
    "its limit is unknown: no list names it, and a client may name its own limit with each check";
const OLDER_ALLOWED: &str = "services of the older form do not report what each node allowed";
const OLDER_LIMITS: &str = "services of the older form show the default limit for every key, whatever limit its clients name, and \
     do not enforce the limits that are set";

type Judge = fn(&Counter, &Data) -> Verdict;

const JUDGES: [(&str, Judge); 3] = [
    (COUNTER_DRIFT, drift),
    (GHOST_ALLOWING, ghost),
    (OVER_LIMIT, over_limit),
];

pub(super) fn check(data: &Data, findings: &mut Findings) {
    for (invariant, judge) in JUDGES {
        let reason = match (redis_gone(data), &data.counters) {
            (Some(false), Some(counters)) => {
                judge_all(invariant, judge, counters, data, findings);
                continue;
            }
            (Some(true), _) => "nothing is counted without Redis",
            (_, None) => "no source reports any counter",
            (None, _) => "it is unknown whether Redis is available",
        };
        findings.unknown(Unknown::new(invariant, with_refusal(reason, data)));
    }
}

/// What one cycle found out about a key: one that violates anything is read again, even if no source lists it any more.
pub(crate) fn suspicion(counter: &Counter, data: &Data) -> Suspicion {
    let mut found = Suspicion::Holds;
    for (_, judge) in JUDGES {
        match judge(counter, data) {
            Verdict::Violated(_) => return Suspicion::Violates,
            Verdict::Unknown(_) => found = Suspicion::Unknown,
            Verdict::Holds | Verdict::NotSupported(_) => {}
        }
    }
    found
}

fn judge_all(
    invariant: &str,
    judge: Judge,
    counters: &[Counter],
    data: &Data,
    findings: &mut Findings,
) {
    let mut unclear: Vec<(&Counter, &str, UnknownKind)> = Vec::new();
    for counter in counters {
        match judge(counter, data) {
            Verdict::Holds => {}
            Verdict::Unknown(why) => unclear.push((counter, why, UnknownKind::Missing)),
            Verdict::NotSupported(why) => unclear.push((counter, why, UnknownKind::NotSupported)),
            Verdict::Violated(message) => {
                let violation = Violation::new(invariant, message)
                    .resource(&counter.key)
                    .evidence(json!(counter));
                findings.violation(violation);
            }
        }
    }
    let is_all = unclear.len() == counters.len();
    if let (true, [(_, why, kind), ..]) = (is_all, unclear.as_slice()) {
        return findings.unknown(Unknown {
            kind: *kind,
            ..Unknown::new(invariant, with_refusal(why, data))
        });
    }
    if let Some(why) = not_looked_at(counters, data) {
        findings.unknown(Unknown::new(invariant, why));
    }
    for (counter, why, kind) in unclear {
        let reason = format!("`{}`: {}", counter.key, with_refusal(why, data));
        findings.unknown(Unknown {
            kind,
            ..Unknown::new(invariant, reason).resource(&counter.key)
        });
    }
}

/// Until each key had its turn, those that did not are unknown.
fn not_looked_at(counters: &[Counter], data: &Data) -> Option<String> {
    let of_older = |counter: &Counter| counter.limit_source == Some(LimitSource::Default);
    if data.counters_complete == Some(true)
        || data.counters_swept == Some(true)
        || (!counters.is_empty() && counters.iter().all(of_older))
    {
        return None;
    }
    let total = data.counters_total.map(|total| total.to_string());
    Some(format!(
        "{} of {} keys are looked at in this cycle, and not all of the others have had their turn yet",
        counters.len(),
        total.as_deref().unwrap_or("more"),
    ))
}

/// What Redis refuses is the reason of whatever is not counted.
fn with_refusal(why: &str, data: &Data) -> String {
    match (&data.redis.error, data.redis.refused) {
        (Some(error), Some(_)) if data.redis_connected != Some(false) => {
            format!("{why}; Redis refuses this plugin: {error}")
        }
        _ => why.to_owned(),
    }
}

/// Redis and the nodes agree, within the tolerance of the thresholds.
fn drift(counter: &Counter, data: &Data) -> Verdict {
    let (Some(redis_low), Some(redis_high)) = (counter.redis_low, counter.redis_high) else {
        return Verdict::Unknown("the count in Redis is unknown");
    };
    let Some(allowed_low) = counter.allowed_low else {
        return match counter.limit_source {
            Some(LimitSource::Default) => Verdict::NotSupported(OLDER_ALLOWED),
            _ => Verdict::Unknown("what the nodes allowed is unknown"),
        };
    };
    let Some(tolerance) = Tolerance::of(&data.thresholds) else {
        return Verdict::Unknown("the observation does not contain the thresholds of drift");
    };
    if tolerance.is_exceeded(allowed_low, redis_high) {
        return lost_in_redis(counter, data, allowed_low, redis_high);
    }
    if !tolerance.is_exceeded(redis_low, allowed_low) {
        return Verdict::Holds;
    }
    let Some(allowed_high) = counter.allowed_high else {
        return Verdict::Unknown("what one of the nodes allowed in the window is unknown");
    };
    match counter.node_restarted {
        _ if !tolerance.is_exceeded(redis_low, allowed_high) => Verdict::Holds,
        Some(false) => Verdict::Violated(format!(
            "`{}`: Redis counts {redis_low} in the window, the nodes allowed no more than {allowed_high}",
            counter.key
        )),
        Some(true) => {
            Verdict::Unknown("a node started less than a window ago and has lost its own counts")
        }
        None => Verdict::Unknown("it is unknown whether a node has lost its own counts"),
    }
}

fn lost_in_redis(counter: &Counter, data: &Data, allowed_low: u64, redis_high: u64) -> Verdict {
    if counter.just_fell != Some(false) {
        return Verdict::Unknown(
            "its count has just dropped, and a reset may not have reached every node yet",
        );
    }
    let Some(window_ms) = counter.window_ms else {
        return Verdict::Unknown("its window is unknown");
    };
    match data.redis.uptime_s {
        Some(uptime) if uptime.saturating_mul(1_000) <= window_ms => {
            Verdict::Unknown("Redis started less than a window ago and may have lost its counters")
        }
        _ => Verdict::Violated(format!(
            "`{}`: the nodes allowed {allowed_low} in the window, Redis counts no more than {redis_high}",
            counter.key
        )),
    }
}

/// How far two counts of one key may differ.
struct Tolerance {
    percent: f64,
    floor: u64,
}

impl Tolerance {
    fn of(thresholds: &ObservedThresholds) -> Option<Self> {
        Some(Self {
            percent: thresholds.counter_drift_percent?,
            floor: thresholds.counter_drift_floor?,
        })
    }

    /// Whether `more` exceeds `less` by too much.
    fn is_exceeded(&self, more: u64, less: u64) -> bool {
        let difference = more.saturating_sub(less);
        difference >= self.floor && float(difference) * 100.0 > float(more) * self.percent
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "far below 2^52, where f64 is exact"
)]
fn float(number: u64) -> f64 {
    number as f64
}

/// The nodes together allowed no more than the limit within one window.
fn ghost(counter: &Counter, _: &Data) -> Verdict {
    if counter.limit_source == Some(LimitSource::Default) {
        return Verdict::NotSupported(OLDER_ALLOWED);
    }
    let Some(limit) = limit(counter) else {
        return Verdict::Unknown(LIMIT_UNKNOWN);
    };
    let (Some(allowed_low), Some(window_ms)) = (counter.allowed_low, counter.window_ms) else {
        return Verdict::Unknown("what the nodes allowed is unknown");
    };
    if allowed_low <= limit {
        // Where a node does not report, Redis has counted what that node allowed.
        let total = counter.allowed_high.or(counter.redis_high);
        return total.map_or(
            Verdict::Unknown("what one of the nodes allowed is unknown"),
            |_| Verdict::Holds,
        );
    }
    let Some(redis_low) = counter.redis_low else {
        return Verdict::Unknown(
            "the count in Redis is unknown, and the nodes' clocks alone are not exact enough",
        );
    };
    if redis_low <= limit && allowed_low <= limit.saturating_add(slack(limit, window_ms)) {
        return Verdict::Holds;
    }
    if counter.just_fell != Some(false) {
        return Verdict::Unknown(
            "its count has just dropped, and a reset may not have reached every node yet",
        );
    }
    settled(counter).unwrap_or_else(|| {
        Verdict::Violated(format!(
            "`{}`: the nodes allowed {allowed_low} in one window, the limit is {limit}",
            counter.key
        ))
    })
}

/// How much the sum over the nodes may exceed the limit where Redis's own count does not: what passes while the
/// clocks are apart, and at least a twentieth for bursts.
fn slack(limit: u64, window_ms: u64) -> u64 {
    let while_apart = limit
        .saturating_mul(CLOCKS_APART_MS)
        .div_ceil(window_ms.max(1));
    while_apart.max(limit.div_ceil(20))
}

/// Redis counts no more than the limit. A key at its limit is full, which is normal.
fn over_limit(counter: &Counter, _: &Data) -> Verdict {
    if counter.limit_source == Some(LimitSource::Default) {
        return Verdict::NotSupported(OLDER_LIMITS);
    }
    let Some(limit) = limit(counter) else {
        return Verdict::Unknown(LIMIT_UNKNOWN);
    };
    match counter.redis_low {
        None => Verdict::Unknown("the count in Redis is unknown"),
        Some(redis_low) if redis_low <= limit => Verdict::Holds,
        Some(redis_low) => settled(counter).unwrap_or_else(|| {
            Verdict::Violated(format!(
                "`{}`: Redis counts {redis_low} in the window, the limit is {limit}",
                counter.key
            ))
        }),
    }
}

/// The limit by which the service judges the key.
fn limit(counter: &Counter) -> Option<u64> {
    counter
        .limit
        .filter(|_| counter.limit_source == Some(LimitSource::Service))
}

/// A limit that was lowered leaves what was allowed before in the window.
fn settled(counter: &Counter) -> Option<Verdict> {
    match counter.limit_settled {
        Some(true) => None,
        Some(false) => Some(Verdict::Unknown("its limit changed less than a window ago")),
        None => Some(Verdict::Unknown(
            "its limit was not read in this cycle, and may have changed",
        )),
    }
}

#[cfg(test)]
mod tests;
