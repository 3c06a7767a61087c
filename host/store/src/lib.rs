//! The store: what outlives the process. The only crate that contains SQL.
//!
//! `SQLite` in one file by default, `PostgreSQL` when several operators share one state; the same SQL text runs on both.

mod address;
mod audit;
mod clock;
mod control;
mod daemons;
mod descriptors;
mod error;
mod executions;
mod kill_switch;
mod log;
mod memories;
mod observations;
mod open;
mod proposals;
mod quarantine;
mod rebuild;
mod retention;
mod rows;
mod tickets;

use std::{
    fs::File,
    mem::ManuallyDrop,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use sqlx::{Any, AnyPool, Row, Transaction};

pub use audit::AuditFilter;
pub use descriptors::KeptDescriptor;
pub use error::StoreError;
use error::during;
pub use kill_switch::Engaged;
pub use log::log_filter;
pub use observations::ObservationRow;
pub use proposals::{AlreadyUndone, Cancelled, Change, Draft, ProposalFilter};
pub use quarantine::Quarantined;
pub use rebuild::{Loss, Remains};
pub use tickets::{Applied, Evidence, SubjectState, TicketFilter};

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    dialect: Dialect,
    /// The `SQLite` file that was opened.
    file: Option<Arc<OpenedFile>>,
    /// As it was last read.
    quarantine: Arc<Mutex<Vec<Quarantined>>>,
}

/// A file, as it was when it was opened.
#[derive(Debug)]
struct OpenedFile {
    path: PathBuf,
    inode: u64,
    /// Never closed: when a process closes a file, the kernel drops all of the process's locks on it, those of `SQLite` too, and
    /// another process would then take the write-ahead log away.
    content: ManuallyDrop<File>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Store {
    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// What is written to a file that was removed or replaced is lost, and no write reports it.
    fn check_file(&self) -> Result<(), StoreError> {
        use std::os::unix::fs::MetadataExt;
        let Some(file) = &self.file else {
            return Ok(());
        };
        let inode = std::fs::metadata(&file.path).map(|metadata| metadata.ino());
        if inode.is_ok_and(|inode| inode == file.inode) {
            return Ok(());
        }
        Err(StoreError::Gone {
            path: file.path.display().to_string(),
        })
    }

    /// A transaction that will write. On `SQLite` it takes the write lock at once: a lock that is taken later can be
    /// refused without waiting.
    async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        self.check_file()?;
        let statement = match self.dialect {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        };
        self.pool
            .begin_with(statement)
            .await
            .map_err(during("beginning a transaction"))
    }
}

/// The next value of a counter.
async fn next_id(
    tx: &mut Transaction<'static, Any>,
    counter: &'static str,
) -> Result<i64, StoreError> {
    let row = sqlx::query("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value")
        .bind(counter)
        .fetch_one(&mut **tx)
        .await
        .map_err(during("taking an id"))?;
    row.try_get(0).map_err(during("taking an id"))
}

#[cfg(test)]
mod tests;
