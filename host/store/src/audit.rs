//! The audit: appended to in the transaction of what it records, and never changed.

use operator_model::{
    AuditBreak, AuditEntry, AuditHead, ChainCheck, ProposalId, Record, TicketId, Timestamp,
};
use sqlx::{Any, AssertSqlSafe, Row, Transaction, any::AnyRow};

use super::{Store, StoreError, during, rows::Reader};

const COLUMNS: &str = "n, at, actor, event, subject, proposal_id, ticket_id, body, previous, hash";
/// How many entries are read at once.
const PAGE: i64 = 1000;

/// Which entries a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of these subjects, and of all; every subject when empty.
    pub subjects: Vec<String>,
    /// Only about this proposal.
    pub proposal: Option<ProposalId>,
    /// Only about this ticket.
    pub ticket: Option<TicketId>,
    /// Only after this one.
    pub after: i64,
    /// At most this many, the latest.
    pub limit: Option<u32>,
}

/// Adds links to the chain. The caller commits.
pub(super) async fn append(
    tx: &mut Transaction<'static, Any>,
    at: Timestamp,
    records: &[Record],
) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    // An update first: whoever has the head's row has the chain to itself.
    let row = sqlx::query("UPDATE audit_head SET n = n WHERE id = 1 RETURNING n, hash")
        .fetch_one(&mut **tx)
        .await
        .map_err(during("reading the end of the audit"))?;
    let mut head = read_head(&row)?;
    for record in records {
        let entry = AuditEntry::following(&head, at, record);
        insert(tx, &entry).await?;
        head = entry.head();
    }
    sqlx::query("UPDATE audit_head SET n = $1, hash = $2 WHERE id = 1")
        .bind(head.n)
        .bind(head.hash.as_str())
        .execute(&mut **tx)
        .await
        .map_err(during("writing the end of the audit"))?;
    Ok(())
}

async fn insert(tx: &mut Transaction<'static, Any>, entry: &AuditEntry) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (n, at, actor, event, subject, proposal_id, ticket_id, body, previous, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(entry.n)
    .bind(entry.at.0)
    .bind(entry.actor.as_str())
    .bind(entry.event.as_str())
    .bind(entry.subject.as_str())
    .bind(entry.proposal.map(|id| id.0))
    .bind(entry.ticket.map(|id| id.0))
    .bind(entry.body.as_str())
    .bind(entry.previous.as_str())
    .bind(entry.hash.as_str())
    .execute(&mut **tx)
    .await
    .map_err(during("writing the audit"))?;
    Ok(())
}

impl Store {
    /// Entries in their order. With a limit, the latest of those that fit the filter.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, StoreError> {
        let mut sql = format!("SELECT {COLUMNS} FROM audit WHERE n > $1");
        if let Some(id) = filter.proposal {
            sql += &format!(" AND proposal_id = {}", id.0);
        }
        if let Some(id) = filter.ticket {
            sql += &format!(" AND ticket_id = {}", id.0);
        }
        if !filter.subjects.is_empty() {
            let last = filter.subjects.len() + 1;
            let names: Vec<_> = (2..=last).map(|place| format!("${place}")).collect();
            sql += &format!(" AND (subject = '*' OR subject IN ({}))", names.join(", "));
        }
        sql += " ORDER BY n DESC";
        if let Some(limit) = filter.limit {
            sql += &format!(" LIMIT {limit}");
        }
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(filter.after);
        for subject in &filter.subjects {
            query = query.bind(subject.as_str());
        }
        let rows = query
            .fetch_all(&self.pool)
            .await
            .map_err(during("reading the audit"))?;
        rows.iter().rev().map(entry).collect()
    }

    /// The recorded end of the chain.
    pub async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        let row = sqlx::query("SELECT n, hash FROM audit_head WHERE id = 1")
            .fetch_one(&self.pool)
            .await
            .map_err(during("reading the end of the audit"))?;
        read_head(&row)
    }

    /// Follows the whole chain. Its head, or where it is broken.
    pub async fn verify_audit(&self) -> Result<Result<AuditHead, AuditBreak>, StoreError> {
        let mut head = self.audit_head().await?;
        let mut check = ChainCheck::default();
        let mut after = None;
        loop {
            let page = self.audit_page(after).await?;
            for row in &page {
                let entry = match entry(row) {
                    Ok(entry) => entry,
                    Err(error) => {
                        return Ok(Err(AuditBreak {
                            n: row.try_get("n").unwrap_or_default(),
                            what: error.to_string(),
                        }));
                    }
                };
                if entry.n > head.n {
                    // Appended since, or forged.
                    head = self.audit_head().await?;
                }
                if entry.n > head.n {
                    return Ok(Err(AuditBreak {
                        n: entry.n,
                        what: "it is after the recorded end of the audit".to_owned(),
                    }));
                }
                if let Err(broken) = check.take(&entry) {
                    return Ok(Err(broken));
                }
                after = Some(entry.n);
            }
            if page.is_empty() {
                return Ok(check.finish(&head));
            }
        }
    }

    /// The next entries after this number, in their order: a page of them; none at the end.
    pub async fn audit_after(&self, n: i64) -> Result<Vec<AuditEntry>, StoreError> {
        let page = self.audit_page(Some(n)).await?;
        page.iter().map(entry).collect()
    }

    /// In the order of their numbers, whatever those are.
    async fn audit_page(&self, after: Option<i64>) -> Result<Vec<AnyRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM audit WHERE n > $1 ORDER BY n LIMIT {PAGE}");
        sqlx::query(AssertSqlSafe(sql))
            .bind(after.unwrap_or(i64::MIN))
            .fetch_all(&self.pool)
            .await
            .map_err(during("reading the audit"))
    }
}

fn read_head(row: &AnyRow) -> Result<AuditHead, StoreError> {
    let table = "audit_head";
    let row = Reader { table, row };
    Ok(AuditHead {
        n: row.int("n")?,
        hash: row.text("hash")?,
    })
}

fn entry(row: &AnyRow) -> Result<AuditEntry, StoreError> {
    let table = "audit";
    let row = Reader { table, row };
    Ok(AuditEntry {
        n: row.int("n")?,
        at: row.time("at")?,
        actor: row.text("actor")?,
        event: row.text("event")?,
        subject: row.text("subject")?,
        proposal: row.maybe_int("proposal_id")?.map(ProposalId),
        ticket: row.maybe_int("ticket_id")?.map(TicketId),
        body: row.text("body")?,
        previous: row.text("previous")?,
        hash: row.text("hash")?,
    })
}
