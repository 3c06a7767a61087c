//! Actions against PDs that do it, refuse it in each of their shapes, hang or are not there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use operator_plugin_api::{ActionResult, Call, Deadline, Error, ErrorKind, Outcome, Subject};
use operator_plugin_kit::testing::fake::{Fake, Reply, Request};
use serde_json::{Value, json};
use tikv::{Config, Tikv};

fn invoke(
    urls: &[String],
    action: &str,
    params: Value,
    dry_run: bool,
) -> Result<ActionResult, Error> {
    let config = Config {
        pd_urls: urls.to_vec(),
        ..Config::default()
    };
    let deadline = Deadline::after(Duration::from_secs(3));
    let call = Call::new(action, params, deadline).dry_run(dry_run);
    Tikv::create(config).unwrap().invoke(&call)
}

fn body(status: u16, body: impl ToString) -> Reply {
    Reply::Body(status, body.to_string())
}

fn region(leader: u64, version: u64) -> Reply {
    let peers: Vec<_> = [1, 4, 5]
        .map(|store| json!({"id": store + 10, "store_id": store}))
        .into();
    body(
        200,
        json!({"id": 14, "start_key": "74", "end_key": "75", "epoch": {"version": version, "conf_ver": 5}, "peers": peers,
        "leader": {"id": leader + 10, "store_id": leader}}),
    )
}

fn ended(state: &str) -> Reply {
    body(
        200,
        json!(format!(
            "status: {state}, operator: admin-transfer-leader {{x}} (kind:admin, region:14(61, 5))"
        )),
    )
}

const TO_4: fn() -> Value = || json!({"region_id": 14, "to_store_id": 4});

/// A PD in which the leader of region 14 is on store 1 until its operator was read `after` times.
fn pd(answer: Reply, after: usize, state: &'static str) -> Fake {
    let asked = Arc::new(AtomicUsize::new(0));
    Fake::start(move |request: &Request| {
        let done = asked.load(Ordering::SeqCst) > after;
        match request
            .line
            .trim_start_matches("GET /pd/api/v1")
            .trim_start_matches("POST /pd/api/v1")
        {
            "/region/id/14" if done && state == "SUCCESS" => region(4, 61),
            "/region/id/14" => region(1, 61),
            "/operators/14" => {
                asked.fetch_add(1, Ordering::SeqCst);
                if done { ended(state) } else { ended("RUNNING") }
            }
            "/operators" => answer.clone(),
            _ => body(404, "404 page not found\n"),
        }
    })
}

fn created() -> Reply {
    body(200, "\"The operator is created.\"\n")
}

#[test]
fn an_operator_is_followed_to_its_end_and_the_region_decides() {
    for (state, outcome) in [
        ("SUCCESS", Outcome::Done),
        ("TIMEOUT", Outcome::Failed),
        ("CANCEL", Outcome::Failed),
        ("REPLACE", Outcome::Failed),
    ] {
        let pd = pd(created(), 2, state);
        let result = invoke(&[pd.url()], "transfer_leader", TO_4(), false).unwrap();
        assert_eq!(result.outcome, outcome, "{state}: {}", result.message);
        assert!(
            state == "SUCCESS" || result.message.contains(state),
            "{}",
            result.message
        );
        assert_eq!(result.details["previous_leader_store_id"], 1, "{state}");
        let sent = [
            r#"POST /pd/api/v1/operators {"name":"transfer-leader","region_id":14,"to_store_id":4}"#,
        ];
        assert_eq!(pd.changes(), sent, "{state}");
    }
}

#[test]
fn one_that_still_runs_at_the_deadline_has_no_known_outcome() {
    let pd = pd(created(), usize::MAX, "RUNNING");
    let since = Instant::now();
    let result = invoke(&[pd.url()], "transfer_leader", TO_4(), false).unwrap();
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(result.outcome, Outcome::Unknown);
    assert!(
        result.message.contains("still running"),
        "{}",
        result.message
    );
}

#[test]
fn what_is_so_already_is_not_sent() {
    let pd = pd(created(), 0, "SUCCESS");
    let result = invoke(
        &[pd.url()],
        "transfer_leader",
        json!({"region_id": 14, "to_store_id": 1}),
        false,
    )
    .unwrap();
    assert_eq!(
        (result.outcome, &result.details["already"]),
        (Outcome::Done, &json!(true)),
        "{}",
        result.message
    );
    assert_eq!(pd.changes(), [""; 0]);
}

#[test]
fn a_refusal_has_pds_own_message() {
    for (status, words) in [
        (500, "[PD:region:ErrRegionNotFound]region 14 not found"),
        (500, "region has no voter in store 6"),
        (500, "cannot transfer leader to 5: unhealthy"),
        (500, "[PD:core:ErrStoreUnhealthy]store 5 is unhealthy"),
        (
            500,
            "[PD:operator:ErrAddOperator]failed to add operator, maybe already have one",
        ),
        (400, "missing store id to transfer leader to"),
    ] {
        let pd = pd(body(status, json!(words)), 0, "RUNNING");
        let result = invoke(&[pd.url()], "transfer_leader", TO_4(), false).unwrap();
        assert_eq!(result.outcome, Outcome::Failed, "{words}");
        assert!(result.message.contains(words), "{}", result.message);
    }
}

