//! Queries of Prometheus.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use operator_plugin_api::Deadline;
use operator_plugin_kit::{Fault, Prometheus, prometheus::by_label};

use crate::{
    instances::Instances,
    observation::{Store, StoreMetrics},
};

/// Of all requests but those of garbage collection, which is slow by design; as in the official rules.
const GRPC: &str = r#"tikv_grpc_msg_duration_seconds_bucket{type!="kv_gc"}"#;
const RAFT_WRITE: &str =
    r#"tikv_storage_engine_async_request_duration_seconds_bucket{type="write"}"#;
const RAFT_WRITES: &str =
    r#"tikv_storage_engine_async_request_duration_seconds_count{type="write"}"#;
const TOO_BUSY: &str = "tikv_scheduler_too_busy_total";
const CHANNEL_FULL: &str = "tikv_channel_full_total";
/// What every store exposes from its start on.
const ALWAYS: &str = "tikv_store_size_bytes";

/// The queries with a result for each store: one series for each `instance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PerStore {
    /// Scraped in the older half of the minute.
    ScrapedBefore,
    /// Scraped before the minute began.
    ScrapedAMinuteAgo,
    Qps,
    Latency,
    LogLag,
    LogLagCount,
    WriteStall,
    SchedulerTooBusy,
    SchedulerTooBusySeries,
    ChannelFull,
    ChannelFullSeries,
    Cpu,
    LeaderMissing,
    RaftWrites,
}

impl PerStore {
    fn query(self) -> String {
        let p99 = |buckets: &str| {
            format!("histogram_quantile(0.99, sum by (le, instance) (rate({buckets}[1m])))")
        };
        let rate = |counter: &str| format!("sum by (instance) (rate({counter}[1m]))");
        let series = |counter: &str| format!("count by (instance) ({counter})");
        match self {
            Self::ScrapedBefore => "max by (instance) (max_over_time(up[30s] offset 30s))".into(),
            Self::ScrapedAMinuteAgo => {
                "max by (instance) (max_over_time(up[30s] offset 1m))".into()
            }
            Self::Qps => rate(r#"tikv_grpc_msg_duration_seconds_count{type!="kv_gc"}"#),
            Self::Latency => p99(GRPC),
            Self::LogLag => p99("tikv_raftstore_log_lag_bucket"),
            Self::LogLagCount => rate("tikv_raftstore_log_lag_count"),
            Self::WriteStall => r#"max by (instance) (max_over_time(tikv_engine_write_stall{type="write_stall_percentile99"}[1m]))"#.into(),
            Self::SchedulerTooBusy => rate(TOO_BUSY),
            Self::SchedulerTooBusySeries => series(TOO_BUSY),
            Self::ChannelFull => rate(CHANNEL_FULL),
            Self::ChannelFullSeries => series(CHANNEL_FULL),
            Self::Cpu => rate("process_cpu_seconds_total"),
            Self::LeaderMissing => "sum by (instance) (tikv_raftstore_leader_missing)".into(),
            Self::RaftWrites => rate(RAFT_WRITES),
        }
    }
}

/// The results of all queries.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Metrics {
    pub(crate) instances: Instances,
    per_store: BTreeMap<PerStore, BTreeMap<String, f64>>,
    /// Why it is not known who exposes which counter; None where nobody lacks one.
    exposed: Option<Result<Exposed, NotTold>>,
    /// Over all stores that report. Milliseconds.
    write_latency_p99_ms: Option<f64>,
}

/// The instances that expose these metrics, whether or not Prometheus stores them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Exposed {
    always: BTreeSet<String>,
    too_busy: BTreeSet<String>,
    channel_full: BTreeSet<String>,
}

/// Why it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTold {
    /// The server does not know the question: it is not Prometheus itself.
    NotSupported,
    NoAnswer,
}

