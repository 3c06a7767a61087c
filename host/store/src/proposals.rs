//! Proposals, and the one transaction in which anything about them changes.

use operator_model::{
    Execution, ExecutionEnd, GateView, HeldBack, Mark, Plan, Proposal, ProposalId, ProposalParts,
    ProposalState, Record, TicketEvent, TicketId, Timestamp, Transition,
};
use sqlx::{Any, AssertSqlSafe, Transaction, any::AnyRow};

use super::{
    Store, StoreError, audit, control, during, executions, next_id,
    rows::{Reader, json_text},
    tickets,
};

const COLUMNS: &str = "id, subject, ticket_id, call_key, plan, risk, state, proposed, note, not_before, follows, undoes, \
    approval, held_back, step, attempt, owner, lease_until, begun_at, ended_at, proof, half_done, settled";

/// A change of a proposal and all that belongs to it, made in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The proposal as it is from now on.
    pub proposal: Proposal,
    /// A call that is about to be made.
    pub begins: Option<Execution>,
    /// A call that has ended: its id, and how.
    pub ends: Option<(String, ExecutionEnd)>,
    /// What is added to the events of its ticket.
    pub ticket_event: Option<TicketEvent>,
    /// For the audit; empty where only what is known of a proof changes.
    pub records: Vec<Record>,
}

impl Change {
    /// Of the proposal alone.
    pub fn of(proposal: Proposal, record: Record) -> Self {
        Self {
            records: vec![record],
            ..Self::silent(proposal)
        }
    }

    /// Of the proposal alone, without an entry in the audit.
    pub fn silent(proposal: Proposal) -> Self {
        Self {
            proposal,
            begins: None,
            ends: None,
            ticket_event: None,
            records: Vec::new(),
        }
    }
}

/// A proposal before it has its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The whole of it; its id is ignored.
    pub proposal: Proposal,
    /// For the audit, once it has its number.
    pub records: Vec<Record>,
}

/// Another proposal undoes the same one already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("proposal {by} undoes proposal {undone} already")]
pub struct AlreadyUndone {
    /// What is undone.
    pub undone: ProposalId,
    /// The first that was recorded to undo it.
    pub by: ProposalId,
}

/// Which proposals a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProposalFilter {
    /// Only of these subjects; all when empty.
    pub subjects: Vec<String>,
    /// Only in these states; all when empty.
    pub states: Vec<ProposalState>,
    /// Only those that are not over, that are to be verified, or that a person must inspect.
    pub current: bool,
    /// Only for this ticket.
    pub ticket: Option<TicketId>,
    /// At most this many, the latest.
    pub limit: Option<u32>,
}

/// The SQL list of the states that a predicate of the model holds for.
pub(super) fn states(holds: impl Fn(ProposalState) -> bool) -> String {
    let states = ProposalState::ALL.into_iter().filter(|state| holds(*state));
    let names: Vec<_> = states.map(|state| format!("'{state}'")).collect();
    names.join(", ")
}

/// [`ProposalParts::is_unsettled`] in SQL.
pub(super) fn unsettled() -> String {
    let left_behind = states(ProposalState::needs_a_person);
    format!("((state IN ({left_behind}) OR half_done = 1) AND settled IS NULL)")
}

/// [`ProposalParts::is_unproven`] in SQL.
pub(super) fn unproven() -> String {
    format!(
        "(state = '{}' AND proof IS NOT NULL)",
        ProposalState::Completed
    )
}

fn current() -> String {
    let pending = states(|state| !state.is_over());
    format!(
        "(state IN ({pending}) OR {} OR {})",
        unproven(),
        unsettled()
    )
}

impl Store {
    /// Records a proposal and gives it its number. Of several that undo the same one, only the first is recorded, whichever
    /// process proposes it: the others are refused.
    pub async fn propose(
        &self,
        draft: Draft,
    ) -> Result<Result<Proposal, AlreadyUndone>, StoreError> {
        let mut proposal = draft.proposal;
        let mut tx = self.begin().await?;
        control::lock_gate(&mut tx).await?;
        if let Some(undone) = proposal.undoes
            && let Some(by) = undone_by(&mut *tx, undone).await?
        {
            return Ok(Err(AlreadyUndone { undone, by }));
        }
        proposal.number(ProposalId(next_id(&mut tx, "proposal").await?));
        put(&mut tx, &proposal).await?;
        let records = draft.records.into_iter().map(|record| Record {
            proposal: Some(proposal.id),
            ..record
        });
        let records: Vec<_> = records.collect();
        audit::append(&mut tx, proposal.proposed.at, &records).await?;
        tx.commit().await.map_err(during("recording a proposal"))?;
        Ok(Ok(proposal))
    }

