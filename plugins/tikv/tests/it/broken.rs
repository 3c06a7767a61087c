//! PDs and a Prometheus that are broken: the observation is over in time, names the sources that did not answer, and shows the rest.

use std::time::{Duration, Instant};

use operator_plugin_api::{Deadline, ErrorKind, Subject};
use operator_plugin_kit::testing::{
    fake::{Fake, Reply},
    verdicts,
};
use tikv::{Config, Tikv};

use crate::cluster::{Cluster, Watch};

fn ways() -> Vec<(&'static str, Reply)> {
    let other_shape = r#"{"stores":7,"version":[],"data":{}}"#;
    let mut ways = Reply::broken();
    ways.push(("another shape", Reply::Body(200, other_shape.into())));
    ways
}

/// A port on which nothing listens.
fn closed() -> String {
    let fake = Fake::always(Reply::Stall);
    fake.url()
}

#[test]
fn one_broken_pd_is_named_and_the_others_serve() {
    for (way, reply) in ways() {
        let cluster = Cluster::start(3, 96);
        let broken = Fake::always(reply);
        let config = Config {
            pd_urls: vec![broken.url(), closed(), cluster.pd.url()],
            ..cluster.config()
        };
        let since = Instant::now();
        let (seen, report) = Watch::new(config).cycle();
        assert!(
            since.elapsed() < Duration::from_secs(8),
            "{way}: {:?}",
            since.elapsed()
        );
        assert_eq!(verdicts(&report), [""; 0], "{way}");
        let failed = seen
            .sources
            .iter()
            .filter(|source| source.error.is_some())
            .count();
        assert_eq!(failed, 2, "{way}: {:?}", seen.sources);
    }
}

#[test]
fn nothing_but_broken_pds_is_unavailable_within_the_deadline() {
    let cluster = Cluster::start(3, 96);
    for (way, reply) in ways() {
        let broken = Fake::always(reply);
        let url = broken.url().replace("http://", "http://user:canary@");
        let config = Config {
            pd_urls: vec![url, closed()],
            ..cluster.config()
        };
        let subject = Tikv::create(config).unwrap();
        let since = Instant::now();
        let error = subject
            .observe(Deadline::after(Duration::from_secs(4)))
            .unwrap_err();
        assert!(
            since.elapsed() < Duration::from_secs(4),
            "{way}: {:?}",
            since.elapsed()
        );
        assert_eq!(error.kind, ErrorKind::Unavailable, "{way}");
        assert!(!error.message.contains("canary"), "{error}");
    }
}

#[test]
fn a_broken_prometheus_leaves_the_rest_observed_and_its_part_unknown() {
    let cluster = Cluster::start(3, 96);
    for (way, reply) in ways() {
        let broken = Fake::always(reply);
        let config = Config {
            prometheus_url: broken.url(),
            ..cluster.config()
        };
        let (seen, report) = Watch::new(config).cycle();
        let expected = [
            "high_latency * unknown",
            "raft_log_lag * unknown",
            "server_busy * unknown",
            "write_stall * unknown",
        ];
        assert_eq!(verdicts(&report), expected, "{way}");
        let source = seen
            .sources
            .iter()
            .find(|source| source.name == "prometheus")
            .unwrap();
        assert!(source.error.is_some(), "{way}");
    }
}

#[test]
fn one_broken_answer_is_named_and_only_its_part_is_unknown() {
    for (way, reply) in ways() {
        if matches!(reply, Reply::Stall | Reply::Drip) {
            continue;
        }
        let cluster = Cluster::start(3, 96);
        cluster.set_reply("GET /schedulers?status=paused&timestamp", reply);
        let (seen, report) = Watch::new(cluster.config()).cycle();
        assert_eq!(
            verdicts(&report),
            ["scheduler_paused_too_long * unknown"],
            "{way}"
        );
        let failed: Vec<_> = seen
            .sources
            .iter()
            .filter(|source| source.error.is_some())
            .collect();
        assert_eq!(failed.len(), 1, "{way}: {failed:?}");
        assert_eq!(failed[0].name, "pd schedulers", "{way}");
    }
}

#[test]
fn a_member_that_pd_listed_is_asked_when_no_configured_one_answers() {
    let cluster = Cluster::start(3, 96);
    let other = cluster.another_pd();
    cluster.change("GET /members", |members| {
        members["members"][1]["client_urls"] = serde_json::json!([other.url()]);
    });
    let configured = cluster.another_pd();
    let config = Config {
        pd_urls: vec![configured.url()],
        ..cluster.config()
    };
    let watch = Watch::new(config);
    assert_eq!(watch.verdicts(), [""; 0]);
    drop(configured);
    let (seen, report) = watch.cycle();
    assert_eq!(verdicts(&report), [""; 0]);
    assert!(seen.sources[0].error.is_some(), "{:?}", seen.sources[0]);
}

#[test]
fn a_deadline_that_has_passed_is_reported() {
    let cluster = Cluster::start(3, 96);
    let subject = Tikv::create(cluster.config()).unwrap();
    let error = subject
        .observe(Deadline::after(Duration::ZERO))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Deadline);
}
