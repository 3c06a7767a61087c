//! Observations that belong to tickets, to be replayed or diagnosed.

use operator_model::{TicketId, Timestamp};
use sqlx::{Any, Transaction};

use super::{Store, StoreError, during, next_id, rows::Reader};

/// Of zstd; its default, a fair trade between time and size.
const COMPRESSION_LEVEL: i32 = 3;

/// What the observations of one subject may take. The oldest ones make room for a new one. Bytes, compressed.
const MOST_BYTES: i64 = 16 << 20;
/// Smaller ones are bounded well enough by their number. Bytes, compressed.
const SMALL: usize = 4 << 10;

/// One kept observation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ObservationRow {
    /// Grows with time.
    pub id: i64,
    /// When it was complete.
    pub observed_at: Timestamp,
    /// The observation's JSON text.
    pub body: String,
}

/// Keeps one observation for the tickets that it shows something about.
pub(super) async fn insert(
    tx: &mut Transaction<'static, Any>,
    subject: &str,
    at: Timestamp,
    body: &[u8],
    tickets: &[TicketId],
) -> Result<(), StoreError> {
    let body = zstd::encode_all(body, COMPRESSION_LEVEL).map_err(|source| StoreError::File {
        path: "an observation for the store".to_owned(),
        source,
    })?;
    let is_large = body.len() > SMALL;
    let id = next_id(tx, "observation").await?;
    sqlx::query(
        "INSERT INTO observations (id, subject, observed_at, body) VALUES ($1, $2, $3, $4)",
    )
    .bind(id)
    .bind(subject)
    .bind(at.0)
    .bind(body)
    .execute(&mut **tx)
    .await
    .map_err(during("keeping an observation"))?;
    if is_large {
        make_room(tx, subject, id).await?;
    }
    for ticket in tickets {
        sqlx::query("INSERT INTO ticket_observations (ticket_id, observation_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(ticket.0)
            .bind(id)
            .execute(&mut **tx)
            .await
            .map_err(during("keeping an observation"))?;
    }
    Ok(())
}

/// Removes the oldest observations of a subject until the newest ones are within the bound.
async fn make_room(
    tx: &mut Transaction<'static, Any>,
    subject: &str,
    newest: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM observations WHERE id <> $1 AND id IN (SELECT id FROM (SELECT id, \
            SUM(LENGTH(body)) OVER (ORDER BY id DESC) AS bytes FROM observations WHERE subject = $2) AS kept \
         WHERE bytes > $3)",
    )
    .bind(newest)
    .bind(subject)
    .bind(MOST_BYTES)
    .execute(&mut **tx)
    .await
    .map_err(during("removing the oldest observations"))?;
    Ok(())
}

impl Store {
    /// The observations kept for a ticket, oldest first.
    pub async fn ticket_observations(
        &self,
        id: TicketId,
    ) -> Result<Vec<ObservationRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT o.id, o.observed_at, o.body FROM observations o \
             JOIN ticket_observations t ON t.observation_id = o.id WHERE t.ticket_id = $1 ORDER BY o.id",
        )
        .bind(id.0)
        .fetch_all(&self.pool)
        .await
        .map_err(during("reading a ticket's observations"))?;
        rows.iter()
            .map(|row| {
                let table = "observations";
                let row = Reader { table, row };
                let body = zstd::decode_all(row.bytes("body")?.as_slice())
                    .map_err(|error| error.to_string())
                    .and_then(|body| String::from_utf8(body).map_err(|error| error.to_string()))
                    .map_err(|what| StoreError::Corrupt { table, what })?;
                Ok(ObservationRow {
                    id: row.int("id")?,
                    observed_at: row.time("observed_at")?,
                    body,
                })
            })
            .collect()
    }
}
