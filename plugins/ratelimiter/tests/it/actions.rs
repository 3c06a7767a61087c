//! Actions against the real service, and against nodes that refuse, hang or are not there.

use std::time::Duration;

use operator_plugin_api::{ActionResult, Call, Deadline, Error, ErrorKind, Outcome, Subject};
use ratelimiter::{Config, RateLimiter};
use serde_json::{Value, json};

use operator_plugin_kit::testing::{
    fake::{Fake, Reply},
    process::free_port,
};

use crate::support::{Cluster, http};

fn invoke(
    subject: &RateLimiter,
    action: &str,
    params: Value,
    dry_run: bool,
) -> Result<ActionResult, Error> {
    let deadline = Deadline::after(Duration::from_secs(2));
    subject.invoke(&Call::new(action, params, deadline).dry_run(dry_run))
}

fn done(subject: &RateLimiter, action: &str, params: Value) -> Value {
    let result = invoke(subject, action, params, false).unwrap();
    assert_eq!(result.outcome, Outcome::Done, "{}", result.message);
    result.details
}

#[test]
fn every_action_takes_effect_and_can_be_undone() {
    let cluster = Cluster::start(2, &["--default-limit", "3", "--admin-token", "s3cret"]);
    let subject = RateLimiter::create(Config {
        admin_token: Some("s3cret".into()),
        ..cluster.config()
    })
    .unwrap();
    let key = "a/b c";
    cluster.check_many(key, 3);
    assert_eq!(cluster.check(0, key), 429);
    assert_eq!(
        done(&subject, "reset_counter", json!({"key": key}))["answer"]["reset"],
        true
    );
    assert_eq!(cluster.check(0, key), 200);

    let before = done(
        &subject,
        "update_limit",
        json!({"key": key, "limit": 1, "window_ms": 60_000}),
    );
    assert_eq!(before["had_override"], false);
    assert_eq!(
        (&before["previous_limit"], &before["previous_window_ms"]),
        (&json!(3), &json!(60_000))
    );
    assert_eq!(cluster.check(1, key), 429);
    let back = json!({"key": key, "had_override": false, "limit": 3, "window_ms": 60_000});
    done(&subject, "restore_limit", back);
    assert_eq!(cluster.check(1, key), 200);

    done(
        &subject,
        "block_key",
        json!({"key": "other", "duration_seconds": 60}),
    );
    assert_eq!(cluster.check(1, "other"), 429);
    let before = done(&subject, "unblock_key", json!({"key": "other"}));
    assert!(
        before["remaining_seconds"]
            .as_u64()
            .is_some_and(|left| (1..=60).contains(&left)),
        "{before}"
    );
    assert_eq!(cluster.check(1, "other"), 200);

    done(&subject, "drain_node", json!({"node_id": "node-2"}));
    assert_eq!(cluster.check(1, "other"), 503);
    done(&subject, "undrain_node", json!({"node_id": "node-2"}));
    assert_eq!(cluster.check(1, "other"), 200);
}

#[test]
fn a_refusal_is_a_failure_in_the_services_own_words() {
    let cluster = Cluster::start(1, &["--admin-token", "s3cret"]);
    let subject = RateLimiter::create(cluster.config()).unwrap();
    let result = invoke(&subject, "reset_counter", json!({"key": "k"}), false).unwrap();
    assert_eq!(result.outcome, Outcome::Failed);
    assert!(
        result.message.contains("401") && result.message.contains("admin token"),
        "{}",
        result.message
    );
    let with_token = Config {
        admin_token: Some("s3cret".into()),
        ..cluster.config()
    };
    let subject = RateLimiter::create(with_token).unwrap();
    let result = invoke(&subject, "drain_node", json!({"node_id": "nobody"}), false).unwrap();
    assert_eq!(result.outcome, Outcome::Failed);
    assert!(
        result.message.contains("no node is named `nobody`"),
        "{}",
        result.message
    );
}

