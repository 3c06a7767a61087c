//! Retention: removes what is too old or too much.

use operator_model::{ProposalState, Retention, Timestamp};
use sqlx::AssertSqlSafe;

use super::{
    Store, StoreError, during,
    proposals::{states, unproven, unsettled},
};

impl Store {
    /// Removes what is beyond the bounds. How many tickets and how many observations were removed.
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
        // What a person must inspect stays. The audit is never shortened.
        let old_proposals = format!(
            "DELETE FROM proposals WHERE COALESCE(ended_at, proposed_at) < $1 AND proposed_at < $1 \
             AND state NOT IN ({}) AND NOT {} AND NOT {} \
             AND NOT EXISTS (SELECT 1 FROM proposals AS later \
                WHERE later.follows = proposals.id OR later.undoes = proposals.id)",
            states(ProposalState::is_active),
            unproven(),
            unsettled(),
        );
        sqlx::query(AssertSqlSafe(old_proposals))
            .bind(now.minus(retention.tickets.max(retention.actions)).0)
            .execute(&mut *tx)
            .await
            .map_err(during("removing old proposals"))?;
        tx.commit()
            .await
            .map_err(during("removing what is too old"))?;
        Ok((
            tickets.rows_affected(),
            old.rows_affected() + surplus.rows_affected(),
        ))
    }
}