#[test]
fn after_silence_nothing_is_sent_to_another() {
    let failed = "[PD:apiutil:ErrRedirect]redirect failed\n";
    for (way, reply) in [
        ("half", Reply::Half),
        ("stall", Reply::Stall),
        ("html", body(502, "<html>")),
        ("the leader is silent", body(500, failed)),
        (
            "etcd is slow",
            body(500, "\"etcdserver: request timed out\""),
        ),
    ] {
        let silent = pd(reply, 0, "RUNNING");
        let other = pd(created(), 0, "SUCCESS");
        let result = invoke(
            &[silent.url(), other.url()],
            "transfer_leader",
            TO_4(),
            false,
        )
        .unwrap();
        assert_eq!(
            result.outcome,
            Outcome::Unknown,
            "{way}: {}",
            result.message
        );
        assert_eq!(
            (silent.changes().len(), other.changes().len()),
            (1, 0),
            "{way}"
        );
    }
}

#[test]
fn where_nothing_was_done_another_is_asked() {
    let no_leader = "[PD:apiutil:ErrRedirectNoLeader]redirect finds no leader\n";
    for reply in [
        body(503, no_leader),
        body(503, "no leader\n"),
        body(500, "[PD:server:ErrServerNotStarted]server not started\n"),
    ] {
        let first = pd(reply, 0, "RUNNING");
        let other = pd(created(), 0, "SUCCESS");
        let result = invoke(
            &[first.url(), other.url()],
            "transfer_leader",
            TO_4(),
            false,
        )
        .unwrap();
        assert_eq!(result.outcome, Outcome::Done, "{}", result.message);
        assert_eq!(other.changes().len(), 1);
    }
    let gone = Fake::always(Reply::Half).url();
    let result = invoke(&[gone], "transfer_leader", TO_4(), false).unwrap();
    assert_eq!(result.outcome, Outcome::Failed, "{}", result.message);
}

#[test]
fn a_temporary_value_that_blocks_is_removed_first() {
    let cleared = Arc::new(AtomicUsize::new(0));
    let pd = Fake::start(
        move |request| match request.line.replace("/pd/api/v1", "").as_str() {
            "GET /config/schedule" => {
                let limit = if cleared.load(Ordering::SeqCst) > 1 {
                    8
                } else {
                    4
                };
                body(200, json!({"leader-schedule-limit": limit}))
            }
            "POST /config?ttlSecond=0" => {
                cleared.store(1, Ordering::SeqCst);
                body(200, "\"The ttl config is updated.\"\n")
            }
            "POST /config/schedule" if cleared.load(Ordering::SeqCst) == 0 => body(
                400,
                "\"need to clean up TTL first for schedule.leader-schedule-limit\"\n",
            ),
            "POST /config/schedule" => {
                cleared.store(2, Ordering::SeqCst);
                body(200, "\"The config is updated.\"\n")
            }
            _ => body(404, "404 page not found\n"),
        },
    );
    let result = invoke(
        &[pd.url()],
        "set_leader_schedule_limit",
        json!({"limit": 8}),
        false,
    )
    .unwrap();
    assert_eq!(result.outcome, Outcome::Done, "{}", result.message);
    assert_eq!(result.details["previous_limit"], 4);
    assert_eq!(pd.changes().len(), 3, "{:?}", pd.changes());
}

#[test]
fn the_last_store_that_takes_leaders_is_not_drained() {
    let store =
        |id: u64, state: &str| json!({"store": {"id": id, "state_name": state}, "status": {}});
    let stores = json!({"count": 2, "stores": [store(1, "Up"), store(4, "Down")]});
    let pd = Fake::start(
        move |request| match request.line.replace("/pd/api/v1", "").as_str() {
            "GET /stores" => body(200, &stores),
            _ => body(
                404,
                "\"[PD:scheduler:ErrSchedulerNotFound]scheduler not found\"\n",
            ),
        },
    );
    let error = invoke(&[pd.url()], "drain_store", json!({"store_id": 1}), false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert_eq!(pd.changes(), [""; 0]);
}

#[test]
fn a_dry_run_sends_nothing_at_all() {
    let pd = pd(created(), 0, "SUCCESS");
    let result = invoke(&[pd.url()], "transfer_leader", TO_4(), true).unwrap();
    assert_eq!(
        (result.outcome, &result.details["path"]),
        (Outcome::Done, &json!("/pd/api/v1/operators"))
    );
    assert_eq!(pd.requests(), [""; 0]);
}

#[test]
fn invalid_parameters_are_rejected_before_anything_is_asked() {
    let pd = pd(created(), 0, "SUCCESS");
    for (action, params) in [
        ("nothing", json!({})),
        ("transfer_leader", json!({"region_id": 14})),
        ("drain_store", json!({"store_id": 0})),
    ] {
        let error = invoke(&[pd.url()], action, params, false).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    }
    assert_eq!(pd.requests(), [""; 0]);
}
