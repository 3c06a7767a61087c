//! `counter_drift`, `ghost_allowing` and `over_limit`: one verdict per key.

use operator_plugin_api::CheckReport;
use serde_json::json;

use super::{
    names::{COUNTER_DRIFT, GHOST_ALLOWING, OVER_LIMIT},
    nodes::redis_gone,
    unknown, violate,
};
use crate::{
    observation::{Counter, Data},
    thresholds::Thresholds,
};

/// Keys reported one by one for each invariant; what is beyond is summed up, so that a fault that breaks every key
/// opens dozens of tickets and not thousands.
const MAX_KEYS_REPORTED: usize = 50;

/// How far the clocks by which the nodes and Redis count may lie apart.
const CLOCKS_APART_MS: u64 = 100;

/// What is to be made of one key.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Holds,
    Violated(String),
    Unknown(&'static str),
}

type Judge = fn(&Counter, &Data) -> Verdict;

const JUDGES: [(&str, Judge); 3] = [
    (COUNTER_DRIFT, drift),
    (GHOST_ALLOWING, ghost),
    (OVER_LIMIT, over_limit),
];

pub(super) fn check(data: &Data, report: &mut CheckReport) {
    for (invariant, judge) in JUDGES {
        match (redis_gone(data), &data.counters) {
            (Some(true), _) => {
                unknown(
                    report,
                    invariant,
                    None,
                    "without Redis nothing is counted; it is judged once Redis is back",
                );
            }
            (_, None) => unknown(report, invariant, None, "no source tells of any counter"),
            (None, _) => unknown(
                report,
                invariant,
                None,
                "it is not known whether Redis is there",
            ),
            (Some(false), Some(counters)) => judge_all(invariant, judge, counters, data, report),
        }
    }
}

/// Whether a key is to be looked at again, even if no source names it any more.
pub(crate) fn is_suspicious(counter: &Counter, data: &Data) -> bool {
    JUDGES
        .iter()
        .any(|(_, judge)| matches!(judge(counter, data), Verdict::Violated(_)))
}

fn judge_all(
    invariant: &str,
    judge: Judge,
    counters: &[Counter],
    data: &Data,
    report: &mut CheckReport,
) {
    let mut broken: Vec<(&Counter, String)> = Vec::new();
    let mut unclear: Vec<(&Counter, &str)> = Vec::new();
    for counter in counters {
        match judge(counter, data) {
            Verdict::Holds => {}
            Verdict::Violated(message) => broken.push((counter, message)),
            Verdict::Unknown(why) => unclear.push((counter, why)),
        }
    }
    if let (true, [(_, why), ..]) = (unclear.len() == counters.len(), unclear.as_slice()) {
        return unknown(report, invariant, None, *why);
    }
    for (counter, why) in unclear {
        unknown(
            report,
            invariant,
            Some(&counter.key),
            format!("`{}`: {why}", counter.key),
        );
    }
    report_broken(invariant, broken, report);
}

/// Ordered by key and not by badness: which of them are reported one by one must not change with every cycle.
fn report_broken(invariant: &str, mut broken: Vec<(&Counter, String)>, report: &mut CheckReport) {
    broken.sort_by(|a, b| a.0.key.cmp(&b.0.key));
    let beyond = broken.split_off(broken.len().min(MAX_KEYS_REPORTED));
    for (counter, message) in broken {
        violate(
            report,
            invariant,
            Some(&counter.key),
            message,
            json!(counter),
        );
    }
    if let Some((_, first)) = beyond.first() {
        let message = format!("{} more keys, for example {first}", beyond.len());
        violate(
            report,
            invariant,
            None,
            message,
            json!({ "keys": beyond.len() }),
        );
    }
}

