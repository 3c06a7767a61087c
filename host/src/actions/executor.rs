//! Does what was approved: the intent is recorded before the act, the outcome after it.

use std::time::Duration;

use operator_plugin_api::{ActionResult, InvokeRequest, Outcome};
use serde_json::Value;

use super::{Approved, ValidCall};
use crate::{
    loader::{CallError, Invoker},
    model::Timestamp,
    store::{Execution, ExecutionEnd, Store, StoreError},
};

/// So long after its deadline an execution without an end is given up: its process has had time to write one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between attempts to record a known outcome. The outcome is worth some patience, and the person waits for it.
const RECORDING_PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// A call that was sent.
#[derive(Debug)]
pub struct Executed {
    /// With its end.
    pub execution: Execution,
    /// Whether a signal came before the answer.
    pub interrupted: bool,
    /// Why the end could not be recorded; the execution has it all the same.
    pub unrecorded: Option<StoreError>,
}

/// Executes approved calls on one subject.
#[derive(Debug)]
pub struct Executor {
    invoker: Invoker,
    store: Store,
    deadline: Duration,
}

impl Executor {
    /// An executor of calls that may each take so long.
    pub fn new(invoker: Invoker, store: Store, deadline: Duration) -> Self {
        Self {
            invoker,
            store,
            deadline,
        }
    }

    /// Executes a call, once. If the intent cannot be recorded, nothing is sent. An end of `interrupt`, which gives the
    /// name of a signal, ends the waiting for the answer: then the outcome is not known.
    pub async fn execute(
        &self,
        approved: Approved,
        interrupt: impl Future<Output = &'static str>,
    ) -> Result<Executed, StoreError> {
        let call = approved.call();
        let begun_at = Timestamp::now();
        let mut execution = Execution {
            id: new_key(),
            subject: call.subject().to_owned(),
            action: call.definition().name.clone(),
            params: Value::Object(call.shown_params()),
            actor: approved.by().to_owned(),
            begun_at,
            deadline_at: begun_at.plus(self.deadline + PATIENCE),
            end: None,
        };
        self.store.begin_execution(&execution).await?;
        let (end, interrupted) = tokio::select! {
            result = self.send(call, &execution.id, false) => (end(result), false),
            signal = interrupt => (interrupted_by(signal, &execution.id), true),
        };
        let unrecorded = record(&self.store, &execution.id, &end).await.err();
        execution.end = Some(end);
        Ok(Executed {
            execution,
            interrupted,
            unrecorded,
        })
    }

    /// What the plugin says that the call would do. Nothing is done and nothing is recorded.
    pub async fn preview(&self, call: &ValidCall) -> Result<String, CallError> {
        let result = self.send(call, &new_key(), true).await?;
        Ok(result.message)
    }

    async fn send(
        &self,
        call: &ValidCall,
        key: &str,
        dry_run: bool,
    ) -> Result<ActionResult, CallError> {
        let request = InvokeRequest {
            action: call.definition().name.clone(),
            params: Value::Object(call.params().clone()),
            deadline_ms: u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX),
            idempotency_key: key.to_owned(),
            dry_run,
        };
        self.invoker.invoke(&request).await
    }
}

/// How an execution ended, given what came of sending it.
fn end(result: Result<ActionResult, CallError>) -> ExecutionEnd {
    let (outcome, message, details) = match result {
        Ok(result) => (result.outcome, result.message, result.details),
        Err(error) if error.outcome_unknown() => (Outcome::Unknown, error.to_string(), Value::Null),
        Err(error) => (Outcome::Failed, error.to_string(), Value::Null),
    };
    ExecutionEnd {
        at: Timestamp::now(),
        outcome,
        message,
        details,
    }
}

/// Records an end, trying a few times. An end that is recorded already stays.
async fn record(store: &Store, id: &str, end: &ExecutionEnd) -> Result<(), StoreError> {
    for pause in RECORDING_PAUSES {
        match store.end_execution(id, end).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::debug!("tried again in {pause:?}: {error}"),
        }
        tokio::time::sleep(pause).await;
    }
    store.end_execution(id, end).await
}

/// How an execution ended of which nobody waited for the answer.
fn interrupted_by(signal: &str, key: &str) -> ExecutionEnd {
    ExecutionEnd {
        at: Timestamp::now(),
        outcome: Outcome::Unknown,
        message: format!(
            "{signal} came before the answer; look at the subject before it is done again (idempotency key {key})"
        ),
        details: Value::Null,
    }
}

fn new_key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Gives up on executions whose process is gone: what they did is not known, and they are never tried again.
/// Which ones those were.
pub async fn sweep(store: &Store) -> Result<Vec<Execution>, StoreError> {
    let now = Timestamp::now();
    let mut overdue = store.overdue_executions(now).await?;
    for execution in &mut overdue {
        let end = ExecutionEnd {
            at: now,
            outcome: Outcome::Unknown,
            message: "the operator ended before the outcome was known".to_owned(),
            details: Value::Null,
        };
        store.end_execution(&execution.id, &end).await?;
        execution.end = Some(end);
    }
    Ok(overdue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_that_cannot_be_recorded_is_tried_again_and_then_given_up() {
        let folder = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", folder.path().join("operator.db").display());
        let store = Store::open(&url).await.expect("a new database");
        let end = interrupted_by("SIGINT", "key");
        record(&store, "key", &end).await.expect("recorded");
        store.close().await;
        let begun = std::time::Instant::now();
        record(&store, "key", &end).await.expect_err("it is closed");
        assert!(begun.elapsed() >= RECORDING_PAUSES.iter().sum());
    }
}
