//! Tickets and their events.

use operator_model::{
    Proposal, Ticket, TicketChange, TicketEvent, TicketId, TicketState, Timestamp,
};
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::{
    Store, StoreError, during, next_id,
    rows::{self, TICKET_COLUMNS, json_text},
};

/// What the monitor needs to go on with a subject.
#[derive(Debug, Clone, PartialEq)]
pub struct SubjectState {
    /// Grows with every change to the subject's tickets, by any process.
    pub revision: i64,
    /// All live tickets, and those resolved since the asked time.
    pub tickets: Vec<Ticket>,
    /// Proposals that a person must inspect.
    pub unsettled: Vec<Proposal>,
}

/// What a cycle's changes were judged by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// When it was observed.
    pub at: Timestamp,
    /// The observation, kept for the tickets that something happened to.
    pub document: &'a [u8],
    /// The memory of the subject's plugin, if it is to be written.
    pub memory: Option<&'a str>,
}

/// How applying a cycle's changes ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// Written. New tickets have their ids; dropped ones are not in the list.
    Done {
        /// The subject's new revision.
        revision: i64,
        /// The changed tickets, in the order of the changes.
        tickets: Vec<Ticket>,
    },
    /// Another process changed the subject's tickets; nothing was written.
    Conflict,
}

/// Which tickets a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TicketFilter {
    /// Only of these subjects; all when empty.
    pub subjects: Vec<String>,
    /// Only in these states; open and recovering when empty.
    pub states: Vec<TicketState>,
    /// At most this many, the latest first.
    pub limit: Option<u32>,
}

impl Store {
    /// The revision of a subject's tickets; the subject is made known if it is new.
    pub async fn revision(&self, subject: &str) -> Result<i64, StoreError> {
        self.check_file()?;
        let row = sqlx::query("SELECT revision FROM subjects WHERE name = $1")
            .bind(subject)
            .fetch_optional(&self.pool)
            .await
            .map_err(during("reading a subject's revision"))?;
        if let Some(row) = row {
            return row
                .try_get(0)
                .map_err(during("reading a subject's revision"));
        }
        sqlx::query(
            "INSERT INTO subjects (name, revision) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING",
        )
        .bind(subject)
        .execute(&self.pool)
        .await
        .map_err(during("recording a subject"))?;
        Ok(0)
    }

    /// A subject's live tickets and those resolved since then.
    pub async fn subject_state(
        &self,
        subject: &str,
        resolved_since: Timestamp,
    ) -> Result<SubjectState, StoreError> {
        // The revision first: a change in between is then found as a conflict.
        let revision = self.revision(subject).await?;
        let sql = format!(
            "SELECT {TICKET_COLUMNS} FROM tickets WHERE subject = $1 AND (state <> 'resolved' OR resolved_at >= $2) ORDER BY id"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(subject)
            .bind(resolved_since.0)
            .fetch_all(&self.pool)
            .await
            .map_err(during("reading a subject's tickets"))?;
        let tickets = rows.iter().map(rows::ticket).collect::<Result<_, _>>()?;
        Ok(SubjectState {
            revision,
            tickets,
            unsettled: self.unsettled(subject).await?,
        })
    }

    /// Writes a cycle's changes in one transaction, with the observation that shows them and what the plugin is to know
    /// again, unless the subject's tickets were changed since `revision`.
    pub async fn apply(
        &self,
        subject: &str,
        revision: i64,
        changes: &[TicketChange],
        evidence: Option<Evidence<'_>>,
    ) -> Result<Applied, StoreError> {
        let mut tx = self.begin().await?;
        if !bump_revision(&mut tx, subject, revision).await? {
            return Ok(Applied::Conflict);
        }
        let mut tickets = Vec::with_capacity(changes.len());
        let mut shown = Vec::new();
        for change in changes {
            match change {
                TicketChange::Put { ticket, events } => {
                    let mut ticket = ticket.as_ref().clone();
                    put(&mut tx, &mut ticket).await?;
                    insert_events(&mut tx, ticket.id, events).await?;
                    if !events.is_empty() {
                        shown.push(ticket.id);
                    }
                    tickets.push(ticket);
                }
                TicketChange::Drop(id) => delete(&mut tx, *id).await?,
            }
        }
        if let Some(Evidence {
            at,
            document,
            memory,
        }) = evidence
        {
            if !shown.is_empty() {
                super::observations::insert(&mut tx, subject, at, document, &shown).await?;
            }
            if let Some(memory) = memory {
                super::memories::keep(&mut tx, subject, memory, at).await?;
            }
        }
        tx.commit().await.map_err(during("committing a cycle"))?;
        Ok(Applied::Done {
            revision: revision + 1,
            tickets,
        })
    }

    /// Changes one ticket as a person asks. The closure gets the ticket as it is and gives what it becomes, or nothing when
    /// there is nothing to change.
    pub async fn change_ticket<E>(
        &self,
        id: TicketId,
        change: impl FnOnce(Ticket) -> Result<Option<(Ticket, TicketEvent)>, E>,
    ) -> Result<Result<Ticket, E>, StoreError> {
        let mut tx = self.begin().await?;
        // First, as `apply` does: raising the revision locks the subject's tickets.
        let raised = sqlx::query(
            "UPDATE subjects SET revision = revision + 1 WHERE name = (SELECT subject FROM tickets WHERE id = $1)",
        )
        .bind(id.0)
        .execute(&mut *tx)
        .await
        .map_err(during("raising a subject's revision"))?;
        if raised.rows_affected() == 0 {
            return Err(missing(id));
        }
        let sql = format!("SELECT {TICKET_COLUMNS} FROM tickets WHERE id = $1");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.0)
            .fetch_optional(&mut *tx)
            .await
            .map_err(during("reading a ticket"))?
            .ok_or_else(|| missing(id))?;
        let before = rows::ticket(&row)?;
        let (mut ticket, event) = match change(before.clone()) {
            Ok(Some(changed)) => changed,
            Ok(None) => return Ok(Ok(before)),
            Err(error) => return Ok(Err(error)),
        };
        put(&mut tx, &mut ticket).await?;
        insert_events(&mut tx, id, &[event]).await?;
        tx.commit().await.map_err(during("changing a ticket"))?;
        Ok(Ok(ticket))
    }

