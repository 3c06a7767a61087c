//! Plugin files that may not be started.

use std::sync::PoisonError;

use operator_model::Timestamp;

use super::{Store, StoreError, during, rows::Reader};

/// One quarantined plugin file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantined {
    /// Of the file's content, in lower case hexadecimal.
    pub sha256: String,
    /// The plugin's name.
    pub plugin: String,
    /// Why.
    pub reason: String,
    /// Who put it there: `operator`, or a person.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// Every quarantined plugin file, the oldest first.
    pub async fn quarantined(&self) -> Result<Vec<Quarantined>, StoreError> {
        let rows = sqlx::query(
            "SELECT sha256, plugin, reason, actor, at FROM quarantine ORDER BY at, sha256",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(during("listing the quarantine"))?;
        let entries = rows
            .iter()
            .map(|row| {
                let table = "quarantine";
                let row = Reader { table, row };
                Ok(Quarantined {
                    sha256: row.text("sha256")?,
                    plugin: row.text("plugin")?,
                    reason: row.text("reason")?,
                    actor: row.text("actor")?,
                    at: row.time("at")?,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        let last = self.quarantine.lock();
        last.unwrap_or_else(PoisonError::into_inner)
            .clone_from(&entries);
        Ok(entries)
    }

    /// What [`quarantined`](Self::quarantined) last answered in this process.
    pub(super) fn last_quarantined(&self) -> Vec<Quarantined> {
        let last = self.quarantine.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a plugin file into quarantine; an earlier entry stays as it is. Running daemons see it at their next cycle.
    pub async fn quarantine(&self, entry: &Quarantined) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO quarantine (sha256, plugin, reason, actor, at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (sha256) DO NOTHING",
        )
        .bind(entry.sha256.as_str())
        .bind(entry.plugin.as_str())
        .bind(entry.reason.as_str())
        .bind(entry.actor.as_str())
        .bind(entry.at.0)
        .execute(&mut *tx)
        .await
        .map_err(during("quarantining a plugin"))?;
        wake_all(&mut tx).await?;
        tx.commit().await.map_err(during("quarantining a plugin"))
    }

    /// Lets a plugin file be started again. Whether it was in quarantine.
    pub async fn lift_quarantine(&self, sha256: &str) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let result = sqlx::query("DELETE FROM quarantine WHERE sha256 = $1")
            .bind(sha256)
            .execute(&mut *tx)
            .await
            .map_err(during("lifting a quarantine"))?;
        wake_all(&mut tx).await?;
        tx.commit().await.map_err(during("lifting a quarantine"))?;
        Ok(result.rows_affected() > 0)
    }
}

/// Every subject's loop reads its state anew when its revision has grown.
async fn wake_all(tx: &mut sqlx::Transaction<'static, sqlx::Any>) -> Result<(), StoreError> {
    sqlx::query("UPDATE subjects SET revision = revision + 1")
        .execute(&mut **tx)
        .await
        .map_err(during("raising the subjects' revisions"))?;
    Ok(())
}
