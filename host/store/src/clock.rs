//! Moves stored times when the clock that they were read from is set, so that no duration changes.

use std::collections::BTreeMap;

use operator_model::{MachineClock, TOLERANCE_MS, Timestamp};
use serde_json::Value;
use sqlx::{Any, AssertSqlSafe, Row, Transaction, any::AnyRow};

use super::{Store, StoreError, during, tickets::placeholders};

const DOING: &str = "moving stored times with the clock";

/// At most this many subjects are moved by one statement.
const CHUNK: usize = 500;

/// Tables with times that are in the past when they are written, and how their rows belong to subjects.
const PAST: [(&str, &str, &[&str]); 5] = [
    (
        "tickets",
        "subject IN (SUBJECTS)",
        &[
            "first_seen",
            "violated_since",
            "last_seen",
            "opened_at",
            "holding_since",
            "resolved_at",
        ],
    ),
    (
        "ticket_events",
        "ticket_id IN (SELECT id FROM tickets WHERE subject IN (SUBJECTS))",
        &["at"],
    ),
    ("observations", "subject IN (SUBJECTS)", &["observed_at"]),
    (
        "executions",
        "subject IN (SUBJECTS)",
        &["begun_at", "ended_at"],
    ),
    ("memories", "subject IN (SUBJECTS)", &["used_at"]),
];

/// How the times of a subject are moved: by so much, but not beyond now.
#[derive(Debug, Clone, Copy)]
struct Move {
    by: i64,
    now: i64,
}

impl Move {
    fn of(self, at: i64) -> i64 {
        at.saturating_add(self.by).min(self.now)
    }
}

impl Store {
    /// Brings the times that are stored of these subjects in line with this machine's clock, of which `now` is a reading.
    ///
    /// Where the same clock wrote them before and was set since then, all of them move with it. Where another machine, or the
    /// same one before it was started again, wrote them, what lies after now is moved to now. A time that a person named for a
    /// proposal is left as it is. By how much times were moved; zero where none had to be.
    pub async fn follow_clock(
        &self,
        subjects: &[&str],
        clock: &MachineClock,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let known = self.clocks().await?;
        let is_current = |subject: &&&str| {
            known.get(**subject).is_some_and(|known| {
                known.boot == clock.boot
                    && (known.offset_ms - clock.offset_ms).abs() <= TOLERANCE_MS
            })
        };
        let (_, outdated): (Vec<&str>, Vec<&str>) = subjects.iter().partition(is_current);
        if outdated.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        // Another process may have done it meanwhile.
        let known = clocks_in(&mut tx).await?;
        let mut moves: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
        for subject in outdated {
            let last = known.get(subject).filter(|last| last.boot == clock.boot);
            let by = last.map_or(0, |last| clock.offset_ms - last.offset_ms);
            if last.is_none() || by.abs() > TOLERANCE_MS {
                moves.entry(by).or_default().push(subject);
            }
        }
        for (by, subjects) in &moves {
            for subjects in subjects.chunks(CHUNK) {
                let how = Move {
                    by: *by,
                    now: now.0,
                };
                move_times(&mut tx, subjects, how).await?;
                note(&mut tx, subjects, clock).await?;
            }
        }
        tx.commit().await.map_err(during(DOING))?;
        let most = moves.into_keys().max_by_key(|by| by.abs());
        Ok(most.unwrap_or(0))
    }

    async fn clocks(&self) -> Result<BTreeMap<String, MachineClock>, StoreError> {
        let rows = sqlx::query("SELECT subject, boot, offset_ms FROM clocks")
            .fetch_all(&self.pool)
            .await
            .map_err(during("reading by which clock times were written"))?;
        by_subject(&rows)
    }
}

async fn clocks_in(
    tx: &mut Transaction<'static, Any>,
) -> Result<BTreeMap<String, MachineClock>, StoreError> {
    let rows = sqlx::query("SELECT subject, boot, offset_ms FROM clocks")
        .fetch_all(&mut **tx)
        .await
        .map_err(during("reading by which clock times were written"))?;
    by_subject(&rows)
}

fn by_subject(rows: &[AnyRow]) -> Result<BTreeMap<String, MachineClock>, StoreError> {
    let read = |row: &AnyRow| {
        let clock = MachineClock {
            boot: row.try_get("boot")?,
            offset_ms: row.try_get("offset_ms")?,
        };
        Ok((row.try_get("subject")?, clock))
    };
    let rows: Result<_, sqlx::Error> = rows.iter().map(read).collect();
    rows.map_err(during("reading by which clock times were written"))
}

async fn note(
    tx: &mut Transaction<'static, Any>,
    subjects: &[&str],
    clock: &MachineClock,
) -> Result<(), StoreError> {
    let rows: Vec<_> = (0..subjects.len())
        .map(|n| format!("(${}, $1, $2)", n + 3))
        .collect();
    let sql = format!(
        "INSERT INTO clocks (subject, boot, offset_ms) VALUES {} \
         ON CONFLICT (subject) DO UPDATE SET boot = excluded.boot, offset_ms = excluded.offset_ms",
        rows.join(", ")
    );
    let query = sqlx::query(AssertSqlSafe(sql))
        .bind(clock.boot.as_str())
        .bind(clock.offset_ms);
    let query = subjects
        .iter()
        .fold(query, |query, subject| query.bind(*subject));
    query.execute(&mut **tx).await.map_err(during(DOING))?;
    Ok(())
}

