//! Publishes what is added to the audit, by whichever process.

use std::time::Duration;

use operator_monitor::chain;
use operator_store::{AuditFilter, Store, StoreError};

use crate::events::Publisher;

/// Between two readings.
pub(super) const PERIOD: Duration = Duration::from_millis(500);

/// Follows the audit entries of some subjects.
pub(super) struct AuditFollower {
    store: Store,
    subjects: Vec<String>,
    publisher: Publisher,
    /// The number of the last entry that was read.
    last: Option<i64>,
}

impl AuditFollower {
    pub(super) fn new(store: Store, subjects: Vec<String>, publisher: Publisher) -> Self {
        Self {
            store,
            subjects,
            publisher,
            last: None,
        }
    }

    pub(super) async fn turn(&mut self) -> Result<(), String> {
        self.publish_new().await.map_err(|error| chain(&error))
    }

    /// Entries that are older than the follower are not published.
    async fn publish_new(&mut self) -> Result<(), StoreError> {
        let Some(last) = self.last else {
            self.last = Some(self.store.audit_head().await?.n);
            return Ok(());
        };
        let filter = AuditFilter {
            subjects: self.subjects.clone(),
            after: last,
            ..AuditFilter::default()
        };
        for entry in self.store.audit(&filter).await? {
            self.last = Some(entry.n);
            self.publisher.action(entry);
        }
        Ok(())
    }
}
