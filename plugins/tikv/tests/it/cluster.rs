//! A cluster as PD and Prometheus would report it, of any number of stores.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use operator_plugin_api::{CheckReport, Deadline, Observation, Subject};
use operator_plugin_kit::testing::{
    fake::{Fake, Reply, Request},
    verdicts,
};
use serde_json::{Value, json};
use tikv::{Config, Data, Tikv};

const V1: &str = "/pd/api/v1";

/// What a PD answers, by `METHOD /path?query` without its base path.
pub(crate) type Answers = Arc<Mutex<BTreeMap<String, Reply>>>;

/// One PD and one Prometheus, and what they answer.
pub(crate) struct Cluster {
    pub(crate) pd: Fake,
    pub(crate) prometheus: Fake,
    pub(crate) answers: Answers,
}

impl Cluster {
    /// A healthy cluster of this many stores and regions.
    pub(crate) fn start(stores: u64, regions: u64) -> Self {
        let answers: Answers = Arc::new(Mutex::new(healthy(stores, regions)));
        Self {
            pd: pd(&answers),
            prometheus: Fake::start(move |request| metrics(request, stores)),
            answers,
        }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            pd_urls: vec![self.pd.url()],
            prometheus_url: self.prometheus.url(),
            ..Config::default()
        }
    }

    /// Another PD that answers the same.
    pub(crate) fn another_pd(&self) -> Fake {
        pd(&self.answers)
    }

    pub(crate) fn set(&self, line: &str, body: impl ToString) {
        self.set_reply(line, Reply::Body(200, body.to_string()));
    }

    pub(crate) fn set_reply(&self, line: &str, reply: Reply) {
        self.answers.lock().unwrap().insert(line.to_owned(), reply);
    }

    pub(crate) fn change(&self, line: &str, change: impl FnOnce(&mut Value)) {
        let mut answers = self.answers.lock().unwrap();
        let Some(Reply::Body(200, body)) = answers.get(line) else {
            panic!("there is no {line}");
        };
        let mut body = serde_json::from_str(body).unwrap();
        change(&mut body);
        answers.insert(line.to_owned(), Reply::Body(200, body.to_string()));
    }
}

/// A PD on a port of its own.
pub(crate) fn pd(answers: &Answers) -> Fake {
    let answers = Arc::clone(answers);
    Fake::start(move |request| {
        let line = request.line.replacen(V1, "", 1);
        let answers = answers.lock().unwrap();
        let unknown = || Reply::Body(404, "404 page not found\n".into());
        answers.get(&line).cloned().unwrap_or_else(unknown)
    })
}

fn healthy(stores: u64, regions: u64) -> BTreeMap<String, Reply> {
    let ids = || 1..=stores;
    let leaders: BTreeMap<String, u64> = ids()
        .map(|id| (id.to_string(), share(regions, stores, id)))
        .collect();
    let peers: BTreeMap<String, u64> = leaders
        .iter()
        .map(|(id, count)| (id.clone(), count * 3))
        .collect();
    let member = |index: u64| {
        json!({
            "name": format!("pd{index}"), "member_id": 3_474_484_975_246_189_105_u64 + index,
            "client_urls": [format!("http://pd{index}:2379")], "binary_version": "v8.5.7", "health": true,
        })
    };
    let members: Vec<_> = (0..3).map(member).collect();
    let rates: BTreeMap<String, f64> = ids().map(|id| (id.to_string(), 1_000.5)).collect();
    let none = json!({"count": 0, "regions": []});
    let answers = [
        (
            "GET /status",
            json!({"version": "v8.5.7", "start_timestamp": 1}),
        ),
        ("GET /health", json!(members)),
        (
            "GET /members",
            json!({
                "header": {"cluster_id": 7_587_412_043_984_312_345_u64}, "members": members,
                "leader": member(0), "etcd_leader": member(0),
            }),
        ),
        (
            "GET /stores",
            json!({
                "count": stores,
                "stores": ids().map(|id| store(id, leaders[&id.to_string()])).collect::<Vec<_>>(),
            }),
        ),
        (
            "GET /stats/region?start_key=&end_key=",
            json!({
                "count": regions, "empty_count": 2, "storage_size": 8448, "store_leader_count": leaders,
                "store_peer_count": peers,
            }),
        ),
        ("GET /regions/check/down-peer", none.clone()),
        ("GET /regions/check/miss-peer", none.clone()),
        ("GET /regions/check/pending-peer", none.clone()),
        ("GET /regions/check/extra-peer", none.clone()),
        ("GET /regions/check/offline-peer", none),
        ("GET /operators", json!([])),
        (
            "GET /schedulers",
            json!(["balance-region-scheduler", "balance-leader-scheduler"]),
        ),
        ("GET /schedulers?status=paused&timestamp", json!([])),
        (
            "GET /config/schedule",
            json!({
                "leader-schedule-limit": 4, "leader-schedule-policy": "count", "region-schedule-limit": 2048,
                "replica-schedule-limit": 64, "max-store-down-time": "30m0s", "low-space-ratio": 0.8,
                "high-space-ratio": 0.7, "enable-joint-consensus": "true", "store-limit-version": "v1",
            }),
        ),
        (
            "GET /config/replicate",
            json!({
                "max-replicas": 3, "location-labels": "zone,host", "enable-placement-rules": "true", "isolation-level": "",
            }),
        ),
        (
            "GET /hotspot/stores",
            json!({"bytes-write-rate": rates, "bytes-read-rate": rates}),
        ),
    ];
    let mut answers: BTreeMap<_, _> = answers
        .map(|(line, body)| (line.to_owned(), Reply::Body(200, body.to_string())))
        .into();
    let no_scheduler = Reply::Body(
        404,
        "\"[PD:scheduler:ErrSchedulerNotFound]scheduler not found\"\n".into(),
    );
    answers.insert(
        "GET /scheduler-config/evict-leader-scheduler/list".into(),
        no_scheduler,
    );
    answers
}

