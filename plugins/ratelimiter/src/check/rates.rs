//! `high_latency` and `high_block_rate`.

use operator_plugin_api::CheckReport;
use serde_json::json;

use super::{
    names::{HIGH_BLOCK_RATE, HIGH_LATENCY},
    unknown, violate,
};
use crate::observation::Data;

pub(super) fn high_latency(data: &Data, report: &mut CheckReport) {
    let most = data.thresholds.latency_p99_ms;
    match data.latency.p99_ms {
        Some(p99) if p99.is_nan() => unknown(report, HIGH_LATENCY, None, "the p99 is no number"),
        Some(p99) if p99 > most => {
            let evidence = json!({
                "p99_ms": p99,
                "p50_ms": data.latency.p50_ms,
                "threshold_ms": most,
                "p99_ms_by_node": data.latency.p99_ms_by_node,
            });
            let message = format!("the p99 of checks is {p99:.1} ms, {most} ms are allowed");
            violate(report, HIGH_LATENCY, None, message, evidence);
        }
        Some(_) => {}
        None => {
            let why = data
                .latency
                .error
                .as_deref()
                .unwrap_or("no check was measured in the last minute");
            unknown(
                report,
                HIGH_LATENCY,
                None,
                format!("there is no p99: {why}"),
            );
        }
    }
}

pub(super) fn high_block_rate(data: &Data, report: &mut CheckReport) {
    let most = data.thresholds.block_rate_percent;
    match data.block_rate_percent {
        Some(rate) if rate.is_nan() => {
            unknown(report, HIGH_BLOCK_RATE, None, "the block rate is no number");
        }
        Some(rate) if rate > most => {
            let evidence = json!({
                "block_rate_percent": rate,
                "threshold_percent": most,
                "requests_per_second": data.requests_per_second,
                "hot_keys": data.hot_keys,
            });
            let message = format!("{rate:.1} % of all checks are blocked, {most} % are allowed");
            violate(report, HIGH_BLOCK_RATE, None, message, evidence);
        }
        Some(_) => {}
        None => unknown(
            report,
            HIGH_BLOCK_RATE,
            None,
            "there is no block rate: no source tells of checks in the last minute",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::healthy;

    fn verdict(check: fn(&Data, &mut CheckReport), change: impl FnOnce(&mut Data)) -> &'static str {
        let mut data = healthy();
        change(&mut data);
        let mut report = CheckReport::default();
        check(&data, &mut report);
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
}
