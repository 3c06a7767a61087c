//! Observations of a cluster, and their verdicts.

use std::{thread, time::Duration};

use operator_plugin_api::{Deadline, Observation, Subject};
use operator_plugin_kit::testing::fake::{Fake, Reply, Request};
use serde_json::{Value, json};
use tikv::{Config, Data, StoreState, Tikv};

use crate::cluster::{Cluster, Watch, metrics};

#[test]
fn a_healthy_cluster_is_seen_whole_and_nothing_is_wrong() {
    let cluster = Cluster::start(3, 96);
    let (seen, report) = Watch::new(cluster.config()).cycle();
    assert_eq!(
        (report.violations.len(), report.unknown.len()),
        (0, 0),
        "{report:?}"
    );
    assert!(
        seen.sources.iter().all(|source| source.error.is_none()),
        "{:?}",
        seen.sources
    );
    assert_eq!(
        seen.summary,
        "3 of 3 stores up, 96 regions, PD leader pd0, 300 requests/s"
    );
    let data = &seen.data;
    let stores = data.stores.as_ref().unwrap();
    assert_eq!(stores[0].status_address.as_deref(), Some("tikv1:20180"));
    assert_eq!(stores[0].state, Some(StoreState::Up));
    assert_eq!(stores[0].capacity_bytes, Some(100 << 30));
    assert!(stores[0].heartbeat_age_ms.is_some_and(|age| age < 60_000));
    assert_eq!(
        data.store_metrics.as_ref().unwrap()["2"].latency_p99_ms,
        Some(8.0)
    );
    assert_eq!(data.regions.leaderless, Some(0));
    assert_eq!(data.cluster_metrics.region_count, Some(96));
    assert_eq!(data.config.max_store_down_time_ms, Some(1_800_000));
    assert_eq!(
        data.config.location_labels.as_deref(),
        Some(&["zone".to_owned(), "host".into()][..])
    );
    assert_eq!(data.hot_stores.as_ref().unwrap().len(), 3);
    assert_eq!(data.pd.cluster_id, Some(7_587_412_043_984_312_345));
    assert_eq!(seen.slis["store_availability_percent"], Some(100.0));
    assert_eq!(seen.slis["write_latency_p99_ms"], Some(8.0));
}

/// A healthy cluster, whose Prometheus answers some requests differently.
fn measured(change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Vec<String> {
    let cluster = Cluster::start(3, 96);
    let prometheus = Fake::start(move |request| change(request, metrics(request, 3)));
    let config = Config {
        prometheus_url: prometheus.url(),
        ..cluster.config()
    };
    Watch::new(config).verdicts()
}

/// The same answer with another field beside its data.
fn with(reply: Reply, field: &str, value: Value) -> Reply {
    let Reply::Body(200, body) = reply else {
        return reply;
    };
    let mut body: Value = serde_json::from_str(&body).unwrap();
    body[field] = value;
    Reply::Body(200, body.to_string())
}

#[test]
fn what_prometheus_does_not_have_is_never_a_good_value() {
    let unmeasured = [
        "high_latency * unknown",
        "raft_log_lag * unknown",
        "server_busy * unknown",
        "write_stall * unknown",
    ];
    let warned = measured(|_, reply| with(reply, "warnings", json!(["a shard is away"])));
    assert_eq!(warned, unmeasured);
    let partial = measured(|_, reply| with(reply, "isPartial", json!(true)));
    assert_eq!(partial, unmeasured);
    let nothing = || json!({"status": "success", "data": {"resultType": "vector", "result": []}});
    let without = |what: &'static str| {
        measured(move |request, reply| {
            if request.line.contains(what) {
                Reply::Body(200, nothing().to_string())
            } else {
                reply
            }
        })
    };
    let new = without("offset%2030s");
    assert_eq!(
        new.len(),
        12,
        "Prometheus knows less than its window: {new:?}"
    );
    let exposed = measured(|request, reply| {
        if request
            .line
            .contains("metadata?metric=tikv_channel_full_total")
        {
            let target = json!({"target": {"instance": "tikv2:20180"}});
            with(reply, "data", json!([target]))
        } else {
            reply
        }
    });
    assert_eq!(exposed, ["server_busy store-2 unknown"], "it is not stored");
    let other_server = measured(|request, reply| {
        if request.line.contains("metadata") {
            Reply::Body(404, "not found".into())
        } else {
            reply
        }
    });
    assert_eq!(other_server.len(), 3, "{other_server:?}");
}