/// Redis and the nodes agree, within the share and the floor that the thresholds allow.
fn drift(counter: &Counter, data: &Data) -> Verdict {
    let (Some(redis_low), Some(redis_high)) = (counter.redis_low, counter.redis_high) else {
        return Verdict::Unknown("what Redis counts is not known");
    };
    let Some(allowed_low) = counter.allowed_low else {
        return Verdict::Unknown("what the nodes allowed is not known");
    };
    if exceeds(allowed_low, redis_high, &data.thresholds) {
        return lost_in_redis(counter, data, allowed_low, redis_high);
    }
    if !exceeds(redis_low, allowed_low, &data.thresholds) {
        return Verdict::Holds;
    }
    let Some(allowed_high) = counter.allowed_high else {
        return Verdict::Unknown("what one of the nodes allowed in the window is not known");
    };
    match counter.node_restarted {
        _ if !exceeds(redis_low, allowed_high, &data.thresholds) => Verdict::Holds,
        Some(false) => Verdict::Violated(format!(
            "`{}`: Redis counts {redis_low} in the window, the nodes allowed no more than {allowed_high}",
            counter.key
        )),
        Some(true) => {
            Verdict::Unknown("a node started less than a window ago and forgot what it had allowed")
        }
        None => Verdict::Unknown("it is not known whether a node forgot what it had allowed"),
    }
}

fn lost_in_redis(counter: &Counter, data: &Data, allowed_low: u64, redis_high: u64) -> Verdict {
    if counter.just_fell != Some(false) {
        return Verdict::Unknown(
            "its count has just fallen; not every node may have heard of a reset",
        );
    }
    let Some(window_ms) = counter.window_ms else {
        return Verdict::Unknown("its window is not known");
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

/// Whether `more` exceeds `less` by more than the thresholds allow.
fn exceeds(more: u64, less: u64, thresholds: &Thresholds) -> bool {
    let difference = more.saturating_sub(less);
    difference >= thresholds.counter_drift_floor
        && float(difference) * 100.0 > float(more) * thresholds.counter_drift_percent
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
    let Some(limit) = counter.limit else {
        return Verdict::Unknown("its limit is not known");
    };
    let (Some(allowed_low), Some(window_ms)) = (counter.allowed_low, counter.window_ms) else {
        return Verdict::Unknown("what the nodes allowed is not known");
    };
    if allowed_low <= limit {
        // Where a node does not tell, Redis stands in: what that node allowed is counted there.
        let total = counter.allowed_high.or(counter.redis_high);
        return total.map_or(
            Verdict::Unknown("what one of the nodes allowed is not known"),
            |_| Verdict::Holds,
        );
    }
    let Some(redis_low) = counter.redis_low else {
        return Verdict::Unknown(
            "what Redis counts is not known, and the nodes' clocks alone are not exact enough",
        );
    };
    if redis_low <= limit && allowed_low <= limit.saturating_add(slack(limit, window_ms)) {
        return Verdict::Holds;
    }
    if counter.just_fell != Some(false) {
        return Verdict::Unknown(
            "its count has just fallen; not every node may have heard of a reset",
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
/// clocks lie apart, and no less than a twentieth for bursts.
fn slack(limit: u64, window_ms: u64) -> u64 {
    let while_apart = limit
        .saturating_mul(CLOCKS_APART_MS)
        .div_ceil(window_ms.max(1));
    while_apart.max(limit.div_ceil(20))
}

/// Redis counts no more than the limit. At the limit a key is full, which is what limits are for.
fn over_limit(counter: &Counter, _: &Data) -> Verdict {
    let Some(limit) = counter.limit else {
        return Verdict::Unknown("its limit is not known");
    };
    match counter.redis_low {
        None => Verdict::Unknown("what Redis counts is not known"),
        Some(redis_low) if redis_low <= limit => Verdict::Holds,
        Some(redis_low) => settled(counter).unwrap_or_else(|| {
            Verdict::Violated(format!(
                "`{}`: Redis counts {redis_low} in the window, the limit is {limit}",
                counter.key
            ))
        }),
    }
}

/// A limit that was lowered leaves what was allowed before in the window.
fn settled(counter: &Counter) -> Option<Verdict> {
    match counter.limit_settled {
        Some(true) => None,
        Some(false) => Some(Verdict::Unknown("its limit changed less than a window ago")),
        None => Some(Verdict::Unknown(
            "it is not known how long its limit has been in force",
        )),
    }
}

#[cfg(test)]
mod tests;
