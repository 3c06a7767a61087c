//! What the plugin of each subject is to be given with its next observation.

use operator_model::Timestamp;
use sqlx::{Any, Row, Transaction};

use super::{Store, StoreError, during};

impl Store {
    /// The memory that is kept for a subject's plugin, as JSON text.
    pub async fn memory(&self, subject: &str) -> Result<Option<String>, StoreError> {
        let doing = "reading a plugin's memory";
        let row = sqlx::query("SELECT body FROM memories WHERE subject = $1")
            .bind(subject)
            .fetch_optional(&self.pool)
            .await
            .map_err(during(doing))?;
        row.map(|row| row.try_get("body").map_err(during(doing)))
            .transpose()
    }

    /// Keeps the memory of a subject's plugin, in place of the one before.
    pub async fn keep_memory(
        &self,
        subject: &str,
        body: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        keep(&mut tx, subject, body, now).await?;
        tx.commit()
            .await
            .map_err(during("keeping a plugin's memory"))
    }

    /// Notes that these subjects are still watched, and removes the memories of subjects of which no daemon has noted that
    /// since then. How many were removed.
    pub async fn prune_memories(
        &self,
        watched: &[&str],
        now: Timestamp,
        unused_since: Timestamp,
    ) -> Result<u64, StoreError> {
        let doing = "removing the memories of subjects that are not watched";
        let mut tx = self.begin().await?;
        for subject in watched {
            sqlx::query("UPDATE memories SET used_at = $2 WHERE subject = $1")
                .bind(*subject)
                .bind(now.0)
                .execute(&mut *tx)
                .await
                .map_err(during(doing))?;
        }
        let removed = sqlx::query("DELETE FROM memories WHERE used_at < $1")
            .bind(unused_since.0)
            .execute(&mut *tx)
            .await
            .map_err(during(doing))?;
        tx.commit().await.map_err(during(doing))?;
        Ok(removed.rows_affected())
    }
}

pub(super) async fn keep(
    tx: &mut Transaction<'static, Any>,
    subject: &str,
    body: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO memories (subject, body, used_at) VALUES ($1, $2, $3) \
         ON CONFLICT (subject) DO UPDATE SET body = excluded.body, used_at = excluded.used_at",
    )
    .bind(subject)
    .bind(body)
    .bind(now.0)
    .execute(&mut **tx)
    .await
    .map_err(during("keeping a plugin's memory"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store(folder: &tempfile::TempDir) -> Store {
        let url = format!("sqlite:{}", folder.path().join("operator.db").display());
        Store::open(&url).await.unwrap()
    }

    #[tokio::test]
    async fn the_last_memory_of_a_subject_is_read_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = store(&folder).await;
        assert_eq!(first.memory("db").await.unwrap(), None);
        for body in [r#"{"seen":1}"#, r#"{"seen":2}"#] {
            first.keep_memory("db", body, Timestamp(1)).await.unwrap();
        }
        first.close().await;
        let second = store(&folder).await;
        let kept = second.memory("db").await.unwrap();
        assert_eq!(kept.as_deref(), Some(r#"{"seen":2}"#));
        assert_eq!(second.memory("cache").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_memory_goes_when_no_daemon_has_watched_its_subject_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        for subject in ["db", "removed", "of_another_daemon"] {
            store.keep_memory(subject, "1", Timestamp(1)).await.unwrap();
        }
        let others = ["of_another_daemon"];
        store
            .prune_memories(&others, Timestamp(60), Timestamp(0))
            .await
            .unwrap();
        let removed = store
            .prune_memories(&["db"], Timestamp(100), Timestamp(50))
            .await
            .unwrap();
        assert_eq!(removed, 1);
        assert_eq!(store.memory("removed").await.unwrap(), None);
        for kept in ["db", "of_another_daemon"] {
            assert_eq!(store.memory(kept).await.unwrap().as_deref(), Some("1"));
        }
    }
}
