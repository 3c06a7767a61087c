//! Prometheus's metrics of each store: `high_latency`, `raft_log_lag`, `write_stall` and `server_busy`.

use std::collections::BTreeMap;

use operator_plugin_api::{Unknown, Violation};
use operator_plugin_kit::{Findings, text::decimal};
use serde_json::json;

use super::{
    named,
    names::{HIGH_LATENCY, RAFT_LOG_LAG, SERVER_BUSY, WRITE_STALL},
    no_threshold, resource,
    store_health::{self, StoreHealth, is_tiflash},
};
use crate::{
    observation::{Data, Store, StoreMetrics},
    thresholds::ObservedThresholds,
};

/// One invariant over one number of each store.
struct Rule {
    invariant: &'static str,
    what: &'static str,
    unit: &'static str,
    /// The threshold, or the name of the one that the observation lacks.
    most: fn(&ObservedThresholds) -> Result<f64, &'static str>,
    of: fn(&StoreMetrics) -> Option<f64>,
    /// How much there is to measure, where there can be nothing. A second.
    events: Option<fn(&StoreMetrics) -> Option<f64>>,
}

const RULES: [Rule; 4] = [
    Rule {
        invariant: HIGH_LATENCY,
        what: "the p99 of its requests",
        unit: "ms",
        most: |thresholds| thresholds.latency_p99_ms.ok_or("latency_p99_ms"),
        of: |metrics| metrics.latency_p99_ms,
        events: Some(|metrics| metrics.qps),
    },
    Rule {
        invariant: RAFT_LOG_LAG,
        what: "the p99 of its followers' lag",
        unit: "entries",
        most: |thresholds| {
            thresholds
                .raft_log_lag_entries
                .ok_or("raft_log_lag_entries")
        },
        of: |metrics| metrics.raft_log_lag,
        events: Some(|metrics| metrics.raft_log_lag_per_second),
    },
    Rule {
        invariant: WRITE_STALL,
        what: "the p99 of its write stalls",
        unit: "µs",
        most: |_| Ok(0.0),
        of: |metrics| metrics.write_stall_us,
        events: None,
    },
    Rule {
        invariant: SERVER_BUSY,
        what: "the rate of requests rejected because a queue is full",
        unit: "a second",
        most: |_| Ok(0.0),
        of: |metrics| metrics.rejected_per_second,
        events: None,
    },
];

pub(super) fn check(data: &Data, findings: &mut Findings) {
    let Some((stores, metrics)) = data.stores.as_ref().zip(data.store_metrics.as_ref()) else {
        let reason = match &data.metrics_error {
            Some(error) => format!("Prometheus: {error}"),
            None => "there are no metrics of the stores".to_owned(),
        };
        return findings.all_unknown(RULES.iter().map(|rule| rule.invariant), &reason);
    };
    for rule in &RULES {
        match (rule.most)(&data.thresholds) {
            Ok(most) => judge_all(rule, most, stores, metrics, data, findings),
            Err(name) => findings.unknown(Unknown::new(rule.invariant, no_threshold(name))),
        }
    }
}

fn judge_all(
    rule: &Rule,
    most: f64,
    stores: &[Store],
    metrics: &BTreeMap<String, StoreMetrics>,
    data: &Data,
    findings: &mut Findings,
) {
    for store in stores {
        let measured = metrics.get(&store.id.to_string());
        match store_health::of(store, data).zip(is_tiflash(store)) {
            // TiFlash has none of these metrics, so there is nothing that could be hidden.
            Some((_, true)) => {}
            Some((StoreHealth::Down | StoreHealth::Gone, false)) => {
                let reason =
                    "it serves nothing that could be measured; that it is down has its own ticket";
                let unknown = Unknown::new(rule.invariant, reason).not_applicable();
                findings.unknown(unknown.resource(resource(store.id)));
            }
            Some((StoreHealth::Up | StoreHealth::Silent, false)) => {
                judge(rule, most, store, measured, data, findings);
            }
            None => {
                let reason = "it is unknown whether it serves, or whether it is TiKV or TiFlash";
                let unknown = Unknown::new(rule.invariant, reason);
                findings.unknown(unknown.resource(resource(store.id)));
            }
        }
    }
}