#[test]
fn the_resources_are_the_stores_and_those_that_left_the_cluster() {
    let cluster = Cluster::start(3, 96);
    let seen = Watch::new(cluster.config()).cycle().0;
    let named = |seen: &Observation<Data>| -> Vec<String> {
        let all = seen.resources.iter();
        all.map(|one| {
            let gone = if one.gone.is_some() { " gone" } else { "" };
            format!("{} {}{gone}", one.kind, one.id)
        })
        .collect()
    };
    let all = ["store store-1", "store store-2", "store store-3"];
    assert_eq!(named(&seen), all);
    let kept = seen.memory.unwrap();

    // A restart of the plugin, after which PD no longer lists a store.
    cluster.change("GET /stores", |body| {
        body["stores"].as_array_mut().unwrap().pop();
    });
    let subject = Tikv::create(cluster.config()).unwrap();
    let again = || {
        let deadline = Deadline::after(Duration::from_secs(20));
        subject.observe_again(deadline, Some(&kept)).unwrap()
    };
    assert_eq!(
        named(&again()),
        all[..2],
        "that it is gone is not known yet"
    );
    assert_eq!(named(&again()), all[..2], "PD does not say so");
    let removed = r#""[PD:core:ErrStoreNotFound]store 3 not found""#;
    cluster.set_reply("GET /store/3", Reply::Body(404, format!("{removed}\n")));
    assert_eq!(named(&again())[2..], ["store store-3 gone"]);
    cluster.set_reply("GET /stores", Reply::Body(500, "no".into()));
    assert_eq!(named(&again()), [""; 0]);
}

fn after(change: impl FnOnce(&Cluster)) -> Vec<String> {
    let cluster = Cluster::start(3, 96);
    change(&cluster);
    Watch::new(cluster.config()).verdicts()
}

fn store(cluster: &Cluster, index: usize, change: impl FnOnce(&mut Value)) {
    cluster.change("GET /stores", |body| change(&mut body["stores"][index]));
}

#[test]
fn each_fault_is_its_own_verdict() {
    let state =
        |name: &'static str| after(|c| store(c, 0, |s| s["store"]["state_name"] = json!(name)));
    assert_eq!(state("Tombstone"), [""; 0]);
    assert_eq!(state("Offline"), ["store_offline store-1 violated"]);
    // Its leaders are still counted for it, so their regions have none.
    assert_eq!(
        state("Disconnected"),
        [
            "region_unavailable * violated",
            "store_disconnected store-1 violated"
        ]
    );
    assert_eq!(
        state("Down"),
        [
            "high_latency store-1 unknown",
            "raft_log_lag store-1 unknown",
            "region_unavailable * violated",
            "server_busy store-1 unknown",
            "store_down store-1 violated",
            "write_stall store-1 unknown",
        ],
        "what it does not serve cannot be measured"
    );
    assert_eq!(
        state("Sleeping").len(),
        9,
        "a state of a later version is unknown everywhere"
    );

    let full = after(|c| store(c, 1, |s| s["status"]["available"] = json!("10GiB")));
    assert_eq!(full, ["low_disk_space store-2 violated critical"]);
    let regions = r#"{"count":2,"regions":[{"id":18,"leader":{"role_name":"Voter","store_id":1}},{"id":19,"leader":{"role_name":""}}]}"#;
    let down = after(|c| c.set("GET /regions/check/down-peer", regions));
    assert_eq!(down, ["under_replicated down-peer violated"]);
    let leaderless = after(|c| {
        c.change("GET /stats/region?start_key=&end_key=", |s| {
            s["count"] = json!(97);
        });
    });
    assert_eq!(leaderless, ["region_unavailable * violated"]);
    let member = after(|c| c.change("GET /health", |h| h[2]["health"] = json!(false)));
    assert_eq!(
        member,
        [
            "pd_member_down pd2 violated",
            "pd_quorum_at_risk * violated"
        ]
    );
    let paused = r#"[{"name":"balance-leader-scheduler","paused_at":"2020-01-01T00:00:00Z","resume_at":"2020-01-01T01:00:00Z"}]"#;
    let paused = after(|c| c.set("GET /schedulers?status=paused&timestamp", paused));
    assert_eq!(
        paused,
        ["scheduler_paused_too_long balance-leader-scheduler violated"]
    );
}