    /// Changes a proposal. The closure gets it and what the gate judges by, and gives the change or the reason why there is
    /// none; it decides in the very transaction that writes.
    pub async fn change_proposal<E>(
        &self,
        id: ProposalId,
        recent_since: Timestamp,
        change: impl FnOnce(Proposal, GateView) -> Result<Change, E>,
    ) -> Result<Result<Proposal, E>, StoreError> {
        let mut tx = self.begin().await?;
        control::lock_gate(&mut tx).await?;
        let before = one(&mut tx, id).await?;
        let was_unsettled = before.is_unsettled();
        let view = view(&mut tx, &before, recent_since).await?;
        let change = match change(before, view) {
            Ok(change) => change,
            Err(error) => return Ok(Err(error)),
        };
        let proposal = change.proposal;
        put(&mut tx, &proposal).await?;
        if let Some(execution) = &change.begins {
            executions::insert(&mut tx, execution).await?;
        }
        if let Some((id, end)) = &change.ends {
            executions::end(&mut tx, id, end).await?;
        }
        // First the revision, as in every change of tickets: another order could deadlock.
        if was_unsettled != proposal.is_unsettled() || change.ticket_event.is_some() {
            tickets::raise_revision(&mut tx, &proposal.subject).await?;
        }
        if let (Some(ticket), Some(event)) = (proposal.ticket, &change.ticket_event) {
            tickets::add_event(&mut tx, ticket, event).await?;
        }
        audit::append(&mut tx, Timestamp::now(), &change.records).await?;
        tx.commit().await.map_err(during("changing a proposal"))?;
        Ok(Ok(proposal))
    }

    /// Renews the lease of a process. False if the proposal is no longer executed by it.
    pub async fn renew_lease(
        &self,
        id: ProposalId,
        owner: &str,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let executing = states(ProposalState::is_executing);
        let sql = format!(
            "UPDATE proposals SET lease_until = $3 WHERE id = $1 AND owner = $2 AND state IN ({executing})"
        );
        let result = sqlx::query(AssertSqlSafe(sql))
            .bind(id.0)
            .bind(owner)
            .bind(until.0)
            .execute(&self.pool)
            .await
            .map_err(during("renewing a lease"))?;
        Ok(result.rows_affected() == 1)
    }

    /// One proposal.
    pub async fn proposal(&self, id: ProposalId) -> Result<Proposal, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM proposals WHERE id = $1");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.0)
            .fetch_optional(&self.pool)
            .await
            .map_err(during("reading a proposal"))?;
        row.as_ref().map_or_else(|| Err(missing(id)), proposal)
    }

    /// Proposals for a listing, the latest first.
    pub async fn proposals(&self, filter: &ProposalFilter) -> Result<Vec<Proposal>, StoreError> {
        let mut sql = format!("SELECT {COLUMNS} FROM proposals WHERE 1 = 1");
        let mut place = 0;
        let mut any_of = |column: &str, count: usize| {
            let names: Vec<_> = (1..=count).map(|n| format!("${}", place + n)).collect();
            place += count;
            if names.is_empty() {
                String::new()
            } else {
                format!(" AND {column} IN ({})", names.join(", "))
            }
        };
        sql += &any_of("subject", filter.subjects.len());
        sql += &any_of("state", filter.states.len());
        if filter.current {
            sql += &format!(" AND {}", current());
        }
        if let Some(ticket) = filter.ticket {
            sql += &format!(" AND ticket_id = {}", ticket.0);
        }
        sql += " ORDER BY id DESC";
        if let Some(limit) = filter.limit {
            sql += &format!(" LIMIT {limit}");
        }
        let mut query = sqlx::query(AssertSqlSafe(sql));
        let states = filter.states.iter().map(|state| state.as_str());
        for value in filter.subjects.iter().map(String::as_str).chain(states) {
            query = query.bind(value);
        }
        let rows = query
            .fetch_all(&self.pool)
            .await
            .map_err(during("listing proposals"))?;
        Ok(rows.iter().filter_map(readable).collect())
    }

    /// What the gate would judge a proposal by now. Nothing is locked: the answer may be stale when it arrives.
    pub async fn gate_view(
        &self,
        proposal: &Proposal,
        recent_since: Timestamp,
    ) -> Result<GateView, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(during("reading what the gate judges by"))?;
        view(&mut tx, proposal, recent_since).await
    }

    /// The proposal that undoes this one.
    pub async fn undone_by(&self, id: ProposalId) -> Result<Option<ProposalId>, StoreError> {
        undone_by(&self.pool, id).await
    }

    /// The proposals of a subject that a person must inspect.
    pub(super) async fn unsettled(&self, subject: &str) -> Result<Vec<Proposal>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM proposals WHERE subject = $1 AND {} ORDER BY id",
            unsettled()
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(subject)
            .fetch_all(&self.pool)
            .await
            .map_err(during("reading what is not settled"))?;
        rows.iter().map(proposal).collect()
    }

    /// Proposals whose executing process has not renewed its lease in time.
    pub async fn abandoned(&self, now: Timestamp) -> Result<Vec<Proposal>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM proposals WHERE state IN ({}) AND lease_until < $1 ORDER BY id",
            states(ProposalState::is_executing)
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(now.0)
            .fetch_all(&self.pool)
            .await
            .map_err(during("reading abandoned actions"))?;
        Ok(rows.iter().filter_map(readable).collect())
    }
}

