//! What outlives the process. The only module that holds SQL.
//!
//! `SQLite` in one file by default, `PostgreSQL` when several operators share one state; the same SQL text runs on both.

mod audit;
mod control;
mod daemons;
mod descriptors;
mod executions;
mod observations;
mod proposals;
mod quarantine;
mod retention;
mod rows;
mod tickets;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::Duration,
};

use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Row, SqlSafeStr, Transaction,
    any::AnyPoolOptions,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

pub use audit::AuditFilter;
pub use control::Engaged;
pub use descriptors::KeptDescriptor;
pub use observations::ObservationRow;
pub use proposals::{Cancelled, Change, Draft, ProposalFilter};
pub use quarantine::Quarantined;
pub use tickets::{Applied, SubjectState, TicketFilter};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or could not be reached.
    #[error("{operation}: {cause}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// Why it failed. Tells its own sources, so it is none here.
        cause: sqlx::Error,
    },
    /// The database could not be opened.
    #[error("opening the database {name}: {cause}")]
    Open {
        /// Its file, or its address without a password.
        name: String,
        /// Why it failed.
        cause: sqlx::Error,
    },
    /// The address is not one of a database that outlives the process.
    #[error(
        "`{0}` is no database to keep state in; write it like sqlite:/var/lib/operator/operator.db"
    )]
    Address(String),
    /// The database file is not the one that was opened.
    #[error(
        "the database {path} was removed or replaced while it was in use; start the operator again"
    )]
    Gone {
        /// Which.
        path: String,
    },
    /// The schema could not be brought up to date.
    #[error("bringing the database's schema up to date: {0}")]
    Migrate(MigrateError),
    /// A file or folder of the state could not be made.
    #[error("preparing {path}")]
    File {
        /// Which.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A stored value is not one that this version writes.
    #[error("{table} holds a value that cannot be read: {what}")]
    Corrupt {
        /// Where.
        table: &'static str,
        /// What.
        what: String,
    },
    /// No row has this id.
    #[error("there is no {what}")]
    Missing {
        /// What was looked for.
        what: String,
    },
}

/// Names the operation that a database error belongs to.
fn during(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |cause| StoreError::Database { operation, cause }
}

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    dialect: Dialect,
    /// The `SQLite` file that was opened.
    file: Option<Arc<OpenedFile>>,
}

/// A file, as it was when it was opened.
#[derive(Debug)]
struct OpenedFile {
    path: PathBuf,
    inode: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

/// A directive for log filters: without it, every start on an existing `PostgreSQL` database prints its server's notices.
pub const QUIET: &str = "sqlx=warn";

/// How long a process waits for another that is writing.
const BUSY: Duration = Duration::from_secs(10);
const SQLITE_SETUP: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
    PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 10000;";

impl Store {
    /// Opens the database of this URL (`sqlite:PATH` or `postgres://...`), creating the file if need be, and brings
    /// its schema up to date.
    pub async fn open(given: &str) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let dialect = if given.starts_with("sqlite:") {
            Dialect::Sqlite
        } else {
            Dialect::Postgres
        };
        let url = match dialect {
            Dialect::Sqlite => prepare_sqlite(given)?,
            Dialect::Postgres => given.to_owned(),
        };
        // A pool would try until its patience ends, and then not say why.
        let trial = AnyConnection::connect(&url).await;
        let opened = match trial {
            Ok(connection) => connection.close().await,
            Err(cause) => Err(cause),
        };
        opened.map_err(|cause| StoreError::Open {
            name: operator_model::shown_database(given),
            cause,
        })?;
        let pool = AnyPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(BUSY)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if dialect == Dialect::Sqlite {
                        connection.execute(SQLITE_SETUP).await?;
                    }
                    Ok(())
                })
            })
            // On a full disk SQLite ends a transaction by itself. The rollback that follows then fails, and sqlx counts
            // the transaction as open for good: the connection could never begin another.
            .before_acquire(|connection, _| {
                let is_stuck = connection.is_in_transaction();
                Box::pin(std::future::ready(Ok(!is_stuck)))
            })
            .connect(&url)
            .await
            .map_err(during("opening the database"))?;
        let file = match dialect {
            Dialect::Sqlite => Some(opened_file(sqlite_path(given))?),
            Dialect::Postgres => None,
        };
        let store = Self {
            pool,
            dialect,
            file: file.map(Arc::new),
        };
        store.migrate().await?;
        Ok(store)
    }

    /// Whether there is anything to open without creating it. A server is asked when it is opened.
    pub fn may_exist(url: &str) -> bool {
        !url.starts_with("sqlite:") || Path::new(sqlite_path(url)).exists()
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Processes may start at once on a new `SQLite` file, which has no lock for this: one that comes too late with a step finds
    /// it done when it looks again.
    async fn migrate(&self) -> Result<(), StoreError> {
        const TIMES: usize = 10;
        let migrator = migrator(self.dialect);
        for _ in 0..TIMES {
            match migrator.run(&self.pool).await {
                Err(MigrateError::ExecuteMigration(..) | MigrateError::Execute(_)) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                result => return result.map_err(StoreError::Migrate),
            }
        }
        migrator.run(&self.pool).await.map_err(StoreError::Migrate)
    }

    /// What is written to a file that was removed or replaced is lost, and no write would say so.
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

fn migrator(dialect: Dialect) -> Migrator {
    let migrations = [
        (1, "tickets", include_str!("../migrations/0001_tickets.sql")),
        (2, "actions", include_str!("../migrations/0002_actions.sql")),
        (3, "daemons", include_str!("../migrations/0003_daemons.sql")),
        (
            4,
            "descriptors",
            include_str!("../migrations/0004_descriptors.sql"),
        ),
    ];
    let migrations = migrations.map(|(version, description, sql)| {
        let sql = match dialect {
            Dialect::Sqlite => sql.to_owned(),
            Dialect::Postgres => sql.replace("BLOB", "BYTEA"),
        };
        let sql = AssertSqlSafe(sql).into_sql_str();
        Migration::new(
            version,
            description.into(),
            MigrationType::Simple,
            sql,
            false,
        )
    });
    Migrator::with_migrations(migrations.into())
}

/// Makes the folder and the file, readable by their owner only, and gives the file's URL.
fn prepare_sqlite(url: &str) -> Result<String, StoreError> {
    let path = sqlite_path(url);
    if path.is_empty() || path.contains(":memory:") {
        return Err(StoreError::Address(url.to_owned()));
    }
    let refuse = |path: &Path, source| StoreError::File {
        path: path.display().to_string(),
        source,
    };
    let file = Path::new(path);
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        private_folder(folder).map_err(|source| refuse(folder, source))?;
    }
    private_file(file).map_err(|source| refuse(file, source))?;
    let escaped = path
        .replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23");
    Ok(format!("sqlite:{escaped}?mode=rw"))
}

fn opened_file(path: &str) -> Result<OpenedFile, StoreError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|source| StoreError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(OpenedFile {
        path: PathBuf::from(path),
        inode: metadata.ino(),
    })
}

/// What `SQLite` puts beside the file has the file's permissions.
fn private_file(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(file)
        .map(drop)
}

fn sqlite_path(url: &str) -> &str {
    url.trim_start_matches("sqlite:").trim_start_matches("//")
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(test)]
mod tests;
