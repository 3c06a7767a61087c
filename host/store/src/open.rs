//! Opens the database, and brings its schema up to date.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::Duration,
};

use operator_model::{DatabaseSecrets, shown_database, sqlite_path};
use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, SqlSafeStr,
    any::AnyPoolOptions,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{Dialect, OpenedFile, Store, StoreError, address};

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
            Dialect::Postgres => address::for_driver(given),
        };
        let failed = |cause: sqlx::Error| StoreError::Open {
            name: shown_database(given),
            cause: DatabaseSecrets::of(given).mask(&cause.to_string()),
        };
        // A pool would try until its timeout, and then not report why.
        let trial = AnyConnection::connect(&url).await;
        let opened = match trial {
            Ok(connection) => connection.close().await,
            Err(cause) => Err(cause),
        };
        opened.map_err(failed)?;
        let pool = pool(dialect, &url).await.map_err(failed)?;
        let file = match dialect {
            Dialect::Sqlite => Some(opened_file(kept_file(given)?)?),
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

    /// Whether there is a database to open without creating it. Of a server this is only known after opening, as is what is wrong
    /// with an address.
    pub fn may_exist(url: &str) -> bool {
        kept_file(url).map_or(true, |path| Path::new(path).exists())
    }

    /// Processes may start at once on a new `SQLite` file, which has no lock for this: one that is too late with a step
    /// finds it done at the next try.
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
}

async fn pool(dialect: Dialect, url: &str) -> Result<AnyPool, sqlx::Error> {
    AnyPoolOptions::new()
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
        .connect(url)
        .await
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
        (
            5,
            "memories",
            include_str!("../migrations/0005_memories.sql"),
        ),
        (6, "clocks", include_str!("../migrations/0006_clocks.sql")),
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
    let mut migrator = Migrator::with_migrations(migrations.into());
    // Migrations only add: a database that a newer version has opened is one that this version can use.
    migrator.set_ignore_missing(true);
    migrator
}

/// Creates the folder and the file, readable by their owner only. Answers the file's URL.
fn prepare_sqlite(url: &str) -> Result<String, StoreError> {
    let path = kept_file(url)?;
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
    let escaped = path.replace('%', "%25").replace('#', "%23");
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

/// The files that `SQLite` adds get the permissions of this one.
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

/// The file of an address that leads to one.
fn kept_file(url: &str) -> Result<&str, StoreError> {
    sqlite_path(url)
        .filter(|path| !path.is_empty() && !path.contains(":memory:"))
        .ok_or_else(|| StoreError::Address(shown_database(url)))
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}
