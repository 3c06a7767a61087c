//! What Prometheus tells. An empty result and NaN are unknown.

use std::{collections::BTreeMap, thread};

use operator_plugin_api::Deadline;
use serde::Deserialize;

use crate::{
    config::Settings,
    http::{Fault, Http},
    observation::{Store, StoreMetrics},
    pd::{error::PdError, parse, segment},
};

/// Of all requests but those of garbage collection, which is slow by design; as in the official rules.
const GRPC: &str = r#"tikv_grpc_msg_duration_seconds_bucket{type!="kv_gc"}"#;
const RAFT_WRITE: &str =
    r#"tikv_storage_engine_async_request_duration_seconds_bucket{type="write"}"#;

/// What is asked of each store: the answer has one series for each `instance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PerStore {
    Scraped,
    Qps,
    Latency,
    LogLag,
    WriteStall,
    SchedulerTooBusy,
    ChannelFull,
    Cpu,
    LeaderMissing,
}

impl PerStore {
    fn query(self) -> String {
        let p99 = |buckets: &str| {
            format!("histogram_quantile(0.99, sum by (le, instance) (rate({buckets}[1m])))")
        };
        match self {
            Self::Scraped => "max by (instance) (up)".into(),
            Self::Qps => r#"sum by (instance) (rate(tikv_grpc_msg_duration_seconds_count{type!="kv_gc"}[1m]))"#.into(),
            Self::Latency => p99(GRPC),
            Self::LogLag => p99("tikv_raftstore_log_lag_bucket"),
            Self::WriteStall => r#"max by (instance) (max_over_time(tikv_engine_write_stall{type="write_stall_percentile99"}[1m]))"#.into(),
            Self::SchedulerTooBusy => "sum by (instance) (rate(tikv_scheduler_too_busy_total[1m]))".into(),
            Self::ChannelFull => "sum by (instance) (rate(tikv_channel_full_total[1m]))".into(),
            Self::Cpu => "sum by (instance) (rate(process_cpu_seconds_total[1m]))".into(),
            Self::LeaderMissing => "sum by (instance) (tikv_raftstore_leader_missing)".into(),
        }
    }
}

/// What all queries told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Metrics {
    per_store: BTreeMap<PerStore, BTreeMap<String, f64>>,
    /// Over all stores. Milliseconds.
    pub(crate) write_latency_p99_ms: Option<f64>,
}

#[derive(Deserialize)]
struct Reply {
    data: ReplyData,
}

#[derive(Deserialize)]
struct ReplyData {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    /// A time, and the number as text.
    value: (f64, String),
}

#[derive(Deserialize)]
struct Labels {
    instance: Option<String>,
}

/// What is asked side by side, one after the other in each: the first is as much work for Prometheus as all the others.
const SIDE_BY_SIDE: [&[PerStore]; 3] = [
    &[PerStore::Latency],
    &[
        PerStore::LogLag,
        PerStore::WriteStall,
        PerStore::LeaderMissing,
    ],
    &[
        PerStore::Qps,
        PerStore::SchedulerTooBusy,
        PerStore::ChannelFull,
        PerStore::Cpu,
    ],
];

/// Asks a fixed number of queries; a fault of one is the fault of all.
pub(crate) fn look(
    http: &Http,
    settings: &Settings,
    deadline: Deadline,
) -> Result<Metrics, String> {
    let ask = |query: &str| query_all(http, settings, query, deadline);
    let ask_each = |queries: &[PerStore]| -> Result<Vec<_>, String> {
        let asked = queries
            .iter()
            .map(|what| Ok((*what, by_instance(ask(&what.query())?))));
        asked.collect()
    };
    // Whether anybody is there, before the rest is asked.
    let mut told = ask_each(&[PerStore::Scraped])?;
    let of_all = thread::scope(|scope| {
        let asking = SIDE_BY_SIDE.map(|queries| scope.spawn(move || ask_each(queries)));
        let of_all = ask(&format!(
            "histogram_quantile(0.99, sum by (le) (rate({RAFT_WRITE}[1m])))"
        ));
        for asked in asking {
            told.extend(
                asked
                    .join()
                    .unwrap_or_else(|_| Err("reading it panicked".into()))?,
            );
        }
        of_all
    })?;
    Ok(Metrics {
        per_store: told.into_iter().collect(),
        write_latency_p99_ms: of_all
            .first()
            .and_then(known)
            .map(|seconds| seconds * 1_000.0),
    })
}

fn query_all(
    http: &Http,
    settings: &Settings,
    query: &str,
    deadline: Deadline,
) -> Result<Vec<Series>, String> {
    let path = format!("/api/v1/query?query={}", segment(query));
    let token = settings.prometheus_token.as_deref();
    let answer = http
        .get_with_token(&settings.prometheus, &path, token, deadline.remaining())
        .map_err(|fault: Fault| fault.to_string())?;
    if answer.status != 200 {
        return Err(format!("answered {}", answer.status));
    }
    let reply: Reply = parse(&answer).map_err(|error: PdError| error.to_string())?;
    Ok(reply.data.result)
}

