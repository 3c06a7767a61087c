//! Calls of actions and tools: the intent before the call, the outcome after it.

use operator_model::{Execution, ExecutionEnd, ProposalId, Timestamp};
use operator_plugin_api::Outcome;
use sqlx::{Any, Transaction, any::AnyRow};

use super::{
    Store, StoreError, during,
    rows::{Reader, json_text},
};

pub(super) async fn insert(
    tx: &mut Transaction<'static, Any>,
    execution: &Execution,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO executions (id, proposal_id, step, attempt, subject, action, params, resources, is_tool, begun_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(execution.id.as_str())
    .bind(execution.proposal.0)
    .bind(i64::try_from(execution.step).unwrap_or(i64::MAX))
    .bind(i64::from(execution.attempt))
    .bind(execution.subject.as_str())
    .bind(execution.action.as_str())
    .bind(json_text(&execution.params))
    .bind(json_text(&execution.resources))
    .bind(i64::from(execution.is_tool))
    .bind(execution.begun_at.0)
    .execute(&mut **tx)
    .await
    .map_err(during("recording that an action begins"))?;
    Ok(())
}

/// An end that is already recorded stays.
pub(super) async fn end(
    tx: &mut Transaction<'static, Any>,
    id: &str,
    end: &ExecutionEnd,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE executions SET ended_at = $2, outcome = $3, message = $4, details = $5 WHERE id = $1 AND ended_at IS NULL",
    )
    .bind(id)
    .bind(end.at.0)
    .bind(outcome_name(end.outcome))
    .bind(end.message.as_str())
    .bind(json_text(&end.details))
    .execute(&mut **tx)
    .await
    .map_err(during("recording how an action ended"))?;
    Ok(())
}

/// The calls of actions on a subject that began since then, oldest first.
pub(super) async fn recent(
    tx: &mut Transaction<'static, Any>,
    subject: &str,
    since: Timestamp,
) -> Result<Vec<Execution>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM executions WHERE subject = $1 AND begun_at >= $2 AND is_tool = 0 ORDER BY begun_at",
    )
    .bind(subject)
    .bind(since.0)
    .fetch_all(&mut **tx)
    .await
    .map_err(during("reading what was done lately"))?;
    rows.iter().map(execution).collect()
}

impl Store {
    /// The calls that were made for a proposal, in order.
    pub async fn executions(&self, proposal: ProposalId) -> Result<Vec<Execution>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM executions WHERE proposal_id = $1 ORDER BY begun_at, step, attempt",
        )
        .bind(proposal.0)
        .fetch_all(&self.pool)
        .await
        .map_err(during("reading what was done"))?;
        rows.iter().map(execution).collect()
    }
}

fn execution(row: &AnyRow) -> Result<Execution, StoreError> {
    let table = "executions";
    let row = Reader { table, row };
    let end = match row.maybe_time("ended_at")? {
        Some(at) => Some(ExecutionEnd {
            at,
            outcome: row.name("outcome")?,
            message: row.text("message")?,
            details: row.json("details")?,
        }),
        None => None,
    };
    Ok(Execution {
        id: row.text("id")?,
        proposal: ProposalId(row.int("proposal_id")?),
        step: row.count("step")?,
        attempt: row.count("attempt")?,
        subject: row.text("subject")?,
        action: row.text("action")?,
        params: row.json("params")?,
        resources: row.json("resources")?,
        is_tool: row.int("is_tool")? != 0,
        begun_at: row.time("begun_at")?,
        end,
    })
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Unknown => "unknown",
    }
}