impl Exposed {
    pub(crate) fn read(server: Prometheus<'_>, deadline: Deadline) -> Result<Self, NotTold> {
        let with = |metric| match server.targets_with(metric, deadline.remaining()) {
            Ok(targets) => {
                let instance = |mut target: BTreeMap<String, String>| target.remove("instance");
                Ok(targets.into_iter().filter_map(instance).collect())
            }
            Err(Fault::Status(400..500, _) | Fault::Garbage(_)) => Err(NotTold::NotSupported),
            Err(_) => Err(NotTold::NoAnswer),
        };
        Ok(Self {
            always: with(ALWAYS)?,
            too_busy: with(TOO_BUSY)?,
            channel_full: with(CHANNEL_FULL)?,
        })
    }
}

/// Groups of queries that run side by side, one query after the other in each: the first is as much work for Prometheus as all
/// the others together.
const SIDE_BY_SIDE: [&[PerStore]; 4] = [
    &[PerStore::Latency],
    &[
        PerStore::LogLag,
        PerStore::LogLagCount,
        PerStore::WriteStall,
        PerStore::LeaderMissing,
    ],
    &[
        PerStore::ScrapedBefore,
        PerStore::ScrapedAMinuteAgo,
        PerStore::Qps,
        PerStore::Cpu,
    ],
    &[
        PerStore::RaftWrites,
        PerStore::SchedulerTooBusy,
        PerStore::SchedulerTooBusySeries,
        PerStore::ChannelFull,
        PerStore::ChannelFullSeries,
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
        let instances = Instances::new(server.query("up", deadline.remaining())?);
        let mut per_store = Vec::new();
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
            instances,
            per_store: per_store.into_iter().collect(),
            exposed: None,
            write_latency_p99_ms: write_latency.map(|seconds| seconds * 1_000.0),
        })
    }

    /// Whether an instance that reports lacks a counter that may only be waiting for its first event.
    pub(crate) fn lacks_counters(&self) -> bool {
        let with = |what| self.per_store.get(&what);
        let reports = with(PerStore::LeaderMissing).into_iter().flatten();
        let mut reports = reports.map(|(instance, _)| instance);
        reports.any(|instance| {
            [
                PerStore::SchedulerTooBusySeries,
                PerStore::ChannelFullSeries,
            ]
            .iter()
            .any(|what| !with(*what).is_some_and(|all| all.contains_key(instance)))
        })
    }

    pub(crate) fn exposed(mut self, exposed: Result<Exposed, NotTold>) -> Self {
        self.exposed = Some(exposed);
        self
    }

    /// The metrics of each store, by its id.
    pub(crate) fn of_stores(&self, stores: &[Store]) -> BTreeMap<String, StoreMetrics> {
        let instances = self.instances.of_stores(stores);
        let metrics = stores.iter().map(|store| {
            let instance = instances.get(&store.id);
            let metrics = instance.map(|instance| self.of_store(instance));
            (store.id.to_string(), metrics.unwrap_or_default())
        });
        metrics.collect()
    }

    fn of_store(&self, instance: &str) -> StoreMetrics {
        let of = |what| self.per_store.get(&what)?.get(instance).copied();
        let was_up = |what| of(what).is_some_and(|up| up > 0.0);
        let scraped = self.instances.is_up(instance);
        let covered = scraped == Some(true) && was_up(PerStore::ScrapedBefore);
        // A rate over a minute is too low as long as less than a minute is known.
        let whole = covered && was_up(PerStore::ScrapedAMinuteAgo);
        let rate = |what| of(what).filter(|_| whole);
        let (rejected, told) = self.rejected(instance);
        StoreMetrics {
            instance: Some(instance.to_owned()),
            scraped,
            window_covered: Some(covered),
            qps: rate(PerStore::Qps),
            latency_p99_ms: of(PerStore::Latency).map(|seconds| seconds * 1_000.0),
            raft_log_lag: of(PerStore::LogLag),
            raft_log_lag_per_second: rate(PerStore::LogLagCount),
            raft_writes_per_second: rate(PerStore::RaftWrites),
            write_stall_us: of(PerStore::WriteStall),
            rejected_per_second: rejected,
            rejections_told: Some(told),
            cpu_cores: rate(PerStore::Cpu),
            leader_missing: of(PerStore::LeaderMissing),
        }
    }

    /// What a store rejected a second, and whether this Prometheus can tell at all. One counter of two that shows rejections
    /// is enough; that there were none, both must show.
    fn rejected(&self, instance: &str) -> (Option<f64>, bool) {
        let counters = [
            (
                self.count(
                    instance,
                    PerStore::SchedulerTooBusy,
                    PerStore::SchedulerTooBusySeries,
                ),
                self.is_unused(instance, |exposed| &exposed.too_busy),
            ),
            (
                self.count(instance, PerStore::ChannelFull, PerStore::ChannelFullSeries),
                self.is_unused(instance, |exposed| &exposed.channel_full),
            ),
        ];
        let rates = counters.map(|(count, unused)| match count {
            Count::Rate(rate) => Some(rate),
            Count::TooFewSamples => None,
            Count::NoSeries => (unused == Ok(true)).then_some(0.0),
        });
        let sum: f64 = rates.iter().flatten().sum();
        let told = !counters.iter().any(|(count, unused)| {
            matches!(count, Count::NoSeries) && *unused == Err(NotTold::NotSupported)
        });
        let known = rates.iter().all(Option::is_some) || sum > 0.0;
        (known.then_some(sum), told)
    }

    fn count(&self, instance: &str, rate: PerStore, series: PerStore) -> Count {
        let of = |what| self.per_store.get(&what)?.get(instance).copied();
        match (of(rate), of(series)) {
            (Some(rate), _) => Count::Rate(rate),
            (None, Some(_)) => Count::TooFewSamples,
            (None, None) => Count::NoSeries,
        }
    }

    /// Whether a counter without series has had no event: its store does not expose it either.
    fn is_unused(
        &self,
        instance: &str,
        with: fn(&Exposed) -> &BTreeSet<String>,
    ) -> Result<bool, NotTold> {
        let exposed = self.exposed.as_ref().ok_or(NotTold::NoAnswer)?.as_ref();
        let exposed = exposed.map_err(|why| *why)?;
        // An instance of which nothing is known at all has been scraped by nobody yet.
        Ok(exposed.always.contains(instance) && !with(exposed).contains(instance))
    }

    /// Over all stores. None while one that serves does not report, for the others do not stand for it. Milliseconds.
    pub(crate) fn write_latency_p99_ms(
        &self,
        serving: Option<Vec<&Store>>,
        of_stores: &BTreeMap<String, StoreMetrics>,
    ) -> Option<f64> {
        let all = serving?.into_iter().all(|store| {
            let metrics = of_stores.get(&store.id.to_string());
            metrics.is_some_and(|metrics| metrics.raft_writes_per_second.is_some())
        });
        self.write_latency_p99_ms.filter(|_| all)
    }
}