#[test]
fn a_million_regions_without_a_peer_are_counted_by_their_head() {
    let cluster = Cluster::start(3, 96);
    let region = r#"{"id":18,"start_key":"74","end_key":"","peers":[],"leader":{"role_name":""}}"#;
    let regions = vec![region; 50_000].join(",");
    cluster.set(
        "GET /regions/check/miss-peer",
        format!("{{\"count\":50000,\"regions\":[{regions}]}}"),
    );
    let watch = Watch::new(cluster.config());
    let (seen, _) = watch.cycle();
    let missing = seen.data.regions.miss_peer.unwrap();
    assert_eq!((missing.count, missing.examples.len()), (50_000, 5));
    let asked = || {
        cluster
            .pd
            .requests()
            .iter()
            .filter(|line| line.contains("miss-peer"))
            .count()
    };
    let before = asked();
    let (seen, _) = watch.cycle();
    assert_eq!(
        asked(),
        before,
        "PD has to write it as a whole, so it is not asked again at once"
    );
    assert_eq!(seen.data.regions.miss_peer.unwrap().count, 50_000);
}

#[test]
fn a_new_pd_leader_does_not_decide_that_stores_are_down() {
    let cluster = Cluster::start(3, 96);
    let watch = Watch::new(cluster.config());
    assert_eq!(watch.verdicts(), [""; 0]);
    cluster.change("GET /members", |m| m["leader"] = m["members"][1].clone());
    for index in 0..3 {
        store(&cluster, index, |s| {
            s["store"]["state_name"] = json!("Disconnected");
        });
    }
    let (seen, report) = watch.cycle();
    assert_eq!(report.violations, [], "{:?}", report.violations);
    assert!(
        report
            .unknown
            .iter()
            .any(|unknown| unknown.invariant == "store_disconnected")
    );
    assert_eq!(seen.data.pd.leader.as_deref(), Some("pd1"));
    assert_eq!(seen.data.stores.unwrap()[0].heard_by_leader, Some(false));
    assert_eq!(seen.slis["store_availability_percent"], None);
}

#[test]
fn the_log_is_read_where_one_is_configured() {
    let cluster = Cluster::start(3, 96);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tikv.log");
    let line = "[2026/08/20 09:31:04.512 +08:00] [INFO] [raft.rs:1196] [\"became leader at term 8\"] [term=8] [region_id=14]\n";
    std::fs::write(&path, line).unwrap();
    let with = |log_path: &std::path::Path| Config {
        log_path: Some(log_path.to_str().unwrap().to_owned()),
        ..cluster.config()
    };
    let (seen, report) = Watch::new(with(&path)).cycle();
    let log = seen.data.log.unwrap();
    assert_eq!((log.lines, log.events[0].region_id), (1, Some(14)));
    assert_eq!(report.unknown, []);
    let (seen, _) = Watch::new(with(&folder.path().join("none.log"))).cycle();
    let source = seen
        .sources
        .iter()
        .find(|source| source.name == "log")
        .unwrap();
    assert!(
        source.error.as_ref().unwrap().contains("none.log"),
        "{source:?}"
    );
    assert_eq!(seen.data.log, None);
}

#[test]
fn without_a_leader_only_that_is_violated_and_the_rest_is_unknown() {
    for (status, words) in [
        (
            503,
            "[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n",
        ),
        (503, "no leader\n"),
        (500, "[PD:apiutil:ErrRedirect]redirect failed\n"),
    ] {
        let cluster = Cluster::start(3, 96);
        cluster.set_reply("GET /members", Reply::Body(status, words.into()));
        let (seen, report) = Watch::new(cluster.config()).cycle();
        let violated: Vec<_> = report
            .violations
            .iter()
            .map(|v| v.invariant.as_str())
            .collect();
        assert_eq!(violated, ["pd_no_leader"], "{words}");
        assert_eq!(
            seen.data.pd.members.unwrap().len(),
            3,
            "their health is known"
        );
        assert!(
            report
                .unknown
                .iter()
                .any(|unknown| unknown.invariant == "store_down")
        );
        assert!(
            seen.sources
                .iter()
                .any(|source| source.name == "pd cluster" && source.error.is_some())
        );
    }
}