/// The number, unless it is NaN or infinite.
fn known(series: &Series) -> Option<f64> {
    series
        .value
        .1
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

fn by_instance(series: Vec<Series>) -> BTreeMap<String, f64> {
    let known = series.into_iter().filter_map(|series| {
        let value = known(&series)?;
        Some((series.metric.instance?, value))
    });
    known.collect()
}

impl Metrics {
    /// What is told of each store, by its id. A status address that several stores claim is nobody's.
    pub(crate) fn of_stores(&self, stores: &[Store]) -> BTreeMap<String, StoreMetrics> {
        let mut claims: BTreeMap<&str, u32> = BTreeMap::new();
        for address in stores
            .iter()
            .filter_map(|store| store.status_address.as_deref())
        {
            *claims.entry(address).or_default() += 1;
        }
        let told = stores.iter().map(|store| {
            let address = store.status_address.as_deref();
            let own = address.filter(|address| claims.get(address) == Some(&1));
            (
                store.id.to_string(),
                own.map(|address| self.of_store(address))
                    .unwrap_or_default(),
            )
        });
        told.collect()
    }

    fn of_store(&self, instance: &str) -> StoreMetrics {
        let of = |what| self.per_store.get(&what)?.get(instance).copied();
        let scraped = of(PerStore::Scraped).map(|up| up > 0.0);
        // These counters come into being with their first event: without one, a store that is scraped has had none.
        let count = |what| of(what).or((scraped == Some(true)).then_some(0.0));
        let rejected = count(PerStore::SchedulerTooBusy).zip(count(PerStore::ChannelFull));
        StoreMetrics {
            scraped,
            qps: of(PerStore::Qps),
            latency_p99_ms: of(PerStore::Latency).map(|seconds| seconds * 1_000.0),
            raft_log_lag: of(PerStore::LogLag),
            write_stall_us: of(PerStore::WriteStall),
            rejected_per_second: rejected.map(|(busy, full)| busy + full),
            cpu_cores: of(PerStore::Cpu),
            leader_missing: of(PerStore::LeaderMissing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(instance: &str, value: &str) -> Series {
        Series {
            metric: Labels {
                instance: Some(instance.into()),
            },
            value: (0.0, value.into()),
        }
    }

    fn store(id: u64, status_address: &str) -> Store {
        Store {
            id,
            status_address: Some(status_address.into()),
            ..Store::default()
        }
    }

    fn metrics(of: &[(PerStore, Vec<Series>)]) -> Metrics {
        let per_store = of.iter().map(|(what, all)| {
            let copied = all
                .iter()
                .map(|one| series(one.metric.instance.as_deref().unwrap(), &one.value.1));
            (*what, by_instance(copied.collect()))
        });
        Metrics {
            per_store: per_store.collect(),
            write_latency_p99_ms: None,
        }
    }

    #[test]
    fn a_store_is_joined_by_its_status_address_and_nan_is_unknown() {
        let metrics = metrics(&[
            (
                PerStore::Latency,
                vec![
                    series("tikv0:20180", "0.25"),
                    series("tikv1:20180", "NaN"),
                    series("tikv0:20160", "9"),
                ],
            ),
            (
                PerStore::Scraped,
                vec![series("tikv0:20180", "1"), series("tikv1:20180", "0")],
            ),
            (PerStore::LogLag, vec![series("tikv1:20180", "+Inf")]),
        ]);
        let told = metrics.of_stores(&[
            store(1, "tikv0:20180"),
            store(4, "tikv1:20180"),
            store(5, "tikv2:20180"),
        ]);
        assert_eq!(told["1"].latency_p99_ms, Some(250.0));
        assert_eq!(
            told["1"].rejected_per_second,
            Some(0.0),
            "a counter without events is not there"
        );
        assert_eq!(
            (told["4"].latency_p99_ms, told["4"].raft_log_lag),
            (None, None)
        );
        assert_eq!(
            (told["4"].scraped, told["4"].rejected_per_second),
            (Some(false), None)
        );
        assert_eq!(told["5"], StoreMetrics::default());
    }

    #[test]
    fn an_address_that_two_stores_claim_is_nobodys() {
        let metrics = metrics(&[(PerStore::Latency, vec![series("0.0.0.0:20180", "0.25")])]);
        let told = metrics.of_stores(&[store(1, "0.0.0.0:20180"), store(4, "0.0.0.0:20180")]);
        assert_eq!(told["1"].latency_p99_ms, None);
    }

    #[test]
    fn every_quantile_is_summed_by_le_and_every_answer_has_its_instance() {
        let all = SIDE_BY_SIDE.into_iter().flatten().copied();
        for what in all.chain([PerStore::Scraped]) {
            let query = what.query();
            assert!(query.contains("instance)"), "{query}");
            assert!(
                !query.contains("_bucket") || query.contains("sum by (le, instance)"),
                "{query}"
            );
        }
    }
}
