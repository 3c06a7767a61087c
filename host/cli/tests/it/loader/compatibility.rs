//! A plugin that was built with the released SDK works in this operator.

use operator_loader::{connect, describe};
use operator_model::Isolation;
use operator_plugin_api::{ErrorKind, Outcome, Severity};
use serde_json::json;

use crate::support::common::{self, Bench, PATIENCE, built};

#[tokio::test]
async fn a_plugin_built_against_abi_1_0_works() {
    let bench = Bench::new();
    let file = built("plugin-api/fixtures/abi-v1", "abi-v1-subject");
    for isolation in [Isolation::Worker, Isolation::None] {
        let spec = bench.spec(&file, isolation, json!({"limit": 10}));
        assert_eq!(
            (&*spec.plugin.manifest.abi, &*spec.plugin.manifest.sdk),
            ("1.0", "1.0.0")
        );
        let descriptor = describe(&spec.plugin, isolation, &spec.sandbox, PATIENCE)
            .await
            .unwrap();
        assert_eq!(descriptor.subject, "abi-v1");
        assert_eq!(descriptor.invariants[0].keep_firing_for_ms, 2000);
        assert_eq!(descriptor.slos[0].sli, "level");

        let (observer, invoker) = common::handles(spec);
        let observed = observer.observe().await.unwrap();
        assert_eq!(
            (&*observed.summary, observed.slis["level"]),
            ("level 11", Some(11.0))
        );
        assert_eq!(observed.slis["other"], None);
        let report = observer.check(&observed).await.unwrap();
        assert_eq!(report.violations[0].severity, Some(Severity::Warning));
        assert_eq!(report.violations[0].resource.as_deref(), Some("gauge"));

        let actions = observer.list_actions().await.unwrap().actions;
        assert!(actions[0].inverse.is_some() && actions[0].dry_run);
        let call = common::approved("lower", json!({"by": 2}));
        let result = invoker
            .preview(call.call(), "key-1")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(result.outcome, Outcome::Done);
        assert_eq!(
            result.details,
            json!({"by": 2, "key": "key-1", "dry_run": true})
        );
        observer.shutdown().await;
    }
}

#[tokio::test]
async fn an_error_of_such_a_plugin_keeps_its_kind() {
    let bench = Bench::new();
    let file = built("plugin-api/fixtures/abi-v1", "abi-v1-subject");
    let config = json!({"limit": 10, "token": "refused"});
    let observer = connect(bench.spec(&file, Isolation::Worker, config));
    let error = observer.observe().await.unwrap_err();
    let expected = operator_loader::CallError::Plugin {
        call: "create",
        kind: ErrorKind::Config,
        message: "token: not that one".into(),
        retryable: false,
    };
    assert_eq!(format!("{error:?}"), format!("{expected:?}"));
}
