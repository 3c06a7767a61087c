//! What was done to subjects: the intent before the act, the outcome after it.

use operator_plugin_api::Outcome;
use serde_json::Value;

use super::{
    Store, StoreError, during,
    rows::{Reader, json_text},
};
use crate::model::Timestamp;

/// One attempt to act.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Execution {
    /// The idempotency key.
    pub id: String,
    /// Name of the subject.
    pub subject: String,
    /// Name of the action.
    pub action: String,
    /// Its parameters, without secrets.
    pub params: Value,
    /// Who asked for it.
    pub actor: String,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it must be over; one that has no end by then will have none.
    pub deadline_at: Timestamp,
    /// How it ended; absent while it runs.
    pub end: Option<ExecutionEnd>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ExecutionEnd {
    /// When.
    pub at: Timestamp,
    /// What is known of the effect.
    pub outcome: Outcome,
    /// One sentence.
    pub message: String,
    /// What the subject answered.
    pub details: Value,
}

impl Store {
    /// Records that an action is about to be sent. If this fails, nothing may be sent.
    pub async fn begin_execution(&self, execution: &Execution) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO executions (id, subject, action, params, actor, begun_at, deadline_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(execution.id.as_str())
        .bind(execution.subject.as_str())
        .bind(execution.action.as_str())
        .bind(json_text(&execution.params))
        .bind(execution.actor.as_str())
        .bind(execution.begun_at.0)
        .bind(execution.deadline_at.0)
        .execute(&self.pool)
        .await
        .map_err(during("recording that an action begins"))?;
        Ok(())
    }

    /// Records how an action ended. An end that is already recorded stays.
    pub async fn end_execution(&self, id: &str, end: &ExecutionEnd) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE executions SET ended_at = $2, outcome = $3, message = $4, details = $5 WHERE id = $1 AND ended_at IS NULL",
        )
        .bind(id)
        .bind(end.at.0)
        .bind(outcome_name(end.outcome))
        .bind(end.message.as_str())
        .bind(json_text(&end.details))
        .execute(&self.pool)
        .await
        .map_err(during("recording how an action ended"))?;
        Ok(())
    }

    /// Actions whose deadline has passed and of which no end is known.
    pub async fn overdue_executions(&self, now: Timestamp) -> Result<Vec<Execution>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, subject, action, params, actor, begun_at, deadline_at FROM executions \
             WHERE ended_at IS NULL AND deadline_at < $1 ORDER BY begun_at",
        )
        .bind(now.0)
        .fetch_all(&self.pool)
        .await
        .map_err(during("looking for unfinished actions"))?;
        rows.iter()
            .map(|row| {
                let table = "executions";
                let row = Reader { table, row };
                Ok(Execution {
                    id: row.text("id")?,
                    subject: row.text("subject")?,
                    action: row.text("action")?,
                    params: row.json("params")?,
                    actor: row.text("actor")?,
                    begun_at: row.time("begun_at")?,
                    deadline_at: row.time("deadline_at")?,
                    end: None,
                })
            })
            .collect()
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Unknown => "unknown",
    }
}