fn judge(
    rule: &Rule,
    most: f64,
    store: &Store,
    measured: Option<&StoreMetrics>,
    data: &Data,
    findings: &mut Findings,
) {
    let (what, unit) = (rule.what, rule.unit);
    let unknown = match measured.and_then(rule.of) {
        Some(value) if value > most => {
            let name = named(store);
            let shown = decimal(value, 1);
            let message = format!("{name}: {what} is {shown} {unit}, {most} are allowed");
            let evidence =
                json!({"value": value, "threshold": most, "unit": unit, "metrics": measured});
            let violation = Violation::new(rule.invariant, message).evidence(evidence);
            return findings.violation(violation.resource(resource(store.id)));
        }
        Some(value) if value >= 0.0 => {
            if measured.and_then(|metrics| metrics.window_covered) == Some(true) {
                return;
            }
            Unknown::new(rule.invariant, NOT_COVERED)
        }
        Some(_) => Unknown::new(rule.invariant, format!("{what} is not a possible number")),
        None => missing(rule, store, measured, data),
    };
    findings.unknown(unknown.resource(resource(store.id)));
}

const NOT_COVERED: &str =
    "Prometheus has scraped it for less than half a minute, or not without a gap";

fn missing(rule: &Rule, store: &Store, measured: Option<&StoreMetrics>, data: &Data) -> Unknown {
    let unknown = |reason: String| Unknown::new(rule.invariant, reason);
    let what = rule.what;
    let Some((metrics, scraped)) = measured.and_then(|all| Some((all, all.scraped?))) else {
        return unknown(no_instance(store, data));
    };
    let instance = metrics.instance.as_deref().unwrap_or("it");
    let events = rule.events.and_then(|events| events(metrics));
    if !scraped {
        unknown(format!("Prometheus cannot scrape {instance}"))
    } else if metrics.window_covered != Some(true) {
        unknown(NOT_COVERED.into())
    } else if events == Some(0.0) {
        let reason = format!("it is idle: there is nothing to measure for {what}");
        unknown(reason).not_applicable()
    } else if rule.invariant == SERVER_BUSY && metrics.rejections_told == Some(false) {
        let reason = "its counters have no series, and this server cannot tell whether they have had no event or are not stored";
        unknown(reason.into()).not_supported()
    } else {
        unknown(format!(
            "Prometheus scrapes {instance} but has no value for {what}: too few samples yet, or relabelling drops its series"
        ))
    }
}

/// Which instances there are, so that a person sees how the scrape configuration names them.
fn no_instance(store: &Store, data: &Data) -> String {
    let address = store.status_address.as_deref().unwrap_or("unknown");
    let known = &data.metrics_instances;
    let count = data.metrics_instance_count.unwrap_or_default();
    let more = count.saturating_sub(known.len() as u64);
    let known = match (known.is_empty(), more) {
        (true, _) => "it has no instances".to_owned(),
        (false, 0) => format!("it has {}", known.join(", ")),
        (false, more) => format!("it has {} and {more} more", known.join(", ")),
    };
    format!(
        "Prometheus has no instance of its own for {address}, by the labels instance, pod or host: {known}"
    )
}

#[cfg(test)]
mod tests {
    use operator_plugin_api::UnknownKind;