/// [`Proposal::cancel`] for everything pending, in SQL: even a row that cannot be read is cancelled.
pub(super) async fn cancel_pending(
    tx: &mut Transaction<'static, Any>,
    at: Timestamp,
    note: &str,
) -> Result<Vec<Cancelled>, StoreError> {
    let cancelled = ProposalState::Cancelled;
    let pending =
        states(|state| state.is_pending() && state.after(Transition::Cancelled) == Some(cancelled));
    let sql = format!(
        "UPDATE proposals SET state = '{cancelled}', note = $1, ended_at = $2, held_back = NULL, \
            half_done = CASE WHEN begun_at IS NULL AND undoes IS NULL THEN 0 ELSE 1 END \
         WHERE state IN ({pending}) RETURNING id, subject, ticket_id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(note)
        .bind(at.0)
        .fetch_all(&mut **tx)
        .await
        .map_err(during("cancelling what is pending"))?;
    let table = "proposals";
    let cancelled = rows.iter().map(|row| {
        let row = Reader { table, row };
        Ok(Cancelled {
            id: ProposalId(row.int("id")?),
            subject: row.text("subject")?,
            ticket: row.maybe_int("ticket_id")?.map(TicketId),
        })
    });
    cancelled.collect()
}

/// A proposal that the kill switch cancelled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cancelled {
    /// Its number.
    pub id: ProposalId,
    /// Name of its subject.
    pub subject: String,
    /// The ticket that it was meant to fix.
    pub ticket: Option<TicketId>,
}

