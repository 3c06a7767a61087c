//! Backends that are broken: the observation is over in time, and names the sources that did not answer.

use std::{
    io::Write,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use operator_plugin_api::{Deadline, ErrorKind, Subject};
use ratelimiter::{Config, RateLimiter};

use operator_plugin_kit::testing::{
    fake::{Fake, Reply},
    process::free_port,
};

use crate::support::Cluster;

fn ways() -> Vec<(&'static str, Reply)> {
    let other_shape = r#"{"nodes":7,"node_id":[]}"#;
    let mut ways = Reply::broken();
    ways.push(("another shape", Reply::Body(200, other_shape.into())));
    ways
}

#[test]
fn a_broken_prometheus_or_management_url_is_named_and_costs_no_deadline() {
    let cluster = Cluster::start(1, &[]);
    for (way, reply) in ways() {
        let fake = Fake::always(reply);
        let config = Config {
            prometheus_url: fake.url(),
            more_management_urls: vec![fake.url()],
            ..cluster.config()
        };
        let subject = RateLimiter::create(config).unwrap();
        let since = Instant::now();
        let observation = subject
            .observe(Deadline::after(Duration::from_millis(1_500)))
            .unwrap();
        assert!(
            since.elapsed() < Duration::from_millis(1_500),
            "{way}: {:?}",
            since.elapsed()
        );
        for name in [
            "prometheus".to_owned(),
            format!("127.0.0.1:{}", fake.port()),
        ] {
            let source = observation
                .sources
                .iter()
                .find(|source| source.name == name);
            assert!(
                source.is_some_and(|source| source.error.is_some()),
                "{way}: {:?}",
                observation.sources
            );
        }
        let report = subject.check(&observation);
        assert_eq!(report.violations, [], "{way}");
        assert!(
            report
                .unknown
                .iter()
                .any(|unknown| unknown.invariant == "high_latency"),
            "{way}"
        );
    }
}

#[test]
fn a_server_that_is_not_redis_is_disconnected_within_the_deadline() {
    let cluster = Cluster::start(1, &[]);
    for bytes in [
        &b""[..],
        b"HTTP/1.1 400 X\r\n\r\n",
        b"$1000000\r\n",
        b"*2000000000\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    // Drips for ever, or until the other side has had enough.
                    while stream
                        .write_all(bytes)
                        .and_then(|()| stream.write_all(b"x"))
                        .is_ok()
                    {
                        thread::park_timeout(Duration::from_millis(20));
                    }
                });
            }
        });
        let config = Config {
            redis_url: format!("redis://127.0.0.1:{port}"),
            ..cluster.config()
        };
        let subject = RateLimiter::create(config).unwrap();
        let since = Instant::now();
        let observation = subject
            .observe(Deadline::after(Duration::from_millis(1_500)))
            .unwrap();
        assert!(
            since.elapsed() < Duration::from_millis(1_500),
            "{:?}",
            since.elapsed()
        );
        assert_eq!(
            observation.data.redis_connected,
            Some(false),
            "{:?}",
            observation.data.redis
        );
    }
}

#[test]
fn everything_that_hangs_at_once_still_ends_in_time() {
    let hung = Fake::always(Reply::Stall);
    let redis = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config {
        management_url: hung.url(),
        prometheus_url: hung.url(),
        redis_url: format!("redis://127.0.0.1:{}", redis.local_addr().unwrap().port()),
        ..Config::default()
    };
    let subject = RateLimiter::create(config).unwrap();
    for deadline in [0, 1, 50, 500, 2_000] {
        let deadline = Duration::from_millis(deadline);
        let since = Instant::now();
        let error = subject.observe(Deadline::after(deadline)).unwrap_err();
        assert!(
            since.elapsed() < deadline + Duration::from_millis(20),
            "{deadline:?}: {:?}",
            since.elapsed()
        );
        assert!(
            matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Deadline),
            "{error}"
        );
    }
}

#[test]
fn no_secret_is_in_an_error_or_an_observation() {
    let canary = "canary-7f3a";
    let cluster = Cluster::start(1, &[]);
    let config = || Config {
        redis_url: format!("redis://:{canary}@127.0.0.1:{}", cluster.redis_port),
        admin_token: Some(canary.into()),
        more_management_urls: vec![format!("http://u:{canary}@localhost:{}", free_port())],
        ..cluster.config()
    };
    let subject = RateLimiter::create(config()).unwrap();
    let observation = subject
        .observe(Deadline::after(Duration::from_secs(3)))
        .unwrap();
    // Redis has no password here, so it refuses the one it is given: the nodes decide.
    assert_eq!(observation.data.redis_connected, None);
    assert_eq!(subject.check(&observation).violations, []);
    assert!(
        !serde_json::to_string(&observation)
            .unwrap()
            .contains(canary)
    );
    let dead = Config {
        management_url: format!("http://u:{canary}@localhost:{}", free_port()),
        redis_url: format!("redis://:{canary}@127.0.0.1:{}", free_port()),
        ..config()
    };
    let error = RateLimiter::create(dead)
        .unwrap()
        .observe(Deadline::after(Duration::from_secs(3)))
        .unwrap_err();
    assert!(!error.message.contains(canary), "{error}");
}