/// What is known of one counter.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Count {
    Rate(f64),
    /// It exists, and a rate needs two samples.
    TooFewSamples,
    NoSeries,
}

#[cfg(test)]
mod tests {
    use operator_plugin_kit::prometheus::Sample;

    use super::*;

    const STORE: &str = "tikv0:20180";

    fn store(id: u64, status_address: &str) -> Store {
        Store {
            id,
            status_address: Some(status_address.into()),
            ..Store::default()
        }
    }

    /// What Prometheus has of one store that it has scraped for long.
    fn metrics(of: &[(PerStore, f64)]) -> Metrics {
        let up = Sample {
            labels: [("instance".to_owned(), STORE.to_owned())].into(),
            value: 1.0,
        };
        let covered = [
            (PerStore::ScrapedBefore, 1.0),
            (PerStore::ScrapedAMinuteAgo, 1.0),
        ];
        let all = covered.iter().chain(of);
        Metrics {
            instances: Instances::new(vec![up]),
            per_store: all
                .map(|(what, value)| (*what, [(STORE.to_owned(), *value)].into()))
                .collect(),
            ..Metrics::default()
        }
    }

    fn of_store(metrics: &Metrics) -> StoreMetrics {
        let of = metrics.of_stores(&[store(1, STORE), store(4, "tikv1:20180")]);
        assert_eq!(of["4"], StoreMetrics::default(), "nothing is known of it");
        of["1"].clone()
    }

