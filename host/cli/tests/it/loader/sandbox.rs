//! What the sandbox denies a plugin in a worker, what it can be granted, and the warning where there is no sandbox.

#![cfg(target_os = "linux")]

use std::fs;

use operator_loader::{CallError, SubjectSpec, confinement, connect};
use operator_model::{Isolation, Sandbox};
use serde_json::{Value, json};

use crate::support::common::{Bench, PATIENCE, misbehaving_subject};

/// The misbehaving plugin with this sandbox and this configuration.
fn spec(bench: &Bench, sandbox: Sandbox, config: Value) -> SubjectSpec {
    SubjectSpec {
        sandbox,
        ..bench.spec(misbehaving_subject(), Isolation::Worker, config)
    }
}

/// Calls `observe` once with this fault.
async fn observed_with(fault: &str, sandbox: Sandbox) -> Result<(), CallError> {
    let bench = Bench::new();
    let observer = connect(spec(&bench, sandbox, json!({"fault": fault})));
    let result = observer.observe().await.map(|_| ());
    assert_eq!(observer.health().deaths, 0);
    result
}

#[tokio::test]
async fn what_no_plugin_needs_is_refused() {
    for (fault, refusal) in [
        ("write_home", "Permission denied"),
        ("start_shell", "Operation not permitted"),
        ("read_shadow", "Permission denied"),
        ("fork", "Operation not permitted"),
        ("unix_socket", "Operation not permitted"),
        ("change_mode", "Operation not permitted"),
        ("limit_parent", "Operation not permitted"),
    ] {
        let error = observed_with(fault, Sandbox::default()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("observe: {fault}: {refusal}")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_person_can_grant_programs_or_turn_it_off() {
    let exec = Sandbox {
        exec: true,
        ..Sandbox::default()
    };
    for granted in ["start_shell", "fork", "unix_socket"] {
        observed_with(granted, exec.clone()).await.unwrap();
    }
    observed_with("limit_parent", exec.clone())
        .await
        .unwrap_err();
    observed_with("read_shadow", exec).await.unwrap_err();
    let off = Sandbox {
        enabled: false,
        ..Sandbox::default()
    };
    observed_with("start_shell", off).await.unwrap();
}

#[tokio::test]
async fn a_file_is_read_only_where_that_is_granted() {
    let bench = Bench::new();
    let file = bench.path("observation.json");
    fs::write(&file, r#"{"summary": "read"}"#).unwrap();
    for (read, error) in [(vec![file.clone()], None), (vec![], Some("denied"))] {
        let sandbox = Sandbox {
            read,
            ..Sandbox::default()
        };
        let config = json!({"observation_file": file});
        let observer = connect(spec(&bench, sandbox, config));
        let observed = observer.observe().await.unwrap();
        let reported = observed.sources[0].error.clone();
        assert_eq!(reported.is_some(), error.is_some(), "{reported:?}");
        assert!(
            reported
                .unwrap_or_default()
                .contains(error.unwrap_or_default())
        );
    }
}

#[tokio::test]
async fn what_may_be_read_may_not_be_written() {
    let bench = Bench::new();
    let effects = bench.effects_file();
    for (may_write, lines) in [(false, 0), (true, 1)] {
        let paths = vec![effects.clone()];
        let (read, write) = if may_write {
            (vec![], paths)
        } else {
            (paths, vec![])
        };
        let sandbox = Sandbox {
            read,
            write,
            ..Sandbox::default()
        };
        let config = json!({"effects_file": effects});
        let observer = connect(spec(&bench, sandbox, config));
        observer.observe().await.unwrap();
        observer.shutdown().await;
        assert_eq!(bench.effects().len(), lines);
    }
}

#[tokio::test]
async fn a_plugin_without_a_sandbox_is_reported() {
    let bench = Bench::new();
    let plugin = bench.open(misbehaving_subject());
    let missing = async |isolation, sandbox: &Sandbox| {
        let confinement = confinement(&plugin, isolation, sandbox, PATIENCE).await;
        confinement.unwrap().missing.join("; ")
    };
    let strict = Sandbox::default();
    assert_eq!(missing(Isolation::Worker, &strict).await, "");
    let off = Sandbox {
        enabled: false,
        ..Sandbox::default()
    };
    assert!(
        missing(Isolation::Worker, &off)
            .await
            .contains("turned off")
    );
    let in_process = missing(Isolation::None, &strict).await;
    assert!(in_process.contains("isolation = \"none\""), "{in_process}");
}