/// What is being executed on any subject.
pub(super) async fn executing(
    tx: &mut Transaction<'static, Any>,
) -> Result<Vec<ProposalId>, StoreError> {
    let sql = format!(
        "SELECT id FROM proposals WHERE state IN ({}) ORDER BY id",
        states(ProposalState::is_executing)
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(&mut **tx)
        .await
        .map_err(during("reading what is being executed"))?;
    let table = "proposals";
    let ids = rows
        .iter()
        .map(|row| Reader { table, row }.int("id").map(ProposalId));
    ids.collect()
}

/// The first proposal that undoes this one. A database of an earlier version may hold several.
async fn undone_by(
    executor: impl sqlx::Executor<'_, Database = Any>,
    id: ProposalId,
) -> Result<Option<ProposalId>, StoreError> {
    let row = sqlx::query("SELECT id FROM proposals WHERE undoes = $1 ORDER BY id LIMIT 1")
        .bind(id.0)
        .fetch_optional(executor)
        .await
        .map_err(during("reading what undoes a proposal"))?;
    let table = "proposals";
    row.map(|row| Reader { table, row: &row }.int("id").map(ProposalId))
        .transpose()
}

async fn one(tx: &mut Transaction<'static, Any>, id: ProposalId) -> Result<Proposal, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM proposals WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(&mut **tx)
        .await
        .map_err(during("reading a proposal"))?;
    row.as_ref().map_or_else(|| Err(missing(id)), proposal)
}

async fn view(
    tx: &mut Transaction<'static, Any>,
    proposal: &Proposal,
    recent_since: Timestamp,
) -> Result<GateView, StoreError> {
    let live = tickets::live(tx, &proposal.subject).await?;
    let ticket = match proposal.ticket {
        Some(id) => tickets::find(tx, id).await?,
        None => None,
    };
    let follows = match proposal.follows {
        Some(id) => {
            let followed = one(tx, id).await?;
            Some((followed.state, followed.ended_at))
        }
        None => None,
    };
    let sql = format!(
        "SELECT id FROM proposals WHERE subject = $1 AND state IN ({})",
        states(ProposalState::is_executing)
    );
    let busy = sqlx::query(AssertSqlSafe(sql))
        .bind(proposal.subject.as_str())
        .fetch_all(&mut **tx)
        .await
        .map_err(during("reading what is being executed"))?;
    let table = "proposals";
    let busy = busy.iter().map(|row| {
        let row = Reader { table, row };
        row.int("id").map(ProposalId)
    });
    Ok(GateView {
        control: control::read(tx).await?,
        ticket,
        live,
        busy: busy.collect::<Result<_, _>>()?,
        recent: executions::recent(tx, &proposal.subject, recent_since).await?,
        follows,
    })
}

/// One row that cannot be read must not hide the others.
fn readable(row: &AnyRow) -> Option<Proposal> {
    proposal(row)
        .inspect_err(|error| tracing::warn!("a proposal is left out: {error}"))
        .ok()
}

fn missing(id: ProposalId) -> StoreError {
    StoreError::Missing {
        what: format!("proposal {id}"),
    }
}

pub(super) async fn put(
    tx: &mut Transaction<'static, Any>,
    proposal: &Proposal,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO proposals (id, subject, ticket_id, call_key, plan, risk, state, proposed, note, not_before, follows, undoes, \
            approval, held_back, step, attempt, owner, lease_until, begun_at, ended_at, proof, settled, half_done, proposed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24) \
         ON CONFLICT (id) DO UPDATE SET risk = excluded.risk, state = excluded.state, note = excluded.note, \
            not_before = excluded.not_before, approval = excluded.approval, held_back = excluded.held_back, \
            step = excluded.step, attempt = excluded.attempt, owner = excluded.owner, \
            lease_until = excluded.lease_until, begun_at = excluded.begun_at, ended_at = excluded.ended_at, \
            proof = excluded.proof, settled = excluded.settled, half_done = excluded.half_done",
    )
    .bind(proposal.id.0)
    .bind(proposal.subject.as_str())
    .bind(proposal.ticket.map(|id| id.0))
    .bind(proposal.call_key.as_str())
    .bind(json_text(&proposal.plan))
    .bind(proposal.risk.as_str())
    .bind(proposal.state.as_str())
    .bind(json_text(&proposal.proposed))
    .bind(proposal.note.as_str())
    .bind(proposal.not_before.map(|at| at.0))
    .bind(proposal.follows.map(|id| id.0))
    .bind(proposal.undoes.map(|id| id.0))
    .bind(proposal.approval.as_ref().map(json_text))
    .bind(proposal.held_back.as_ref().map(ToString::to_string))
    .bind(i64::try_from(proposal.step).unwrap_or(i64::MAX))
    .bind(i64::from(proposal.attempt))
    .bind(proposal.owner.as_deref())
    .bind(proposal.lease_until.map(|at| at.0))
    .bind(proposal.begun_at.map(|at| at.0))
    .bind(proposal.ended_at.map(|at| at.0))
    .bind(proposal.proof.as_ref().map(json_text))
    .bind(proposal.settled.as_ref().map(json_text))
    .bind(i64::from(proposal.half_done))
    .bind(proposal.proposed.at.0)
    .execute(&mut **tx)
    .await
    .map_err(during("writing a proposal"))?;
    Ok(())
}

fn proposal(row: &AnyRow) -> Result<Proposal, StoreError> {
    let table = "proposals";
    let row = Reader { table, row };
    let parts = ProposalParts {
        id: ProposalId(row.int("id")?),
        subject: row.text("subject")?,
        ticket: row.maybe_int("ticket_id")?.map(TicketId),
        call_key: row.text("call_key")?,
        plan: row.json::<Plan>("plan")?,
        risk: row.name("risk")?,
        state: row.name("state")?,
        proposed: row.json::<Mark>("proposed")?,
        note: row.text("note")?,
        not_before: row.maybe_time("not_before")?,
        follows: row.maybe_int("follows")?.map(ProposalId),
        undoes: row.maybe_int("undoes")?.map(ProposalId),
        approval: row.maybe_json("approval")?,
        held_back: row.maybe_text("held_back")?.map(HeldBack::from),
        step: row.count("step")?,
        attempt: row.count("attempt")?,
        owner: row.maybe_text("owner")?,
        lease_until: row.maybe_time("lease_until")?,
        begun_at: row.maybe_time("begun_at")?,
        ended_at: row.maybe_time("ended_at")?,
        proof: row.maybe_json("proof")?,
        half_done: row.int("half_done")? != 0,
        settled: row.maybe_json("settled")?,
    };
    Ok(parts.into())
}
