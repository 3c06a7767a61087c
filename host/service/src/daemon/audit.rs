//! Publishes what is added to the audit, by whichever process.

use std::time::Duration;

use operator_model::{ALL_SUBJECTS, AuditEntry};
use operator_monitor::chain;
use operator_store::{Store, StoreError};

use crate::events::Publisher;

/// Between two readings.
pub(super) const PERIOD: Duration = Duration::from_millis(500);

/// Follows the audit entries of some subjects.
pub(super) struct AuditFollower {
    store: Store,
    subjects: Vec<String>,
    publisher: Publisher,
    /// The number of the last entry that was read.
    last: i64,
}

impl AuditFollower {
    /// From the entry after `last` on.
    pub(super) fn new(
        store: Store,
        subjects: Vec<String>,
        publisher: Publisher,
        last: i64,
    ) -> Self {
        Self {
            store,
            subjects,
            publisher,
            last,
        }
    }

    pub(super) async fn turn(&mut self) -> Result<(), String> {
        match self.publish_new().await {
            Ok(()) => Ok(()),
            Err(error @ StoreError::Corrupt { .. }) => Err(self.skip(&error).await),
            Err(error) => Err(chain(&error)),
        }
    }

    /// A page at a time.
    async fn publish_new(&mut self) -> Result<(), StoreError> {
        loop {
            let page = self.store.audit_after(self.last).await?;
            if page.is_empty() {
                return Ok(());
            }
            for entry in page {
                self.last = entry.n;
                if self.is_followed(&entry) {
                    self.publisher.action(entry);
                }
            }
        }
    }

    fn is_followed(&self, entry: &AuditEntry) -> bool {
        entry.subject == ALL_SUBJECTS || self.subjects.contains(&entry.subject)
    }

    /// Goes on at the end of the audit: an entry that cannot be read now cannot be read later either. What is to be reported.
    async fn skip(&mut self, error: &StoreError) -> String {
        let first = self.last + 1;
        match self.store.audit_head().await {
            Ok(head) => self.last = self.last.max(head.n),
            Err(error) => return chain(&error),
        }
        let (last, error) = (self.last, chain(error));
        format!("{error}; the entries {first} to {last} of the audit are not published")
    }
}

#[cfg(test)]
mod tests {
    use operator_model::{Mark, Mode};
    use tempfile::TempDir;
    use tokio::sync::broadcast::Receiver;

    use super::*;

    fn database(folder: &TempDir) -> String {
        format!("sqlite:{}/operator.db", folder.path().display())
    }

    async fn store(folder: &TempDir) -> Store {
        Store::open(&database(folder)).await.expect("it opens")
    }

    fn follower(store: &Store, last: i64) -> (AuditFollower, Receiver<AuditEntry>) {
        let publisher = Publisher::default();
        let actions = publisher.actions();
        let subjects = vec!["db".to_owned()];
        let follower = AuditFollower::new(store.clone(), subjects, publisher, last);
        (follower, actions)
    }

    /// Adds an entry.
    async fn add(store: &Store, subject: &str, mode: Mode) {
        let mark = Mark::now("ada", "");
        let added = store.set_mode(subject, Some(mode), &mark).await;
        added.expect("written").expect("no kill switch");
    }

    fn published(actions: &mut Receiver<AuditEntry>) -> Vec<(i64, String)> {
        let next = || actions.try_recv().ok();
        let entries = std::iter::from_fn(next);
        entries.map(|entry| (entry.n, entry.subject)).collect()
    }

    #[tokio::test]
    async fn what_is_added_before_the_first_turn_is_published() {
        let folder = TempDir::new().expect("a folder");
        let store = store(&folder).await;
        add(&store, "db", Mode::Execute).await;
        let head = store.audit_head().await.expect("read").n;
        let (mut follower, mut actions) = follower(&store, head);
        for subject in ["db", "other", "*"] {
            add(&store, subject, Mode::Observe).await;
        }
        follower.turn().await.expect("a turn");
        let expected = [(head + 1, "db".to_owned()), (head + 3, "*".to_owned())];
        assert_eq!(published(&mut actions), expected);
        follower.turn().await.expect("a turn");
        assert_eq!(published(&mut actions), []);
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_read_is_skipped() {
        let folder = TempDir::new().expect("a folder");
        let store = store(&folder).await;
        let head = store.audit_head().await.expect("read").n;
        let (mut follower, mut actions) = follower(&store, head);
        add(&store, "db", Mode::Execute).await;
        let damage = std::process::Command::new("sqlite3")
            .arg(folder.path().join("operator.db"))
            .arg("UPDATE audit SET at = 'never'")
            .status();
        assert!(damage.expect("sqlite3 is installed").success());
        let error = follower.turn().await.expect_err("it cannot be read");
        let entry = head + 1;
        let skipped = format!("; the entries {entry} to {entry} of the audit are not published");
        assert!(error.ends_with(&skipped), "{error}");
        add(&store, "db", Mode::Observe).await;
        follower.turn().await.expect("a turn");
        assert_eq!(published(&mut actions), [(head + 2, "db".to_owned())]);
    }
}
