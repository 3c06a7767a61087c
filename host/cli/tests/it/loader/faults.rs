//! Every way in which a running plugin can fail: the error that results, and that the operator keeps working.

use std::{
    fs,
    time::{Duration, Instant},
};

use operator_loader::{CallError, Invoker, Observer, connect};
use operator_model::{Deadlines, Isolation};
use operator_plugin_api::ErrorKind;
use serde_json::{Value, json};

use crate::support::common::{self, Bench, PATIENCE, deadlines, misbehaving_subject, wait_for};

const BOTH: [Isolation; 2] = [Isolation::Worker, Isolation::None];
const SHORT: Duration = Duration::from_millis(300);

/// The plugin with this fault, and short deadlines for the calls that it affects.
fn broken(bench: &Bench, isolation: Isolation, config: Value) -> (Observer, Invoker) {
    let mut spec = bench.spec(misbehaving_subject(), isolation, config);
    spec.deadlines = Deadlines {
        observe: SHORT,
        ..deadlines()
    };
    common::handles(spec)
}

fn approved() -> operator_policy::Approved {
    common::approved("repair", json!({}))
}

/// The error of `observe` in a worker with this fault.
async fn observe_in_worker(fault: &str) -> CallError {
    let bench = Bench::new();
    let (observer, _) = broken(&bench, Isolation::Worker, json!({"fault": fault}));
    observer.observe().await.unwrap_err()
}

fn died(error: &CallError) -> (&str, &str, Option<&str>) {
    match error {
        CallError::Died { call, how, log } => (call, how, log.as_deref()),
        other => panic!("not dead: {other:?}"),
    }
}

#[tokio::test]
async fn a_panic_in_any_call_is_an_error_of_the_plugin() {
    for isolation in BOTH {
        for place in ["create", "observe", "check", "list_actions", "invoke"] {
            let bench = Bench::new();
            let config = json!({"fault": "panic", "fault_in": place});
            let (observer, invoker) = bench.misbehaving(isolation, config);
            let error = match place {
                "list_actions" => observer.list_actions().await.unwrap_err(),
                "invoke" => invoker.invoke(&approved(), "key-1").await.unwrap_err(),
                _ => match observer.observe().await {
                    Ok(observed) => observer.check(&observed).await.unwrap_err(),
                    Err(error) => error,
                },
            };
            let CallError::Plugin {
                call,
                kind,
                message,
                ..
            } = &error
            else {
                panic!("{error:?}");
            };
            assert_eq!((*call, *kind), (place, ErrorKind::Panic));
            assert!(message.contains("injected panic"), "{message}");
            assert_eq!(error.outcome_unknown(), place == "invoke");
            assert!(!error.is_crash());
        }
    }
}

#[tokio::test]
async fn a_panic_in_drop_does_not_disturb_the_shutdown() {
    for isolation in BOTH {
        let bench = Bench::new();
        let config =
            json!({"fault": "panic", "fault_in": "drop", "effects_file": bench.effects_file()});
        let (observer, _) = bench.misbehaving(isolation, config);
        observer.observe().await.unwrap();
        observer.shutdown().await;
        assert_eq!(bench.effects(), ["dropped"]);
    }
}

#[tokio::test]
async fn a_subject_that_does_not_shut_down_in_time_is_killed() {
    let bench = Bench::new();
    let config = json!({"fault": "sleep", "fault_in": "drop"});
    let mut spec = bench.spec(misbehaving_subject(), Isolation::Worker, config);
    spec.deadlines.check = SHORT;
    let observer = connect(spec);
    observer.observe().await.unwrap();
    observer.shutdown().await;
    assert!(common::children_in(bench.dir.path()).is_empty());
}

#[tokio::test]
async fn an_error_of_the_plugin_arrives_unchanged() {
    for isolation in BOTH {
        let bench = Bench::new();
        let (observer, _) = bench.misbehaving(isolation, json!({"fault": "error"}));
        let error = observer.observe().await.unwrap_err();
        assert_eq!(error.to_string(), "observe: injected failure");
        assert!(matches!(
            error,
            CallError::Plugin {
                kind: ErrorKind::Unavailable,
                retryable: true,
                ..
            }
        ));
        assert_eq!(observer.health().deaths, 0);
    }
}

#[tokio::test]
async fn a_rejected_configuration_names_the_key() {
    for isolation in BOTH {
        let bench = Bench::new();
        let (observer, _) = bench.misbehaving(isolation, json!({"no_such_key": 1}));
        let error = observer.observe().await.unwrap_err();
        assert!(matches!(
            error,
            CallError::Plugin {
                call: "create",
                kind: ErrorKind::Config,
                ..
            }
        ));
        assert!(error.to_string().contains("no_such_key"), "{error}");
        let again = observer.observe().await.unwrap_err();
        assert!(
            matches!(&again, CallError::BackingOff { after, .. } if after.to_string().contains("no_such_key"))
        );
    }
}