#[test]
fn a_dry_run_and_an_invalid_parameter_send_nothing() {
    let limits = r#"{"default":{"max_requests":1,"window_seconds":1},"limits":[]}"#;
    let fake = Fake::always(Reply::Body(200, limits.into()));
    let config = Config {
        management_url: fake.url(),
        ..Config::default()
    };
    let subject = RateLimiter::create(config).unwrap();
    let result = invoke(
        &subject,
        "block_key",
        json!({"key": "k", "duration_seconds": 5}),
        true,
    )
    .unwrap();
    assert!(
        result.message.contains("POST /api/v1/blocks/k"),
        "{}",
        result.message
    );
    let error = invoke(
        &subject,
        "block_key",
        json!({"key": "", "duration_seconds": 0}),
        false,
    )
    .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(fake.changes(), [""; 0]);
}

#[test]
fn a_request_that_was_sent_and_not_answered_is_unknown_and_not_sent_again() {
    let limits = r#"{"default":{"max_requests":1,"window_seconds":1},"limits":[]}"#;
    let node = |reply| {
        Fake::with_replies(
            &[("GET /api/v1/limits", Reply::Body(200, limits.into()))],
            reply,
        )
    };
    for reply in [
        Reply::Stall,
        Reply::Drip,
        Reply::Half,
        Reply::Body(500, "{}".into()),
    ] {
        let (first, second) = (node(reply), node(Reply::Body(200, "{}".into())));
        let config = Config {
            management_url: first.url(),
            more_management_urls: vec![second.url()],
            ..Config::default()
        };
        let subject = RateLimiter::create(config).unwrap();
        let result = invoke(&subject, "reset_counter", json!({"key": "k"}), false).unwrap();
        assert_eq!(result.outcome, Outcome::Unknown, "{}", result.message);
        assert_eq!(second.requests(), [""; 0]);
    }
}

#[test]
fn a_node_that_refuses_the_connection_is_passed_over() {
    let cluster = Cluster::start(1, &[]);
    let config = Config {
        management_url: format!("http://127.0.0.1:{}", free_port()),
        more_management_urls: vec![cluster.nodes[0].url()],
        ..cluster.config()
    };
    let subject = RateLimiter::create(config).unwrap();
    done(
        &subject,
        "block_key",
        json!({"key": "k", "duration_seconds": 60}),
    );
    assert_eq!(cluster.check(0, "k"), 429);
    let unreachable = Config {
        management_url: format!("http://127.0.0.1:{}", free_port()),
        ..cluster.config()
    };
    let subject = RateLimiter::create(unreachable).unwrap();
    let result = invoke(&subject, "reset_counter", json!({"key": "k"}), false).unwrap();
    assert_eq!(result.outcome, Outcome::Failed, "{}", result.message);
}

#[test]
fn the_older_form_resets_and_limits_and_rejects_the_rest() {
    let answers = [
        (
            "POST /api/counters/a%2Fb/reset",
            Reply::Body(200, r#"{"key":"a/b","reset":true}"#.into()),
        ),
        (
            "PUT /api/limits/k",
            Reply::Body(
                200,
                r#"{"key":"k","limit":5,"window_ms":1000,"updated":true}"#.into(),
            ),
        ),
    ];
    let fake = Fake::with_replies(
        &answers,
        Reply::Body(404, r#"{"detail":"Not Found"}"#.into()),
    );
    let subject = RateLimiter::create(Config {
        management_url: fake.url(),
        ..Config::default()
    })
    .unwrap();
    done(&subject, "reset_counter", json!({"key": "a/b"}));
    done(
        &subject,
        "update_limit",
        json!({"key": "k", "limit": 5, "window_ms": 1_000}),
    );
    let last = fake.requests().last().cloned().unwrap();
    assert_eq!(last, r#"PUT /api/limits/k {"limit":5,"window_ms":1000}"#);
    // A preview refuses what the call refuses.
    let prefix = json!({"key": "user:*", "limit": 5, "window_ms": 1_000});
    let block = json!({"key": "k", "duration_seconds": 5});
    for (action, params) in [("block_key", block), ("update_limit", prefix)] {
        for dry_run in [true, false] {
            let error = invoke(&subject, action, params.clone(), dry_run).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsupported, "{action} {dry_run}");
        }
    }
    assert_eq!(http("GET", &format!("{}/x", fake.url()), None).0, 404);
}
