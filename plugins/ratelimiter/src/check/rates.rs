//! `high_latency` and `high_block_rate`.

use operator_plugin_api::{Unknown, Violation};
use operator_plugin_kit::Findings;
use serde_json::json;

use super::names::{HIGH_BLOCK_RATE, HIGH_LATENCY};
use crate::observation::{Data, Timed};

pub(super) fn high_latency(data: &Data, findings: &mut Findings) {
    let Some(most) = data.thresholds.latency_p99_ms else {
        let reason = "the observation does not contain `thresholds.latency_p99_ms`";
        return findings.unknown(Unknown::new(HIGH_LATENCY, reason));
    };
    let timed = &data.latency;
    let of = match timed.of {
        Some(Timed::Requests) => "all requests over HTTP, since checks are not timed,",
        _ => "checks",
    };
    match (timed.p99_ms, timed.missing.as_deref()) {
        (Some(p99), Some([])) if p99 > most => {
            let message = format!("the p99 of {of} is {p99:.1} ms, {most} ms are allowed");
            let violation = Violation::new(HIGH_LATENCY, message).evidence(json!({
                "p99_ms": p99,
                "p50_ms": timed.p50_ms,
                "threshold_ms": most,
                "of": timed.of,
                "p99_ms_by_node": timed.p99_ms_by_node,
            }));
            findings.violation(violation);
        }
        (Some(p99), Some([])) if !p99.is_nan() => {}
        _ => findings.unknown(unknown_latency(data)),
    }
}

fn unknown_latency(data: &Data) -> Unknown {
    let timed = &data.latency;
    let unknown = |why: &str| Unknown::new(HIGH_LATENCY, format!("the p99 is unknown: {why}"));
    if let Some(error) = &timed.error {
        return unknown(error);
    }
    match timed.missing.as_deref() {
        Some([]) => {}
        Some(missing) => {
            let missing = missing.join(", ");
            return unknown(&format!(
                "Prometheus has no times of the last minute of {missing}"
            ));
        }
        None => return unknown("it is unknown which nodes it stands for"),
    }
    match timed.p99_ms {
        Some(_) => unknown("it is not a number"),
        None if data.requests_per_second == Some(0.0) => {
            unknown("there are no checks").not_applicable()
        }
        None if timed.not_timed == Some(true) => {
            unknown("this service does not time its checks").not_supported()
        }
        None => unknown("no check was measured in the last minute"),
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
            let why = data.block_rate_error.as_deref();
            let why = why.unwrap_or("no source reports checks of the last minute");
            let reason = format!("the block rate is unknown: {why}");
            let unknown = Unknown::new(HIGH_BLOCK_RATE, reason);
            findings.unknown(match data.requests_per_second {
                Some(0.0) => unknown.not_applicable(),
                _ => unknown,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use operator_plugin_api::UnknownKind;

    use super::*;
    use crate::{check::samples::healthy, observation::Latency, thresholds::ObservedThresholds};

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
    fn latency_without_a_node_that_serves_is_unknown_and_that_of_an_idle_or_untimed_service_is_no_warning()
     {
        let kind = |change: &dyn Fn(&mut Data)| {
            let mut data = healthy();
            change(&mut data);
            unknown_latency(&data).kind
        };
        for missing in [None, Some(vec!["node-2".to_owned()])] {
            for p99 in [Some(2.0), Some(100.0)] {
                let change = |data: &mut Data| {
                    data.latency.missing.clone_from(&missing);
                    data.latency.p99_ms = p99;
                };
                assert_eq!(verdict(high_latency, change), "unknown");
            }
        }
        let idle = kind(&|data| {
            data.latency.p99_ms = None;
            data.requests_per_second = Some(0.0);
        });
        assert_eq!(idle, UnknownKind::NotApplicable);
        let not_timed = kind(&|data| {
            data.latency.p99_ms = None;
            data.latency.not_timed = Some(true);
        });
        assert_eq!(not_timed, UnknownKind::NotSupported);
        let away = kind(&|data| {
            data.latency = Latency {
                error: Some("Prometheus: no connection".into()),
                ..Latency::default()
            };
            data.requests_per_second = Some(0.0);
        });
        assert_eq!(away, UnknownKind::Missing);
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