#[test]
fn before_the_first_store_everything_about_stores_is_unknown() {
    let cluster = Cluster::start(3, 96);
    let words = "\"[PD:cluster:ErrNotBootstrapped]TiKV cluster not bootstrapped, please start TiKV first\"\n";
    for path in [
        "stores",
        "stats/region?start_key=&end_key=",
        "operators",
        "schedulers",
        "regions/check/down-peer",
    ] {
        cluster.set_reply(&format!("GET /{path}"), Reply::Body(500, words.into()));
    }
    let (seen, report) = Watch::new(cluster.config()).cycle();
    assert_eq!(report.violations, []);
    let source = seen
        .sources
        .iter()
        .find(|source| source.name == "pd stores")
        .unwrap();
    assert!(
        source
            .error
            .as_ref()
            .unwrap()
            .contains("ErrNotBootstrapped")
    );
    let unknown: Vec<_> = report
        .unknown
        .iter()
        .map(|unknown| unknown.invariant.as_str())
        .collect();
    for invariant in [
        "store_down",
        "region_unavailable",
        "leader_imbalance",
        "under_replicated",
    ] {
        assert!(unknown.contains(&invariant), "{invariant}");
    }
}

#[test]
fn a_prometheus_that_takes_long_is_not_asked_in_every_cycle() {
    let cluster = Cluster::start(3, 96);
    let quick = cluster.prometheus.url();
    let slow = Fake::start(move |request| {
        thread::sleep(Duration::from_millis(300));
        let path = request.line.trim_start_matches("GET ");
        let answer = ureq::get(format!("{quick}{path}")).call();
        Reply::Body(200, answer.unwrap().body_mut().read_to_string().unwrap())
    });
    let watch = Watch::new(Config {
        prometheus_url: slow.url(),
        ..cluster.config()
    });
    let (seen, _) = watch.cycle();
    assert_eq!(seen.data.metrics_error, None);
    let asked = slow.requests().len();
    let (seen, report) = watch.cycle();
    assert_eq!(slow.requests().len(), asked);
    assert_eq!(report.unknown, [], "the earlier answer is still known");
    assert!(seen.data.metrics_age_ms.is_some());
}

/// How often PD was asked for this.
fn asked(pd: &Fake, what: &str) -> usize {
    let requests = pd.requests();
    requests.iter().filter(|line| line.contains(what)).count()
}

#[test]
fn a_question_that_costs_pd_much_is_asked_seldom_and_never_twice_at_a_time() {
    let cluster = Cluster::start(3, 96);
    let quick = cluster.pd.url();
    let slow = Fake::start(move |request| {
        if request.line.contains("/regions/check/miss-peer") {
            return Reply::Stall;
        }
        if request.line.contains("/stats/region") {
            thread::sleep(Duration::from_millis(300));
        }
        let path = request.line.trim_start_matches("GET ");
        match ureq::get(format!("{quick}{path}")).call() {
            Ok(mut answer) => Reply::Body(200, answer.body_mut().read_to_string().unwrap()),
            Err(_) => Reply::Body(404, String::new()),
        }
    });
    let watch = Watch::new(Config {
        pd_urls: vec![slow.url()],
        observe_timeout_ms: 2_000,
        ..cluster.config()
    });
    for _ in 0..2 {
        let (seen, _) = watch.cycle();
        assert_eq!(seen.data.regions.leaderless, Some(0));
        assert!(seen.data.regions.stats_age_ms.is_some());
        assert_eq!(seen.data.regions.miss_peer, None);
        assert!(seen.data.regions.down_peer.is_some());
    }
    assert_eq!(asked(&slow, "/stats/region"), 1);
    assert_eq!(asked(&slow, "/regions/check/miss-peer"), 1);
    assert_eq!(asked(&slow, "/stores"), 2 + asked(&slow, "/hotspot/stores"));
}
