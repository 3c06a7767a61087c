//! The latest descriptor of each subject's plugin.

use operator_plugin_api::Descriptor;
use sqlx::Row;

use super::{Store, StoreError, during};

/// A descriptor, and the plugin file that it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptDescriptor {
    /// Of the file's content, in lower case hexadecimal.
    pub sha256: String,
    /// As the plugin returned it.
    pub descriptor: Descriptor,
}

impl Store {
    /// The descriptor that was last kept for a subject; none if there is none that can be read.
    pub async fn descriptor(&self, subject: &str) -> Result<Option<KeptDescriptor>, StoreError> {
        let doing = "reading a descriptor";
        let row = sqlx::query("SELECT sha256, body FROM descriptors WHERE subject = $1")
            .bind(subject)
            .fetch_optional(&self.pool)
            .await
            .map_err(during(doing))?;
        let Some(row) = row else { return Ok(None) };
        let sha256 = row.try_get("sha256").map_err(during(doing))?;
        let body: String = row.try_get("body").map_err(during(doing))?;
        // It is a copy: where another version wrote it in a way that is not understood, the plugin is asked again.
        let descriptor = serde_json::from_str(&body).ok();
        Ok(descriptor.map(|descriptor| KeptDescriptor { sha256, descriptor }))
    }

    /// Keeps the descriptor of a subject's plugin, in place of the one before.
    pub async fn keep_descriptor(
        &self,
        subject: &str,
        sha256: &str,
        descriptor: &Descriptor,
    ) -> Result<(), StoreError> {
        let doing = "keeping a descriptor";
        let body = serde_json::json!(descriptor).to_string();
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO descriptors (subject, sha256, body) VALUES ($1, $2, $3) \
             ON CONFLICT (subject) DO UPDATE SET sha256 = excluded.sha256, body = excluded.body",
        )
        .bind(subject)
        .bind(sha256)
        .bind(body)
        .execute(&mut *tx)
        .await
        .map_err(during(doing))?;
        tx.commit().await.map_err(during(doing))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn descriptor(description: &str) -> Descriptor {
        Descriptor {
            subject: "db".to_owned(),
            description: description.to_owned(),
            config_schema: Value::Null,
            observation_schema: Value::Null,
            invariants: Vec::new(),
            slos: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_last_descriptor_of_a_subject_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("operator.db").display());
        let store = Store::open(&url).await.unwrap();
        assert_eq!(store.descriptor("db").await.unwrap(), None);
        for (sha256, description) in [("aa", "A database."), ("bb", "A better one.")] {
            let descriptor = descriptor(description);
            store
                .keep_descriptor("db", sha256, &descriptor)
                .await
                .unwrap();
            let kept = KeptDescriptor {
                sha256: sha256.to_owned(),
                descriptor,
            };
            assert_eq!(store.descriptor("db").await.unwrap(), Some(kept));
        }
        assert_eq!(store.descriptor("cache").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_copy_that_cannot_be_understood_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("operator.db").display());
        let store = Store::open(&url).await.unwrap();
        sqlx::query("INSERT INTO descriptors (subject, sha256, body) VALUES ('db', 'aa', '{}')")
            .execute(&store.pool)
            .await
            .unwrap();
        assert_eq!(store.descriptor("db").await.unwrap(), None);
    }
}