    use super::*;
    use crate::{check::samples, observation::StoreState};

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        samples::judge(check, change)
    }

    fn of(set: impl FnOnce(&mut StoreMetrics)) -> Vec<String> {
        judge(|data| set(data.store_metrics.as_mut().unwrap().get_mut("4").unwrap()))
    }

    #[test]
    fn at_the_threshold_is_allowed_and_above_it_is_not() {
        assert_eq!(of(|m| m.latency_p99_ms = Some(100.0)), [""; 0]);
        assert_eq!(
            of(|m| m.latency_p99_ms = Some(100.1)),
            ["high_latency store-4 violated"]
        );
        assert_eq!(of(|m| m.raft_log_lag = Some(5_000.0)), [""; 0]);
        assert_eq!(
            of(|m| m.raft_log_lag = Some(f64::MAX)),
            ["raft_log_lag store-4 violated"]
        );
        assert_eq!(
            of(|m| m.write_stall_us = Some(1.0)),
            ["write_stall store-4 violated"]
        );
        assert_eq!(
            of(|m| m.rejected_per_second = Some(0.1)),
            ["server_busy store-4 violated"]
        );
    }

    #[test]
    fn what_is_missing_or_impossible_is_unknown() {
        for value in [None, Some(-1.0), Some(f64::NAN)] {
            assert_eq!(
                of(|m| m.latency_p99_ms = value),
                ["high_latency store-4 unknown"],
                "{value:?}"
            );
        }
        assert_eq!(of(|m| *m = StoreMetrics::default()).len(), 4);
        let whole = [
            "high_latency * unknown",
            "raft_log_lag * unknown",
            "server_busy * unknown",
            "write_stall * unknown",
        ];
        assert_eq!(judge(|data| data.store_metrics = None), whole);
        assert_eq!(judge(|data| data.stores = None), whole);
    }

    /// The kinds of what is unknown of the second store.
    fn kinds(set: impl FnOnce(&mut StoreMetrics)) -> Vec<(String, UnknownKind)> {
        let mut data = samples::healthy();
        set(data.store_metrics.as_mut().unwrap().get_mut("4").unwrap());
        let mut findings = Findings::default();
        check(&data, &mut findings);
        let unknown = findings.report().unknown.into_iter();
        unknown.map(|one| (one.invariant, one.kind)).collect()
    }

    #[test]
    fn what_an_idle_store_or_a_limited_server_cannot_tell_is_quiet() {
        let idle = kinds(|m| {
            m.qps = Some(0.0);
            m.latency_p99_ms = None;
        });
        let one = |name: &str, kind| vec![(name.to_owned(), kind)];
        assert_eq!(idle, one(HIGH_LATENCY, UnknownKind::NotApplicable));
        let busy = kinds(|m| m.latency_p99_ms = None);
        assert_eq!(busy, one(HIGH_LATENCY, UnknownKind::Missing));
        let untold = kinds(|m| {
            m.rejected_per_second = None;
            m.rejections_told = Some(false);
        });
        assert_eq!(untold, one(SERVER_BUSY, UnknownKind::NotSupported));
    }

    #[test]
    fn a_good_value_over_less_than_the_window_is_unknown_and_a_bad_one_is_not() {
        assert_eq!(of(|m| m.window_covered = Some(false)).len(), 4);
        let busy = of(|m| {
            m.window_covered = None;
            m.rejected_per_second = Some(1.0);
        });
        assert!(
            busy.contains(&"server_busy store-4 violated".to_owned()),
            "{busy:?}"
        );
        assert_eq!(busy.len(), 4);
    }

    #[test]
    fn a_store_without_an_instance_is_told_which_there_are() {
        let mut data = samples::healthy();
        data.store_metrics.as_mut().unwrap().remove("4");
        data.metrics_instances = vec!["basic-tikv-9".into()];
        data.metrics_instance_count = Some(3);
        let mut findings = Findings::default();
        check(&data, &mut findings);
        let reason = findings.report().unknown[0].reason.clone();
        assert!(reason.contains("tikv4:20180"), "{reason}");
        assert!(reason.contains("basic-tikv-9 and 2 more"), "{reason}");
    }

    #[test]
    fn a_store_that_is_down_or_of_tiflash_is_not_measured() {
        let without = |change: fn(&mut Store)| {
            judge(|data| {
                data.store_metrics.as_mut().unwrap().remove("1");
                change(&mut data.stores.as_mut().unwrap()[0]);
            })
        };
        assert_eq!(
            without(|store| store.state = Some(StoreState::Down)).len(),
            4,
            "its tickets stay"
        );
        assert_eq!(
            without(|store| store.labels = Some([("engine".into(), "tiflash".into())].into())),
            [""; 0]
        );
        assert_eq!(
            without(|store| store.state = Some(StoreState::Disconnected)).len(),
            4
        );
        assert_eq!(without(|store| store.state = None).len(), 4);
    }

    #[test]
    fn without_its_threshold_an_invariant_is_unknown_and_the_others_are_judged() {
        let without = judge(|data| {
            data.thresholds = ObservedThresholds::default();
            let metrics = data.store_metrics.as_mut().unwrap().get_mut("4").unwrap();
            metrics.write_stall_us = Some(1.0);
        });
        let expected = [
            "high_latency * unknown",
            "raft_log_lag * unknown",
            "write_stall store-4 violated",
        ];
        assert_eq!(without, expected);
    }
}