/// What falls to the store of this id, so that all add up.
fn share(regions: u64, stores: u64, id: u64) -> u64 {
    regions / stores + u64::from(id <= regions % stores)
}

fn store(id: u64, leaders: u64) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let heartbeat = u64::try_from(now.as_nanos() - 3_000_000_000).unwrap();
    json!({
        "store": {
            "id": id, "address": format!("tikv{id}:20160"), "status_address": format!("tikv{id}:20180"),
            "version": "8.5.7", "git_hash": "5fb2c1d0e9a84c3f7b6a1d2e3f405162738495a6", "start_timestamp": 1_787_044_684,
            "last_heartbeat": heartbeat, "node_state": 1, "state_name": "Up",
            "labels": [{"key": "zone", "value": "z1"}],
        },
        "status": {
            "capacity": "100GiB", "available": "71.29GiB", "used_size": "9GiB", "leader_count": leaders,
            "leader_weight": 1, "leader_score": leaders, "region_count": leaders * 3, "region_size": leaders * 300,
            "slow_score": 1, "slow_trend": {"cause_value": 17.5, "cause_rate": 0},
            "start_ts": "2026-08-18T09:18:04Z", "uptime": "48h12m57.512345678s",
        },
    })
}

/// What Prometheus answers a query: the same for every store.
pub(crate) fn metrics(request: &Request, stores: u64) -> Reply {
    if let Some((_, metric)) = request.line.split_once("/targets/metadata?metric=") {
        return exposed(metric, stores);
    }
    let is_up = request.line.contains("query=up&") || request.line.contains("%28up%5B");
    let value = if request.line.contains("histogram_quantile") {
        if request.line.contains("log_lag") {
            "12"
        } else {
            "0.008"
        }
    } else if request.line.contains("write_stall") || request.line.contains("leader_missing") {
        "0"
    } else if is_up {
        "1"
    } else if request.line.contains("too_busy") || request.line.contains("channel_full") {
        return series(&[]);
    } else {
        "100"
    };
    let by_instance = is_up || request.line.contains("instance");
    let labels: Vec<_> = if by_instance {
        (1..=stores).map(|id| json!({"metric": {"instance": format!("tikv{id}:20180")}, "value": [1.0, value]})).collect()
    } else {
        vec![json!({"metric": {}, "value": [1.0, value]})]
    };
    series(&labels)
}

/// The targets that expose a metric. The counters of a healthy store have had no event, so they are not there.
fn exposed(metric: &str, stores: u64) -> Reply {
    let target = |id| json!({"target": {"instance": format!("tikv{id}:20180"), "job": "tikv"}, "type": "gauge", "help": ""});
    let ids = (1..=stores).filter(|_| metric == "tikv_store_size_bytes");
    let targets: Vec<_> = ids.map(target).collect();
    let body = json!({"status": "success", "data": targets});
    Reply::Body(200, body.to_string())
}

fn series(result: &[Value]) -> Reply {
    let body = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
    Reply::Body(200, body.to_string())
}

/// A subject and how it judges.
pub(crate) struct Watch(pub(crate) Tikv);

impl Watch {
    pub(crate) fn new(config: Config) -> Self {
        Self(Tikv::create(config).unwrap())
    }

    pub(crate) fn cycle(&self) -> (Observation<Data>, CheckReport) {
        let observation = self
            .0
            .observe(Deadline::after(Duration::from_secs(20)))
            .unwrap();
        // As it crosses the boundary.
        let json = serde_json::to_string(&observation).unwrap();
        let read: Observation<Data> = serde_json::from_str(&json).unwrap();
        let report = self.0.check(&read);
        (observation, report)
    }

    /// `invariant resource verdict`, in order.
    pub(crate) fn verdicts(&self) -> Vec<String> {
        verdicts(&self.cycle().1)
    }
}