#[tokio::test]
async fn a_malformed_answer_is_a_bad_answer() {
    for isolation in BOTH {
        let bench = Bench::new();
        let file = bench.path("fault");
        fs::write(&file, "not_json").unwrap();
        let (observer, _) = bench.misbehaving(isolation, json!({"fault_file": file}));
        let error = observer.observe().await.unwrap_err();
        assert!(
            matches!(
                error,
                CallError::BadAnswer {
                    call: "observe",
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains("not JSON"), "{error}");

        fs::write(&file, "wrong_shape").unwrap();
        let observed = observer.observe().await.unwrap();
        let report = observer.check(&observed).await.unwrap();
        assert_eq!(report.unknown.len(), 4, "what cannot be read is unknown");

        fs::remove_file(&file).unwrap();
        observer.observe().await.unwrap();
        assert_eq!(observer.health().starts, 1, "the plugin itself is well");
    }
}

#[tokio::test]
async fn an_answer_of_200_mb_is_refused_with_its_size_and_the_limit() {
    for isolation in BOTH {
        let bench = Bench::new();
        let config = json!({"fault": "huge_answer", "fault_after": 1});
        let (observer, _) = bench.misbehaving(isolation, config);
        observer.observe().await.unwrap();
        let error = observer.observe().await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, CallError::BadAnswer { .. }), "{error:?}");
        assert!(
            text.contains("20971") && text.contains("16777216"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_exit_is_a_death_with_its_status() {
    let error = observe_in_worker("exit").await;
    assert_eq!(died(&error).1, "exited with status 3");
    assert!(error.is_crash() && !error.outcome_unknown());
}

#[tokio::test]
async fn a_crash_is_a_death_with_its_signal() {
    let error = observe_in_worker("segfault").await;
    assert_eq!(died(&error).1, "was killed by signal 11 (SIGSEGV)");
    let error = observe_in_worker("abort").await;
    assert_eq!(died(&error).1, "was killed by signal 6 (SIGABRT)");
}

#[tokio::test]
async fn a_stack_overflow_is_a_death_with_its_last_line() {
    let error = observe_in_worker("stack_overflow").await;
    let (_, how, log) = died(&error);
    assert_eq!(how, "was killed by signal 6 (SIGABRT)");
    assert!(log.unwrap().contains("overflow"), "{log:?}");
}

#[tokio::test]
async fn a_plugin_that_takes_all_memory_dies_alone() {
    let bench = Bench::new();
    let (observer, _) = bench.misbehaving(Isolation::Worker, json!({"fault": "allocate"}));
    let error = observer.observe().await.unwrap_err();
    let (_, how, log) = died(&error);
    assert_eq!(how, "was killed by signal 6 (SIGABRT)");
    assert!(log.unwrap().contains("memory allocation"), "{log:?}");
}

#[tokio::test]
async fn a_call_that_does_not_return_is_ended_at_its_deadline() {
    for fault in ["spin", "sleep", "lock"] {
        let error = observe_in_worker(fault).await;
        assert!(
            matches!(
                error,
                CallError::Deadline {
                    call: "observe",
                    deadline: SHORT
                }
            ),
            "{error:?}"
        );
        assert!(!error.is_crash() && !error.outcome_unknown());
    }
}

#[tokio::test]
async fn a_deadline_also_ends_the_processes_that_the_plugin_has_started() {
    let bench = Bench::new();
    let config = json!({"fault": "child", "effects_file": bench.effects_file()});
    let mut spec = bench.spec(misbehaving_subject(), Isolation::Worker, config);
    spec.deadlines.observe = SHORT;
    spec.sandbox.exec = true;
    let observer = connect(spec);
    let error = observer.observe().await.unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }), "{error:?}");
    let effects = bench.effects();
    let child = effects[0].strip_prefix("child ").unwrap().parse().unwrap();
    wait_for("the child's end", || {
        (!common::is_alive(child)).then_some(())
    });
}

#[tokio::test]
#[allow(
    clippy::await_holding_lock,
    reason = "nothing else runs on this runtime"
)]
async fn in_process_a_call_past_its_deadline_keeps_the_thread_busy_until_it_ends() {
    let _machine = common::quiet_machine();
    let bench = Bench::new();
    let (observer, _) = broken(&bench, Isolation::None, json!({"latency_ms": 700}));
    let error = observer.observe().await.unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }), "{error:?}");
    let begun = Instant::now();
    let busy = observer.observe().await.unwrap_err();
    assert!(
        busy.to_string().contains("still busy with observe"),
        "{busy}"
    );
    assert!(begun.elapsed() < SHORT, "it answers at once");
    let until = Instant::now() + PATIENCE;
    while matches!(observer.observe().await, Err(CallError::Busy { .. })) {
        assert!(Instant::now() < until, "the thread is never free again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(observer.health().starts, 1);
}

#[tokio::test]
async fn in_process_an_endless_call_does_not_block_the_operator() {
    let bench = Bench::new();
    let (observer, _) = broken(&bench, Isolation::None, json!({"fault": "sleep"}));
    assert!(matches!(
        observer.observe().await,
        Err(CallError::Deadline { .. })
    ));
    assert!(matches!(
        observer.observe().await,
        Err(CallError::Busy { .. })
    ));
    observer.shutdown().await;
}

#[tokio::test]
async fn output_of_a_plugin_does_not_disturb_its_replies() {
    let bench = Bench::new();
    let config = json!({"fault": "print", "violations": 1});
    let (observer, _) = bench.misbehaving(Isolation::Worker, config);
    for _ in 0..2 {
        let observed = observer.observe().await.unwrap();
        assert_eq!(observer.check(&observed).await.unwrap().violations.len(), 1);
    }
}

#[tokio::test]
async fn a_plugin_that_closes_the_socket_has_died() {
    let error = observe_in_worker("close_fds").await;
    let (call, how, _) = died(&error);
    assert_eq!(call, "observe");
    assert!(
        how.contains("exited with status 1") || how.contains("closed its connection"),
        "{how}"
    );
}

#[tokio::test]
async fn a_death_between_calls_is_reported_as_such() {
    let bench = Bench::new();
    let (observer, invoker) = bench.misbehaving(Isolation::Worker, json!({"fault": "late_crash"}));
    observer.observe().await.unwrap();
    let workers = || common::children_in(bench.dir.path());
    wait_for("the worker's death", || workers().is_empty().then_some(()));
    let error = invoker.invoke(&approved(), "key-1").await.unwrap_err();
    assert_eq!(died(&error).0, "between calls");
    assert!(!error.outcome_unknown(), "the request was never sent");
}

#[tokio::test]
async fn a_death_during_invoke_leaves_the_outcome_unknown() {
    for fault in ["exit", "segfault"] {
        let bench = Bench::new();
        let config = json!({"fault": fault, "fault_in": "invoke"});
        let (_, invoker) = bench.misbehaving(Isolation::Worker, config);
        let error = invoker.invoke(&approved(), "key-1").await.unwrap_err();
        assert_eq!(died(&error).0, "invoke");
        assert!(error.outcome_unknown());
    }
}

#[tokio::test]
async fn a_dead_worker_is_restarted_after_a_growing_pause() {
    let bench = Bench::new();
    let fault = bench.path("fault");
    fs::write(&fault, "exit").unwrap();
    let (observer, _) = bench.misbehaving(Isolation::Worker, json!({"fault_file": fault}));
    assert!(observer.observe().await.unwrap_err().is_crash());

    let waiting = observer.observe().await.unwrap_err();
    let CallError::BackingOff { wait, after } = &waiting else {
        panic!("{waiting:?}");
    };
    assert!(*wait <= Duration::from_millis(500), "{wait:?}");
    assert!(
        after.to_string().contains("exited with status 3"),
        "{after}"
    );

    let second = after_backing_off(&observer).await.unwrap_err();
    assert!(second.is_crash(), "{second}");
    assert_eq!(
        (observer.health().deaths, observer.health().deaths_in_a_row),
        (2, 2)
    );
    let CallError::BackingOff { wait, .. } = observer.observe().await.unwrap_err() else {
        panic!("it does not wait");
    };
    assert!(wait > Duration::from_millis(500), "{wait:?}");

    fs::remove_file(&fault).unwrap();
    after_backing_off(&observer).await.unwrap();
    let health = observer.health();
    assert_eq!(
        (health.starts, health.deaths, health.deaths_in_a_row),
        (3, 2, 0)
    );
    assert!(health.last_error.is_some());
}

/// The first result after the pause.
async fn after_backing_off(observer: &Observer) -> Result<(), CallError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match observer.observe().await {
            Err(CallError::BackingOff { .. }) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            result => return result.map(|_| ()),
        }
    }
}

#[tokio::test]
async fn a_secret_of_the_configuration_is_masked_in_errors() {
    for isolation in BOTH {
        let bench = Bench::new();
        let config = json!({"fault": "leak", "token": "a-very-secret-token"});
        let (observer, _) = bench.misbehaving(isolation, config);
        let error = observer.observe().await.unwrap_err();
        assert_eq!(error.to_string(), "observe: GET /?token=*** failed");
        assert!(!format!("{error:?} {:?}", observer.health()).contains("a-very-secret"));
    }
}