    /// Tickets for a listing, the latest first.
    pub async fn tickets(&self, filter: &TicketFilter) -> Result<Vec<Ticket>, StoreError> {
        let states: Vec<&str> = if filter.states.is_empty() {
            vec![TicketState::Open.as_str(), TicketState::Recovering.as_str()]
        } else {
            filter.states.iter().map(|state| state.as_str()).collect()
        };
        let mut sql = format!(
            "SELECT {TICKET_COLUMNS} FROM tickets WHERE state IN ({})",
            placeholders(1, states.len())
        );
        if !filter.subjects.is_empty() {
            let from = states.len() + 1;
            sql += &format!(
                " AND subject IN ({})",
                placeholders(from, filter.subjects.len())
            );
        }
        sql += " ORDER BY id DESC";
        if let Some(limit) = filter.limit {
            sql += &format!(" LIMIT {limit}");
        }
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in states
            .iter()
            .copied()
            .chain(filter.subjects.iter().map(String::as_str))
        {
            query = query.bind(value);
        }
        let rows = query
            .fetch_all(&self.pool)
            .await
            .map_err(during("listing tickets"))?;
        rows.iter().map(rows::ticket).collect()
    }

    /// One ticket.
    pub async fn ticket(&self, id: TicketId) -> Result<Ticket, StoreError> {
        let sql = format!("SELECT {TICKET_COLUMNS} FROM tickets WHERE id = $1");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.0)
            .fetch_optional(&self.pool)
            .await
            .map_err(during("reading a ticket"))?
            .ok_or_else(|| missing(id))?;
        rows::ticket(&row)
    }

    /// What happened to a ticket, in order.
    pub async fn ticket_events(&self, id: TicketId) -> Result<Vec<TicketEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT at, kind, actor, note FROM ticket_events WHERE ticket_id = $1 ORDER BY n",
        )
        .bind(id.0)
        .fetch_all(&self.pool)
        .await
        .map_err(during("reading a ticket's events"))?;
        rows.iter().map(rows::event).collect()
    }

    /// The number of the latest event of any ticket; 0 when there is none.
    pub async fn last_event(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT value FROM counters WHERE name = 'event'")
            .fetch_one(&self.pool)
            .await
            .map_err(during("reading the latest event's number"))?;
        row.try_get(0)
            .map_err(during("reading the latest event's number"))
    }

    /// What happened since the event of this number, in order: its own number, the event, and the ticket as it is now.
    pub async fn events_after(
        &self,
        n: i64,
    ) -> Result<Vec<(i64, TicketEvent, Ticket)>, StoreError> {
        let sql = format!(
            "SELECT e.n, e.at, e.kind, e.actor, e.note, {} FROM ticket_events e \
             JOIN tickets t ON t.id = e.ticket_id WHERE e.n > $1 ORDER BY e.n",
            TICKET_COLUMNS
                .split(", ")
                .map(|column| format!("t.{column}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(n)
            .fetch_all(&self.pool)
            .await
            .map_err(during("reading the latest events"))?;
        rows.iter()
            .map(|row| {
                let n = row
                    .try_get("n")
                    .map_err(during("reading the latest events"))?;
                Ok((n, rows::event(row)?, rows::ticket(row)?))
            })
            .collect()
    }
}

/// The live tickets of a subject.
pub(super) async fn live(
    tx: &mut Transaction<'static, Any>,
    subject: &str,
) -> Result<Vec<Ticket>, StoreError> {
    let sql = format!(
        "SELECT {TICKET_COLUMNS} FROM tickets WHERE subject = $1 AND state <> 'resolved' ORDER BY id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(subject)
        .fetch_all(&mut **tx)
        .await
        .map_err(during("reading a subject's tickets"))?;
    rows.iter().map(rows::ticket).collect()
}

/// A ticket, if it is kept.
pub(super) async fn find(
    tx: &mut Transaction<'static, Any>,
    id: TicketId,
) -> Result<Option<Ticket>, StoreError> {
    let sql = format!("SELECT {TICKET_COLUMNS} FROM tickets WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(&mut **tx)
        .await
        .map_err(during("reading a ticket"))?;
    row.as_ref().map(rows::ticket).transpose()
}

/// Adds to a ticket's events, if the ticket is kept. The caller raises the revision.
pub(super) async fn add_event(
    tx: &mut Transaction<'static, Any>,
    id: TicketId,
    event: &TicketEvent,
) -> Result<(), StoreError> {
    if find(tx, id).await?.is_some() {
        insert_events(tx, id, std::slice::from_ref(event)).await?;
    }
    Ok(())
}

/// Makes every process read the subject's tickets anew.
pub(super) async fn raise_revision(
    tx: &mut Transaction<'static, Any>,
    subject: &str,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE subjects SET revision = revision + 1 WHERE name = $1")
        .bind(subject)
        .execute(&mut **tx)
        .await
        .map_err(during("raising a subject's revision"))?;
    Ok(())
}

fn missing(id: TicketId) -> StoreError {
    StoreError::Missing {
        what: format!("ticket {id}"),
    }
}

/// `$FROM, $FROM+1, ...`
pub(super) fn placeholders(from: usize, count: usize) -> String {
    let names: Vec<String> = (from..from + count).map(|n| format!("${n}")).collect();
    names.join(", ")
}

/// Whether the revision was the expected one, and is now one higher.
async fn bump_revision(
    tx: &mut Transaction<'static, Any>,
    subject: &str,
    expected: i64,
) -> Result<bool, StoreError> {
    let result = sqlx::query(
        "UPDATE subjects SET revision = revision + 1 WHERE name = $1 AND revision = $2",
    )
    .bind(subject)
    .bind(expected)
    .execute(&mut **tx)
    .await
    .map_err(during("raising a subject's revision"))?;
    Ok(result.rows_affected() == 1)
}

async fn put(tx: &mut Transaction<'static, Any>, ticket: &mut Ticket) -> Result<(), StoreError> {
    if ticket.id == TicketId(0) {
        ticket.id = TicketId(next_id(tx, "ticket").await?);
    }
    sqlx::query(
        "INSERT INTO tickets (id, subject, invariant, resource, severity, state, message, evidence, first_seen, \
            violated_since, last_seen, opened_at, holding_since, resolved_at, occurrences, acknowledged, held, flapping, \
            transitions) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
         ON CONFLICT (id) DO UPDATE SET severity = excluded.severity, state = excluded.state, \
            message = excluded.message, evidence = excluded.evidence, violated_since = excluded.violated_since, \
            last_seen = excluded.last_seen, opened_at = excluded.opened_at, holding_since = excluded.holding_since, \
            resolved_at = excluded.resolved_at, occurrences = excluded.occurrences, \
            acknowledged = excluded.acknowledged, held = excluded.held, flapping = excluded.flapping, \
            transitions = excluded.transitions",
    )
    .bind(ticket.id.0)
    .bind(ticket.subject.as_str())
    .bind(ticket.key.invariant.as_str())
    .bind(ticket.key.resource.as_deref())
    .bind(ticket.severity.as_str())
    .bind(ticket.state.as_str())
    .bind(ticket.message.as_str())
    .bind(json_text(&ticket.evidence))
    .bind(ticket.first_seen.0)
    .bind(ticket.violated_since.0)
    .bind(ticket.last_seen.0)
    .bind(ticket.opened_at.map(|at| at.0))
    .bind(ticket.holding_since.map(|at| at.0))
    .bind(ticket.resolved_at.map(|at| at.0))
    .bind(i64::from(ticket.occurrences))
    .bind(ticket.acknowledged.as_ref().map(json_text))
    .bind(ticket.held.as_ref().map(json_text))
    .bind(i64::from(ticket.flapping))
    .bind(json_text(&ticket.transitions))
    .execute(&mut **tx)
    .await
    .map_err(during("writing a ticket"))?;
    Ok(())
}

async fn insert_events(
    tx: &mut Transaction<'static, Any>,
    id: TicketId,
    events: &[TicketEvent],
) -> Result<(), StoreError> {
    for event in events {
        let n = next_id(tx, "event").await?;
        sqlx::query(
            "INSERT INTO ticket_events (n, ticket_id, at, kind, actor, note) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(n)
        .bind(id.0)
        .bind(event.at.0)
        .bind(event.kind.as_str())
        .bind(event.actor.as_str())
        .bind(event.note.as_str())
        .execute(&mut **tx)
        .await
        .map_err(during("writing a ticket's event"))?;
    }
    Ok(())
}

async fn delete(tx: &mut Transaction<'static, Any>, id: TicketId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM tickets WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await
        .map_err(during("dropping a pending ticket"))?;
    Ok(())
}
