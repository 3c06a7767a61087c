//! A Redis that does not let the plugin in, or not everywhere.

use operator_plugin_api::{CheckReport, Observation};
use ratelimiter::{Config, Data};

use crate::{
    older_service::{OlderCluster, Options},
    support::{Cluster, Watch},
};

/// As the README names them.
const LEAST: &str = "on >s3cret resetkeys %R~ratelimit:* %R~ratelimiter:nodes:* -@all +ping +info +time +scan +hmget +pttl +zcount";

fn with_user(cluster: &Cluster, config: Config, rights: &str, password: &str) -> Watch {
    let client = redis::Client::open(cluster.redis_url()).unwrap();
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER").arg("operator").arg("reset");
    for right in rights.split(' ') {
        acl.arg(right);
    }
    acl.exec(&mut client.get_connection().unwrap()).unwrap();
    Watch::new(Config {
        redis_url: format!(
            "redis://operator:{password}@127.0.0.1:{}",
            cluster.redis_port
        ),
        ..config
    })
}

fn redis_source(observation: &Observation<Data>) -> Option<&str> {
    let source = observation
        .sources
        .iter()
        .find(|source| source.name == "redis");
    source.unwrap().error.as_deref()
}

fn reason<'a>(report: &'a CheckReport, invariant: &str) -> &'a str {
    let unknown = report
        .unknown
        .iter()
        .find(|unknown| unknown.invariant == invariant);
    &unknown
        .unwrap_or_else(|| panic!("{invariant} is known: {report:?}"))
        .reason
}

#[test]
fn the_least_rights_of_the_readme_are_enough() {
    let cluster = Cluster::start(2, &[]);
    cluster.check_many("k", 4);
    let watch = with_user(&cluster, cluster.config(), LEAST, "s3cret");
    watch.cycle();
    let (observation, report) = watch.cycle();
    assert_eq!(redis_source(&observation), None);
    assert_eq!(report.violations, []);
    let data = &observation.data;
    assert_eq!(
        (data.redis_connected, data.redis.error.as_deref()),
        (Some(true), None)
    );
    assert!(data.redis.uptime_s.is_some());
    assert_eq!(data.counters.as_ref().unwrap()[0].redis_low, Some(4));
    // The same for the older form, which is searched for and asked for registrations.
    let older = OlderCluster::start(1, Options::default());
    let watch = with_user(&older.rest, older.config(), LEAST, "s3cret");
    watch.cycle();
    let (observation, _) = watch.cycle();
    assert_eq!(redis_source(&observation), None);
    assert_eq!(observation.data.nodes[0].redis_connected, Some(true));
}

#[test]
fn what_redis_refuses_is_named_in_what_it_makes_unknown_and_in_the_sources() {
    let cluster = Cluster::start(1, &[]);
    cluster.check_many("k", 4);
    for (rights, password, code) in [
        (LEAST, "wrong", "WRONGPASS"),
        (&LEAST.replace(" +zcount", ""), "s3cret", "NOPERM"),
    ] {
        let watch = with_user(&cluster, cluster.config(), rights, password);
        let (observation, report) = watch.cycle();
        assert_eq!(report.violations, []);
        let over = reason(&report, "over_limit");
        assert!(
            over.contains("Redis refuses this plugin") && over.contains(code),
            "{over}"
        );
        assert!(redis_source(&observation).is_some_and(|error| error.contains(code)));
    }
}
