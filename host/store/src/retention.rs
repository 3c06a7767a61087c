//! What goes when it is old or too much.

use operator_model::{Retention, Timestamp};

use super::{Store, StoreError, during};

impl Store {
    /// Removes resolved tickets and observations beyond the bounds. How many rows of each went.
    pub async fn prune(
        &self,
        retention: &Retention,
        now: Timestamp,
    ) -> Result<(u64, u64), StoreError> {
        let mut tx = self.begin().await?;
        let tickets =
            sqlx::query("DELETE FROM tickets WHERE state = 'resolved' AND resolved_at < $1")
                .bind(now.minus(retention.tickets).0)
                .execute(&mut *tx)
                .await
                .map_err(during("removing old tickets"))?;
        let old = sqlx::query("DELETE FROM observations WHERE observed_at < $1")
            .bind(now.minus(retention.observations).0)
            .execute(&mut *tx)
            .await
            .map_err(during("removing old observations"))?;
        let surplus = sqlx::query(
            "DELETE FROM observations WHERE id IN (SELECT id FROM (SELECT id, \
                ROW_NUMBER() OVER (PARTITION BY subject ORDER BY id DESC) AS place FROM observations) AS ranked \
             WHERE place > $1)",
        )
        .bind(i64::from(retention.observations_per_subject))
        .execute(&mut *tx)
        .await
        .map_err(during("removing surplus observations"))?;
        // What a person must look at stays. The audit is never shortened.
        sqlx::query(
            "DELETE FROM proposals WHERE COALESCE(ended_at, proposed_at) < $1 AND proposed_at < $1 \
             AND state NOT IN ('executing', 'approved') AND (state <> 'completed' OR proof IS NULL) \
             AND (settled IS NOT NULL OR (state NOT IN ('outcome_unknown', 'not_verified') AND half_done = 0)) \
             AND NOT EXISTS (SELECT 1 FROM proposals AS later \
                WHERE later.follows = proposals.id OR later.undoes = proposals.id)",
        )
        .bind(now.minus(retention.tickets.max(retention.actions)).0)
        .execute(&mut *tx)
        .await
        .map_err(during("removing old proposals"))?;
        tx.commit()
            .await
            .map_err(during("removing what is past its time"))?;
        Ok((
            tickets.rows_affected(),
            old.rows_affected() + surplus.rows_affected(),
        ))
    }
}