    fn exposing(counters: &[&str]) -> Exposed {
        let by = |name: &str| {
            let is_it = counters.contains(&name);
            is_it.then(|| STORE.to_owned()).into_iter().collect()
        };
        Exposed {
            always: by(ALWAYS),
            too_busy: by(TOO_BUSY),
            channel_full: by(CHANNEL_FULL),
        }
    }

    #[test]
    fn a_counter_without_series_is_zero_only_if_its_store_does_not_expose_it() {
        let rejected = |metrics: Metrics| {
            let of = of_store(&metrics);
            (of.rejected_per_second, of.rejections_told)
        };
        let none = metrics(&[(PerStore::LeaderMissing, 0.0)]);
        assert!(none.lacks_counters());
        assert_eq!(rejected(none.clone()), (None, Some(true)));
        let unused = none.clone().exposed(Ok(exposing(&[ALWAYS])));
        assert_eq!(rejected(unused), (Some(0.0), Some(true)));
        let dropped = none.clone().exposed(Ok(exposing(&[ALWAYS, TOO_BUSY])));
        assert_eq!(rejected(dropped), (None, Some(true)), "by relabelling");
        let not_scraped = none.clone().exposed(Ok(exposing(&[])));
        assert_eq!(rejected(not_scraped), (None, Some(true)));
        let no_answer = none.clone().exposed(Err(NotTold::NoAnswer));
        assert_eq!(rejected(no_answer), (None, Some(true)));
        let never = none.exposed(Err(NotTold::NotSupported));
        assert_eq!(rejected(never), (None, Some(false)));
    }

    #[test]
    fn a_counter_with_one_sample_has_no_rate_and_is_not_zero() {
        let series = [
            (PerStore::LeaderMissing, 0.0),
            (PerStore::SchedulerTooBusySeries, 1.0),
            (PerStore::ChannelFullSeries, 1.0),
        ];
        let first = metrics(&series);
        assert!(!first.lacks_counters());
        assert_eq!(of_store(&first).rejected_per_second, None);
        let both = [
            (PerStore::SchedulerTooBusy, 0.0),
            (PerStore::ChannelFull, 0.0),
        ];
        let second = metrics(&[&series[..], &both].concat());
        assert_eq!(of_store(&second).rejected_per_second, Some(0.0));
        let one = metrics(&[&series[..], &[(PerStore::ChannelFull, 2.0)]].concat());
        assert_eq!(of_store(&one).rejected_per_second, Some(2.0), "is enough");
    }

    #[test]
    fn a_rate_over_less_than_its_window_is_unknown() {
        let mut metrics = metrics(&[(PerStore::Qps, 20.0), (PerStore::Latency, 0.25)]);
        let of = of_store(&metrics);
        assert_eq!((of.qps, of.latency_p99_ms), (Some(20.0), Some(250.0)));
        assert_eq!(of.window_covered, Some(true));
        metrics.per_store.remove(&PerStore::ScrapedAMinuteAgo);
        let of = of_store(&metrics);
        assert_eq!((of.qps, of.window_covered), (None, Some(true)));
        metrics.per_store.remove(&PerStore::ScrapedBefore);
        assert_eq!(of_store(&metrics).window_covered, Some(false));
    }

    #[test]
    fn those_who_report_do_not_stand_for_one_who_does_not() {
        let mut metrics = metrics(&[(PerStore::RaftWrites, 1.0)]);
        metrics.write_latency_p99_ms = Some(8.0);
        let stores = [store(1, STORE), store(4, "tikv1:20180")];
        let of = metrics.of_stores(&stores);
        let p99 = |serving| metrics.write_latency_p99_ms(serving, &of);
        assert_eq!(p99(Some(vec![&stores[0]])), Some(8.0));
        assert_eq!(p99(Some(stores.iter().collect())), None);
        assert_eq!(p99(None), None);
    }

    #[test]
    fn every_quantile_is_summed_by_le_and_every_answer_has_its_instance() {
        for what in SIDE_BY_SIDE.into_iter().flatten() {
            let query = what.query();
            assert!(query.contains("instance)"), "{query}");
            assert!(
                !query.contains("_bucket") || query.contains("sum by (le, instance)"),
                "{query}"
            );
        }
    }
}
