//! Queries of Prometheus.

use std::{collections::BTreeMap, thread};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Fault, Prometheus, prometheus::by_label};

use crate::observation::{Store, StoreMetrics};

/// Of all requests but those of garbage collection, which is slow by design; as in the official rules.
const GRPC: &str = r#"tikv_grpc_msg_duration_seconds_bucket{type!="kv_gc"}"#;
const RAFT_WRITE: &str =
    r#"tikv_storage_engine_async_request_duration_seconds_bucket{type="write"}"#;

/// The queries with a result for each store: one series for each `instance`.
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

/// The results of all queries.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Metrics {
    per_store: BTreeMap<PerStore, BTreeMap<String, f64>>,
    /// Over all stores. Milliseconds.
    pub(crate) write_latency_p99_ms: Option<f64>,
}

/// Groups of queries that run side by side, one query after the other in each: the first is as much work for Prometheus as all
/// the others together.
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

impl Metrics {
    /// Runs a fixed number of queries; a fault of one is the fault of all.
    pub(crate) fn read(server: Prometheus<'_>, deadline: Deadline) -> Result<Self, Fault> {
        let run_each = |queries: &[PerStore]| -> Result<Vec<_>, Fault> {
            let run = queries.iter().map(|what| {
                let samples = server.query(&what.query(), deadline.remaining())?;
                Ok((*what, by_label(samples, "instance")))
            });
            run.collect()
        };
        // Whether the server is there, before the rest is run.
        let mut per_store = run_each(&[PerStore::Scraped])?;
        let write_latency = thread::scope(|scope| {
            let running = SIDE_BY_SIDE.map(|queries| scope.spawn(move || run_each(queries)));
            let of_all = format!("histogram_quantile(0.99, sum by (le) (rate({RAFT_WRITE}[1m])))");
            let of_all = server.value(&of_all, deadline.remaining());
            for run in running {
                let panicked = |_| Err(Fault::NoAnswer("reading it panicked".into()));
                per_store.extend(run.join().unwrap_or_else(panicked)?);
            }
            of_all
        })?;
        Ok(Self {
            per_store: per_store.into_iter().collect(),
            write_latency_p99_ms: write_latency.map(|seconds| seconds * 1_000.0),
        })
    }

    /// The metrics of each store, by its id. A status address that several stores claim belongs to none of them.
    pub(crate) fn of_stores(&self, stores: &[Store]) -> BTreeMap<String, StoreMetrics> {
        let mut claims: BTreeMap<&str, u32> = BTreeMap::new();
        for address in stores
            .iter()
            .filter_map(|store| store.status_address.as_deref())
        {
            *claims.entry(address).or_default() += 1;
        }
        let metrics = stores.iter().map(|store| {
            let address = store.status_address.as_deref();
            let own = address.filter(|address| claims.get(address) == Some(&1));
            (
                store.id.to_string(),
                own.map(|address| self.of_store(address))
                    .unwrap_or_default(),
            )
        });
        metrics.collect()
    }

    fn of_store(&self, instance: &str) -> StoreMetrics {
        let of = |what| self.per_store.get(&what)?.get(instance).copied();
        let scraped = of(PerStore::Scraped).map(|up| up > 0.0);
        // These counters exist from their first event on: without one, a store that is scraped has had none.
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

    fn store(id: u64, status_address: &str) -> Store {
        Store {
            id,
            status_address: Some(status_address.into()),
            ..Store::default()
        }
    }

    fn metrics(of: &[(PerStore, &[(&str, f64)])]) -> Metrics {
        let by_instance = |series: &[(&str, f64)]| {
            let series = series.iter();
            let series = series.map(|(instance, value)| ((*instance).to_owned(), *value));
            series.collect()
        };
        let per_store = of.iter().map(|(what, series)| (*what, by_instance(series)));
        Metrics {
            per_store: per_store.collect(),
            write_latency_p99_ms: None,
        }
    }

    #[test]
    fn a_store_is_joined_by_its_status_address() {
        let metrics = metrics(&[
            (
                PerStore::Latency,
                &[("tikv0:20180", 0.25), ("tikv0:20160", 9.0)],
            ),
            (
                PerStore::Scraped,
                &[("tikv0:20180", 1.0), ("tikv1:20180", 0.0)],
            ),
        ]);
        let of_stores = metrics.of_stores(&[
            store(1, "tikv0:20180"),
            store(4, "tikv1:20180"),
            store(5, "tikv2:20180"),
        ]);
        assert_eq!(of_stores["1"].latency_p99_ms, Some(250.0));
        assert_eq!(
            of_stores["1"].rejected_per_second,
            Some(0.0),
            "a counter without events does not exist"
        );
        assert_eq!(of_stores["4"].latency_p99_ms, None);
        assert_eq!(
            (of_stores["4"].scraped, of_stores["4"].rejected_per_second),
            (Some(false), None)
        );
        assert_eq!(of_stores["5"], StoreMetrics::default());
    }

    #[test]
    fn an_address_that_two_stores_claim_belongs_to_neither() {
        let metrics = metrics(&[(PerStore::Latency, &[("0.0.0.0:20180", 0.25)])]);
        let stores = [store(1, "0.0.0.0:20180"), store(4, "0.0.0.0:20180")];
        assert_eq!(metrics.of_stores(&stores)["1"].latency_p99_ms, None);
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
