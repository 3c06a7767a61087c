//! What Prometheus tells of each store: `high_latency`, `raft_log_lag`, `write_stall` and `server_busy`.

use serde_json::json;

use super::{
    Findings, named,
    names::{HIGH_LATENCY, RAFT_LOG_LAG, SERVER_BUSY, WRITE_STALL},
    resource,
    standing::{self, Standing, is_tiflash},
};
use crate::{
    observation::{Data, Store, StoreMetrics},
    thresholds::Thresholds,
};

/// One invariant over one number of each store.
struct Rule {
    invariant: &'static str,
    what: &'static str,
    unit: &'static str,
    most: f64,
    of: fn(&StoreMetrics) -> Option<f64>,
}

fn rules(thresholds: &Thresholds) -> [Rule; 4] {
    [
        Rule {
            invariant: HIGH_LATENCY,
            what: "the p99 of its requests",
            unit: "ms",
            most: thresholds.latency_p99_ms,
            of: |metrics| metrics.latency_p99_ms,
        },
        Rule {
            invariant: RAFT_LOG_LAG,
            what: "the p99 of its followers' lag",
            unit: "entries",
            most: thresholds.raft_log_lag_entries,
            of: |metrics| metrics.raft_log_lag,
        },
        Rule {
            invariant: WRITE_STALL,
            what: "the p99 of its write stalls",
            unit: "µs",
            most: 0.0,
            of: |metrics| metrics.write_stall_us,
        },
        Rule {
            invariant: SERVER_BUSY,
            what: "what it turns away because a queue is full",
            unit: "a second",
            most: 0.0,
            of: |metrics| metrics.rejected_per_second,
        },
    ]
}

pub(super) fn check(data: &Data, thresholds: &Thresholds, findings: &mut Findings) {
    let rules = rules(thresholds);
    let Some((stores, metrics)) = data.stores.as_ref().zip(data.store_metrics.as_ref()) else {
        let reason = match &data.metrics_error {
            Some(error) => format!("Prometheus: {error}"),
            None => "there are no metrics of the stores".to_owned(),
        };
        for rule in &rules {
            findings.unknown(rule.invariant, None, reason.clone());
        }
        return;
    };
    for store in stores {
        let measured = metrics.get(&store.id.to_string());
        match standing::of(store, data).zip(is_tiflash(store)) {
            // A store that PD has given up serves nothing that could be measured, and has a ticket of its own.
            Some((Standing::Down | Standing::Gone, _) | (_, true)) => {}
            Some((Standing::Up | Standing::Silent, false)) => {
                for rule in &rules {
                    judge(rule, store, measured, findings);
                }
            }
            None => {
                let reason = "it is not known whether it serves, or what it is";
                for rule in &rules {
                    findings.unknown(rule.invariant, resource(store.id), reason);
                }
            }
        }
    }
}

fn judge(rule: &Rule, store: &Store, measured: Option<&StoreMetrics>, findings: &mut Findings) {
    match measured.and_then(rule.of) {
        Some(value) if value > rule.most => {
            let (what, unit, most) = (rule.what, rule.unit, rule.most);
            let message = format!(
                "{}: {what} is {value:.1} {unit}, {most} are allowed",
                named(store)
            );
            let evidence =
                json!({"value": value, "threshold": most, "unit": unit, "metrics": measured});
            findings.violate(rule.invariant, resource(store.id), message, evidence);
        }
        Some(value) if value >= 0.0 => {}
        Some(_) => findings.unknown(
            rule.invariant,
            resource(store.id),
            format!("{} is no possible number", rule.what),
        ),
        None => findings.unknown(
            rule.invariant,
            resource(store.id),
            missing(rule, store, measured),
        ),
    }
}

fn missing(rule: &Rule, store: &Store, measured: Option<&StoreMetrics>) -> String {
    let instance = store.status_address.as_deref().unwrap_or("unknown");
    match measured.and_then(|metrics| metrics.scraped) {
        Some(true) => format!(
            "Prometheus scrapes {instance} and does not know {}: nothing happened within a minute",
            rule.what
        ),
        Some(false) => format!("Prometheus cannot scrape {instance}"),
        None => format!("Prometheus knows no instance {instance}, or several stores claim it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::samples::{healthy, verdicts},
        observation::StoreState,
    };

    fn judge(change: impl FnOnce(&mut Data)) -> Vec<String> {
        let mut data = healthy();
        change(&mut data);
        let mut findings = Findings::default();
        check(&data, &Thresholds::default(), &mut findings);
        verdicts(&findings.report())
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

    #[test]
    fn a_store_without_life_or_of_another_kind_is_not_measured() {
        let without = |change: fn(&mut Store)| {
            judge(|data| {
                data.store_metrics.as_mut().unwrap().remove("1");
                change(&mut data.stores.as_mut().unwrap()[0]);
            })
        };
        assert_eq!(
            without(|store| store.state = Some(StoreState::Down)),
            [""; 0]
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
}
