//! `high_latency` and `high_block_rate`.

use operator_plugin_api::{Unknown, Violation};
use operator_plugin_kit::Findings;
use serde_json::json;

use super::names::{HIGH_BLOCK_RATE, HIGH_LATENCY};
use crate::observation::Data;

pub(super) fn high_latency(data: &Data, findings: &mut Findings) {
    let Some(most) = data.thresholds.latency_p99_ms else {
        let reason = "the observation does not contain `thresholds.latency_p99_ms`";
        return findings.unknown(Unknown::new(HIGH_LATENCY, reason));
    };
    match data.latency.p99_ms {
        Some(p99) if p99 > most => {
            let message = format!("the p99 of checks is {p99:.1} ms, {most} ms are allowed");
            let violation = Violation::new(HIGH_LATENCY, message).evidence(json!({
                "p99_ms": p99,
                "p50_ms": data.latency.p50_ms,
                "threshold_ms": most,
                "p99_ms_by_node": data.latency.p99_ms_by_node,
            }));
            findings.violation(violation);
        }
        Some(p99) if p99.is_nan() => {
            findings.unknown(Unknown::new(HIGH_LATENCY, "the p99 is not a number"));
        }
        Some(_) => {}
        None => {
            let why = data.latency.error.as_deref();
            let why = why.unwrap_or("no check was measured in the last minute");
            let reason = format!("the p99 is unknown: {why}");
            findings.unknown(Unknown::new(HIGH_LATENCY, reason));
        }
    }
}

pub(super) fn high_block_rate(data: &Data, findings: &mut Findings) {
    let Some(most) = data.thresholds.block_rate_percent else {
        let reason = "the observation does not contain `thresholds.block_rate_percent`";
        return findings.unknown(Unknown::new(HIGH_BLOCK_RATE, reason));
    };
    match data.block_rate_percent {
        Some(rate) if rate > most => {
            let message = format!("{rate:.1} % of all checks are blocked, {most} % are allowed");
            let violation = Violation::new(HIGH_BLOCK_RATE, message).evidence(json!({
                "block_rate_percent": rate,
                "threshold_percent": most,
                "requests_per_second": data.requests_per_second,
                "hot_keys": data.hot_keys,
            }));
            findings.violation(violation);
        }
        Some(rate) if rate.is_nan() => {
            let reason = "the block rate is not a number";
            findings.unknown(Unknown::new(HIGH_BLOCK_RATE, reason));
        }
        Some(_) => {}
        None => {
            let reason = "the block rate is unknown: no source reports checks of the last minute";
            findings.unknown(Unknown::new(HIGH_BLOCK_RATE, reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::samples::healthy, thresholds::ObservedThresholds};

    fn verdict(check: fn(&Data, &mut Findings), change: impl FnOnce(&mut Data)) -> &'static str {
        let mut data = healthy();
        change(&mut data);
        let mut findings = Findings::default();
        check(&data, &mut findings);
        let report = findings.report();
        match (report.violations.len(), report.unknown.len()) {
            (0, 0) => "holds",
            (1, 0) => "violated",
            (0, 1) => "unknown",
            _ => "both",
        }
    }

    #[test]
    fn latency_at_the_threshold_is_allowed_and_above_it_is_not() {
        let judge = |p99| verdict(high_latency, |data| data.latency.p99_ms = p99);
        assert_eq!(judge(Some(50.0)), "holds");
        assert_eq!(judge(Some(50.1)), "violated");
        assert_eq!(judge(Some(f64::INFINITY)), "violated");
        assert_eq!(judge(None), "unknown");
        assert_eq!(judge(Some(f64::NAN)), "unknown");
    }

    #[test]
    fn a_block_rate_at_the_threshold_is_allowed_and_above_it_is_not() {
        let judge = |rate| verdict(high_block_rate, |data| data.block_rate_percent = rate);
        assert_eq!(judge(Some(50.0)), "holds");
        assert_eq!(judge(Some(50.1)), "violated");
        assert_eq!(judge(None), "unknown");
        assert_eq!(judge(Some(f64::NAN)), "unknown");
    }

    #[test]
    fn without_its_threshold_nothing_is_judged() {
        let change = |data: &mut Data| data.thresholds = ObservedThresholds::default();
        assert_eq!(verdict(high_latency, change), "unknown");
        assert_eq!(verdict(high_block_rate, change), "unknown");
    }
}