async fn move_times(
    tx: &mut Transaction<'static, Any>,
    subjects: &[&str],
    how: Move,
) -> Result<(), StoreError> {
    // First, as `apply` does: it locks the subjects' tickets, and whoever has read them reads them again.
    let names = placeholders(1, subjects.len());
    let sql = format!("UPDATE subjects SET revision = revision + 1 WHERE name IN ({names})");
    let query = sqlx::query(AssertSqlSafe(sql));
    let query = subjects
        .iter()
        .fold(query, |query, subject| query.bind(*subject));
    query.execute(&mut **tx).await.map_err(during(DOING))?;
    let names = placeholders(3, subjects.len());
    for (table, of_subjects, columns) in PAST {
        let moved = columns.iter().map(|column| {
            format!("{column} = CASE WHEN {column} + $1 > $2 THEN $2 ELSE {column} + $1 END")
        });
        let moved: Vec<_> = moved.collect();
        let concerned = columns.iter().map(|column| format!("{column} > $2"));
        let concerned: Vec<_> = concerned.collect();
        let sql = format!(
            "UPDATE {table} SET {} WHERE {} AND ($1 <> 0 OR {})",
            moved.join(", "),
            of_subjects.replace("SUBJECTS", &names),
            concerned.join(" OR ")
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(how.by).bind(how.now);
        let query = subjects
            .iter()
            .fold(query, |query, subject| query.bind(*subject));
        query.execute(&mut **tx).await.map_err(during(DOING))?;
    }
    move_transitions(tx, subjects, how).await?;
    move_proposals(tx, subjects, how).await
}

async fn move_transitions(
    tx: &mut Transaction<'static, Any>,
    subjects: &[&str],
    how: Move,
) -> Result<(), StoreError> {
    let columns = "SELECT id, transitions FROM tickets WHERE transitions <> '[]'";
    for row in rows_of(tx, columns, subjects).await? {
        let id: i64 = row.try_get("id").map_err(during(DOING))?;
        let text: String = row.try_get("transitions").map_err(during(DOING))?;
        // One that cannot be read is reported where tickets are read.
        let Ok(times) = serde_json::from_str::<Vec<i64>>(&text) else {
            continue;
        };
        let moved: Vec<_> = times.iter().map(|at| how.of(*at)).collect();
        if moved == times {
            continue;
        }
        sqlx::query("UPDATE tickets SET transitions = $2 WHERE id = $1")
            .bind(id)
            .bind(super::rows::json_text(&moved))
            .execute(&mut **tx)
            .await
            .map_err(during(DOING))?;
    }
    Ok(())
}

/// The rows of a query with a condition, to which that on the subjects is added.
async fn rows_of(
    tx: &mut Transaction<'static, Any>,
    select: &str,
    subjects: &[&str],
) -> Result<Vec<AnyRow>, StoreError> {
    let names = placeholders(1, subjects.len());
    let sql = format!("{select} AND subject IN ({names})");
    let query = sqlx::query(AssertSqlSafe(sql));
    let query = subjects
        .iter()
        .fold(query, |query, subject| query.bind(*subject));
    query.fetch_all(&mut **tx).await.map_err(during(DOING))
}

/// The documents in a proposal's columns, and their fields that are times. The first of each is in the past when it is written.
const DOCUMENTS: [(&str, &[&str]); 4] = [
    ("proposed", &["at"]),
    ("approval", &["at", "expires_at"]),
    ("proof", &["holding_since", "until"]),
    ("settled", &["at"]),
];

/// A proposal has times that lie ahead, so it moves as a whole: by the same for all, and by less where one of its past would
/// lie after now.
async fn move_proposals(
    tx: &mut Transaction<'static, Any>,
    subjects: &[&str],
    how: Move,
) -> Result<(), StoreError> {
    let columns = "SELECT id, proposed_at, begun_at, ended_at, proposed, approval, proof, settled FROM proposals \
         WHERE id > 0";
    for row in rows_of(tx, columns, subjects).await? {
        move_proposal(tx, &row, how).await?;
    }
    Ok(())
}

async fn move_proposal(
    tx: &mut Transaction<'static, Any>,
    row: &AnyRow,
    how: Move,
) -> Result<(), StoreError> {
    let id: i64 = row.try_get("id").map_err(during(DOING))?;
    let mut documents = Vec::new();
    let mut latest = i64::MIN;
    for column in ["proposed_at", "begun_at", "ended_at"] {
        let at: Option<i64> = row.try_get(column).map_err(during(DOING))?;
        latest = latest.max(at.unwrap_or(i64::MIN));
    }
    for (column, fields) in DOCUMENTS {
        let text: Option<String> = row.try_get(column).map_err(during(DOING))?;
        let document: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
        let past = document
            .as_ref()
            .and_then(|document| document.get(fields[0])?.as_i64());
        latest = latest.max(past.unwrap_or(i64::MIN));
        documents.push((fields, document));
    }
    let by = how.by.min(how.now.saturating_sub(latest));
    if by == 0 {
        return Ok(());
    }
    let moved = documents.into_iter().map(|(fields, document)| {
        let mut document = document?;
        for field in fields {
            if let Some(at) = document.get(*field).and_then(Value::as_i64) {
                document[*field] = at.saturating_add(by).into();
            }
        }
        Some(document.to_string())
    });
    let mut query = sqlx::query(
        "UPDATE proposals SET proposed_at = proposed_at + $2, lease_until = lease_until + $2, begun_at = begun_at + $2, \
            ended_at = ended_at + $2, proposed = COALESCE($3, proposed), approval = COALESCE($4, approval), \
            proof = COALESCE($5, proof), settled = COALESCE($6, settled) WHERE id = $1",
    )
    .bind(id)
    .bind(by);
    for document in moved {
        query = query.bind(document);
    }
    query.execute(&mut **tx).await.map_err(during(DOING))?;
    Ok(())
}

#[cfg(test)]
#[path = "clock/tests.rs"]
mod tests;
