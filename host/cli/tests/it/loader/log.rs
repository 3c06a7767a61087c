//! The output of a plugin is in the operator's log: attributed, masked and limited.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex},
};

use operator_model::Isolation;
use serde_json::json;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::common::Bench;

/// The events of the target `plugin`, as text.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "plugin"
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

/// The log of observing a plugin with this configuration once and shutting it down.
async fn log_of(config: serde_json::Value) -> Vec<String> {
    let events = Events::default();
    let _guard = tracing::subscriber::set_default(events.clone());
    let bench = Bench::new();
    let (observer, _) = bench.misbehaving(Isolation::Worker, config);
    let _ = observer.observe().await;
    observer.shutdown().await;
    let events = events.0.lock().unwrap();
    events.clone()
}

#[tokio::test]
async fn a_line_names_its_subject_and_its_secrets_are_masked() {
    let log = log_of(json!({"fault": "leak", "token": "a-very-secret-token"})).await;
    assert_eq!(log, ["INFO message=the token is *** subject=subject"]);
}

#[tokio::test]
async fn megabytes_become_a_few_lines_and_a_count() {
    let log = log_of(json!({"fault": "print"})).await;
    let (counts, lines): (Vec<_>, Vec<_>) = log.iter().partition(|line| line.starts_with("WARN"));
    assert!(
        counts
            .iter()
            .any(|line| line.contains("more lines of output were dropped")),
        "{counts:?}"
    );
    assert!(!lines.is_empty());
    assert!(lines.len() < 4096, "{} of 8193 lines", lines.len());
    assert!(lines.iter().all(|line| line.len() < 3000));
    assert!(
        lines.iter().all(|line| !line.contains('\u{5}')),
        "no control characters"
    );
}
