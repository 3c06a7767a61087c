//! The daemons that use the database.

use operator_model::{DaemonStatus, Timestamp};

use super::{
    Store, StoreError, during,
    rows::{Reader, json_text},
};

impl Store {
    /// Every daemon that has reported and not stopped gracefully, the oldest first.
    pub async fn daemons(&self) -> Result<Vec<DaemonStatus>, StoreError> {
        let rows = sqlx::query(
            "SELECT host, pid, version, started_at, seen_at, loops, left_out FROM daemons \
             ORDER BY started_at, host, pid",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(during("listing the daemons"))?;
        rows.iter()
            .map(|row| {
                let table = "daemons";
                let row = Reader { table, row };
                Ok(DaemonStatus {
                    host: row.text("host")?,
                    pid: row.count("pid")?,
                    version: row.text("version")?,
                    started_at: row.time("started_at")?,
                    seen_at: row.time("seen_at")?,
                    loops: row.json("loops")?,
                    left_out: row.count("left_out")?,
                })
            })
            .collect()
    }

    /// Replaces what is known of a daemon.
    pub async fn put_daemon(&self, daemon: &DaemonStatus) -> Result<(), StoreError> {
        self.check_file()?;
        sqlx::query(
            "INSERT INTO daemons (host, pid, version, started_at, seen_at, loops, left_out) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (host, pid) DO UPDATE SET version = excluded.version, started_at = excluded.started_at, \
                seen_at = excluded.seen_at, loops = excluded.loops, left_out = excluded.left_out",
        )
        .bind(daemon.host.as_str())
        .bind(i64::from(daemon.pid))
        .bind(daemon.version.as_str())
        .bind(daemon.started_at.0)
        .bind(daemon.seen_at.0)
        .bind(json_text(&daemon.loops))
        .bind(i64::try_from(daemon.left_out).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await
        .map_err(during("recording the status of the daemon"))?;
        Ok(())
    }

    /// Removes a daemon, unless it has reported since `seen_at`.
    pub async fn remove_daemon(&self, daemon: &DaemonStatus) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM daemons WHERE host = $1 AND pid = $2 AND seen_at <= $3")
            .bind(daemon.host.as_str())
            .bind(i64::from(daemon.pid))
            .bind(daemon.seen_at.0)
            .execute(&self.pool)
            .await
            .map_err(during("removing a daemon"))?;
        Ok(())
    }

    /// Removes the daemons that have not reported since. How many.
    pub async fn prune_daemons(&self, since: Timestamp) -> Result<u64, StoreError> {
        let removed = sqlx::query("DELETE FROM daemons WHERE seen_at < $1")
            .bind(since.0)
            .execute(&self.pool)
            .await
            .map_err(during("removing daemons that are gone"))?;
        Ok(removed.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use operator_model::{LoopError, LoopState, LoopStatus, TurnResult};
    use tempfile::TempDir;

    use super::*;

    fn daemon(pid: u32, seen_at: i64) -> DaemonStatus {
        DaemonStatus {
            host: "web-1".into(),
            pid,
            version: "0.1.0".into(),
            started_at: Timestamp(1),
            seen_at: Timestamp(seen_at),
            loops: vec![LoopStatus {
                name: "watch".into(),
                subject: Some("db".into()),
                period_ms: 100,
                state: LoopState::Restarting,
                stalled_for_ms: Some(7),
                started_at: Some(Timestamp(2)),
                finished_at: None,
                took_ms: None,
                result: Some(TurnResult::Failed),
                iterations: 3,
                restarts: 1,
                last_error: Some(LoopError {
                    at: Timestamp(3),
                    message: "panicked".into(),
                }),
            }],
            left_out: 2,
        }
    }

    async fn store(folder: &TempDir) -> Store {
        let url = format!("sqlite:{}/operator.db", folder.path().display());
        Store::open(&url).await.expect("it opens")
    }

    #[tokio::test]
    async fn a_daemon_has_one_row_which_is_its_latest_report() {
        let folder = TempDir::new().expect("a folder");
        let store = store(&folder).await;
        for report in [daemon(1, 10), daemon(2, 10), daemon(1, 20)] {
            store.put_daemon(&report).await.expect("written");
        }
        let all = store.daemons().await.expect("read");
        assert_eq!(all, [daemon(1, 20), daemon(2, 10)]);
    }

    #[tokio::test]
    async fn only_a_daemon_that_has_not_reported_since_is_removed() {
        let folder = TempDir::new().expect("a folder");
        let store = store(&folder).await;
        for report in [daemon(1, 20), daemon(2, 10)] {
            store.put_daemon(&report).await.expect("written");
        }
        store.remove_daemon(&daemon(1, 10)).await.expect("done");
        assert_eq!(store.daemons().await.expect("read").len(), 2);
        let pruned = store.prune_daemons(Timestamp(20)).await;
        assert_eq!(pruned.expect("done"), 1);
        store.remove_daemon(&daemon(1, 20)).await.expect("done");
        assert_eq!(store.daemons().await.expect("read"), []);
    }
}
