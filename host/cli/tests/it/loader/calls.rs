//! Calls of well-behaved plugins, in a worker and in this process.

use std::{fs, sync::Arc, time::Duration};

use operator_loader::{CallError, Observer, SubjectSpec, connect, describe};
use operator_model::{Isolation, Sandbox};
use operator_plugin_api::Outcome;
use serde_json::json;

use crate::support::common::{
    self, Bench, deadlines, hello_subject, misbehaving_subject, wait_for,
};

const BOTH: [Isolation; 2] = [Isolation::Worker, Isolation::None];

async fn violated(observer: &Observer) -> Vec<String> {
    let observed = observer.observe().await.unwrap();
    let report = observer.check(&observed).await.unwrap();
    report.violations.into_iter().map(|v| v.invariant).collect()
}

#[tokio::test]
async fn hello_subject_is_described_observed_and_checked() {
    let bench = Bench::new();
    for isolation in BOTH {
        let spec = bench.spec(hello_subject(), isolation, json!({"file": "/no/such/file"}));
        let descriptor = describe(&spec.plugin, isolation, &spec.sandbox, common::PATIENCE)
            .await
            .unwrap();
        assert_eq!(descriptor.subject, "hello");
        let observer = connect(spec);
        let observed = observer.observe().await.unwrap();
        assert_eq!(observed.summary, "the file is not there");
        assert!(observed.sources[0].error.is_some());
        let report = observer.check(&observed).await.unwrap();
        assert_eq!(report.unknown[0].invariant, "stale");
        observer.shutdown().await;
    }
}

#[tokio::test]
async fn faults_of_a_synthetic_subject_follow_its_file() {
    let bench = Bench::new();
    for isolation in BOTH {
        let file = bench.path("observation.json");
        let (observer, _) = bench.misbehaving(isolation, json!({"observation_file": file}));
        assert!(violated(&observer).await.is_empty());
        let report = json!({"violations": [{"invariant": "first", "message": "it broke"}]});
        fs::write(&file, report.to_string()).unwrap();
        assert_eq!(violated(&observer).await, ["first"]);
        fs::remove_file(&file).unwrap();
        assert!(violated(&observer).await.is_empty());
    }
}

#[tokio::test]
async fn an_action_is_listed_refused_and_invoked() {
    for isolation in BOTH {
        let bench = Bench::new();
        let config = json!({"effects_file": bench.effects_file()});
        let (observer, invoker) = bench.misbehaving(isolation, config);
        let listed = observer.list_actions().await.unwrap().actions;
        assert!(listed.iter().any(|action| action.name == "set_level"));

        let refused = invoker
            .invoke(
                &common::approved("set_level", json!({"level": 101})),
                "key-1",
            )
            .await;
        let refused = refused.unwrap_err();
        assert!(!refused.outcome_unknown(), "{refused}");
        assert!(bench.effects().is_empty());

        let done = invoker
            .invoke(&common::approved("set_level", json!({"level": 7})), "key-1")
            .await
            .unwrap();
        assert_eq!(
            (done.outcome, &done.details),
            (Outcome::Done, &json!({"previous": 0}))
        );
        assert_eq!(bench.effects(), [r#"set_level {"level":7} key-1"#]);
    }
}

#[tokio::test]
async fn two_plugins_and_two_subjects_of_one_run_side_by_side() {
    let bench = Bench::new();
    for isolation in BOTH {
        let hello = connect(bench.spec(hello_subject(), isolation, json!({})));
        let (none, _) = bench.misbehaving(isolation, json!({}));
        let (three, _) = bench.misbehaving(isolation, json!({"violations": 3}));
        assert_eq!(violated(&three).await.len(), 3);
        assert_eq!(violated(&none).await.len(), 0);
        assert_eq!(hello.observe().await.unwrap().sources[0].name, "file");
        assert_eq!(violated(&three).await.len(), 3);
    }
}

#[tokio::test]
async fn a_replaced_file_runs_the_new_code() {
    let bench = Bench::new();
    for isolation in BOTH {
        let file = bench.path("replaced.so");
        fs::copy(hello_subject(), &file).unwrap();
        let before = bench.open(&file);
        let subject = |plugin| describe_name(plugin, isolation);
        assert_eq!(subject(Arc::clone(&before)).await, "hello");
        fs::remove_file(&file).unwrap();
        fs::copy(misbehaving_subject(), &file).unwrap();
        assert_eq!(subject(bench.open(&file)).await, "misbehaving");
        assert_eq!(
            subject(before).await,
            "hello",
            "the old copy is still there"
        );
    }
}

async fn describe_name(plugin: Arc<operator_loader::Plugin>, isolation: Isolation) -> String {
    describe(&plugin, isolation, &Sandbox::default(), common::PATIENCE)
        .await
        .unwrap()
        .subject
}

#[tokio::test]
async fn shutdown_drops_the_subject_and_closes_it() {
    for isolation in BOTH {
        let bench = Bench::new();
        let (observer, _) =
            bench.misbehaving(isolation, json!({"effects_file": bench.effects_file()}));
        observer.observe().await.unwrap();
        observer.shutdown().await;
        assert_eq!(bench.effects(), ["dropped"]);
        observer.shutdown().await;
        let closed = observer.observe().await.unwrap_err();
        assert!(matches!(closed, CallError::Closed { .. }), "{closed}");
        let closed = observer.list_actions().await.unwrap_err();
        assert!(matches!(closed, CallError::Closed { .. }), "{closed}");
    }
}

#[tokio::test]
async fn a_caller_that_stops_waiting_leaves_no_reply_behind() {
    let bench = Bench::new();
    for isolation in BOTH {
        let config = json!({"latency_ms": 50, "violations": 2});
        let (observer, _) = bench.misbehaving(isolation, config);
        let observed = observer.observe().await.unwrap();
        for _ in 0..3 {
            let impatient = tokio::time::timeout(Duration::from_millis(5), observer.observe());
            assert!(impatient.await.is_err());
            let report = observer.check(&observed).await.unwrap();
            assert_eq!(report.violations.len(), 2);
        }
    }
}

#[tokio::test]
async fn many_callers_are_served_one_at_a_time() {
    let bench = Bench::new();
    for isolation in BOTH {
        let (observer, _) = bench.misbehaving(isolation, json!({"padding": 100_000}));
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let observer = observer.clone();
                tokio::spawn(async move { observer.observe().await.unwrap().document.get().len() })
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap() > 100_000);
        }
        assert_eq!(observer.health().starts, 1);
    }
}

#[tokio::test]
async fn a_dropped_observer_ends_its_worker() {
    let bench = Bench::new();
    let config = json!({"effects_file": bench.effects_file()});
    let handles = bench.misbehaving(Isolation::Worker, config);
    handles.0.observe().await.unwrap();
    let workers = || common::children_in(bench.dir.path());
    assert_eq!(workers().len(), 1);
    drop(handles);
    wait_for("the worker's end", || workers().is_empty().then_some(()));
}

#[test]
fn a_configuration_is_not_in_debug_output() {
    let bench = Bench::new();
    let config = json!({"token": "a-very-secret-token"});
    let spec: SubjectSpec = bench.spec(hello_subject(), Isolation::Worker, config);
    let shown = format!("{spec:?} {:?}", connect(spec.clone()));
    assert!(
        shown.contains("token") && !shown.contains("a-very-secret-token"),
        "{shown}"
    );
    assert_eq!(spec.deadlines, deadlines());
}
