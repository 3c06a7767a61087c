//! Opens the database, and brings its schema up to date.

use std::{
    io::ErrorKind,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::{Duration, Instant},
};

use operator_model::{DatabaseSecrets, shown_database, sqlite_path};
use rustix::fs::access;
use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, SqlSafeStr,
    any::AnyPoolOptions,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use super::{
    Dialect, OpenedFile, Store, StoreError, address,
    error::{is_busy, is_damage},
};

/// How long a process waits for another that is writing.
const BUSY: Duration = Duration::from_secs(10);
const SQLITE_SETUP: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
    PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 10000;";

/// How a `SQLite` file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    /// By a user, or on a file system, that cannot write it.
    Read,
    /// The same where `SQLite` cannot have its shared memory beside the file, and nothing waits in a write-ahead log.
    Unchanging,
}

impl Access {
    fn options(self) -> &'static str {
        match self {
            Self::Write => "mode=rw",
            Self::Read => "mode=ro",
            Self::Unchanging => "mode=ro&immutable=true",
        }
    }

    /// What each connection executes first.
    fn setup(self) -> Option<&'static str> {
        (self == Self::Write).then_some(SQLITE_SETUP)
    }
}

impl Store {
    /// Opens the database of this URL (`sqlite:PATH` or `postgres://...`), creating the file if need be, and brings
    /// its schema up to date.
    pub async fn open(given: &str) -> Result<Self, StoreError> {
        install_drivers();
        if !given.starts_with("sqlite:") {
            return Self::open_server(given).await;
        }
        let path = kept_file(given)?;
        prepare_sqlite(path)?;
        let store = Self::open_file(path, Access::Write).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Opens the database to read it: one that this process cannot write, on a read-only file system for example, is read all
    /// the same. Creates nothing.
    pub async fn open_to_read(given: &str) -> Result<Self, StoreError> {
        let path = match kept_file(given) {
            Ok(path) if given.starts_with("sqlite:") => path,
            _ => return Self::open(given).await,
        };
        let file = Path::new(path);
        if !file.exists() {
            return Err(StoreError::Absent {
                path: path.to_owned(),
            });
        }
        if is_writable(file) {
            return Self::open(given).await;
        }
        install_drivers();
        match Self::open_file(path, Access::Read).await {
            Err(StoreError::Open { .. }) if !has_log(path) => {
                Self::open_file(path, Access::Unchanging).await
            }
            Err(StoreError::Open { name, cause }) => Err(StoreError::Open {
                name,
                cause: format!(
                    "{cause}; its latest changes are in {path}-wal, which cannot be read here: copy both files into a folder that \
                     can be written to, and name that with --state-dir"
                ),
            }),
            opened => opened,
        }
    }

    async fn open_server(given: &str) -> Result<Self, StoreError> {
        let url = address::for_driver(given);
        let failed = |cause: sqlx::Error| StoreError::Open {
            name: shown_database(given),
            cause: DatabaseSecrets::of(given).mask(&cause.to_string()),
        };
        // A pool would try until its timeout, and then not report why.
        let trial = AnyConnection::connect(&url).await.map_err(failed)?;
        trial.close().await.map_err(failed)?;
        let store = Self {
            pool: pool(&url, None).await.map_err(failed)?,
            dialect: Dialect::Postgres,
            file: None,
            quarantine: Arc::default(),
        };
        store.migrate().await?;
        Ok(store)
    }

    async fn open_file(path: &str, access: Access) -> Result<Self, StoreError> {
        let escaped = path.replace('%', "%25").replace('#', "%23");
        let url = format!("sqlite:{escaped}?{}", access.options());
        let failed = |cause: sqlx::Error| of_file(path, &cause);
        try_file_while_busy(&url, access).await.map_err(failed)?;
        Ok(Self {
            pool: pool(&url, Some(access)).await.map_err(failed)?,
            dialect: Dialect::Sqlite,
            file: Some(Arc::new(opened_file(path)?)),
            quarantine: Arc::default(),
        })
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

/// Another process that opens the same new file has it for itself for a moment, and `SQLite` does not wait for that.
async fn try_file_while_busy(url: &str, access: Access) -> Result<(), sqlx::Error> {
    const AGAIN: Duration = Duration::from_millis(20);
    let began = Instant::now();
    loop {
        match try_file(url, access).await {
            Err(cause) if is_busy(&cause) && began.elapsed() < BUSY => {
                tokio::time::sleep(AGAIN).await;
            }
            tried => return tried,
        }
    }
}

/// One connection, which reads the file: a pool would try until its timeout, and then not report why.
async fn try_file(url: &str, access: Access) -> Result<(), sqlx::Error> {
    let mut trial = AnyConnection::connect(url).await?;
    if let Some(setup) = access.setup() {
        trial.execute(setup).await?;
    }
    trial.execute("SELECT COUNT(*) FROM sqlite_master").await?;
    trial.close().await
}

async fn pool(url: &str, file: Option<Access>) -> Result<AnyPool, sqlx::Error> {
    let setup = file.and_then(Access::setup);
    AnyPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(BUSY)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if let Some(setup) = setup {
                    connection.execute(setup).await?;
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

/// Creates the folder and the file, readable by their owner only.
fn prepare_sqlite(path: &str) -> Result<(), StoreError> {
    let refuse = |path: &Path, source| StoreError::File {
        path: path.display().to_string(),
        source,
    };
    let file = Path::new(path);
    private_folder(folder_of(file)).map_err(|source| refuse(folder_of(file), source))?;
    private_file(file).map_err(|source| refuse(file, source))
}

/// The current one for a bare name.
pub(super) fn folder_of(file: &Path) -> &Path {
    let folder = file.parent();
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// `SQLite` writes a file and two more beside it.
pub(super) fn is_writable(file: &Path) -> bool {
    let can_write = |path| access(path, rustix::fs::Access::WRITE_OK).is_ok();
    can_write(file) && can_write(folder_of(file))
}

/// Whether changes wait in a write-ahead log.
fn has_log(path: &str) -> bool {
    std::fs::metadata(format!("{path}-wal")).is_ok_and(|log| log.len() > 0)
}

fn of_file(path: &str, cause: &sqlx::Error) -> StoreError {
    let (path, cause) = (path.to_owned(), cause);
    if is_damage(cause) {
        return StoreError::Damaged {
            path,
            cause: cause.to_string(),
        };
    }
    StoreError::Open {
        name: path,
        cause: cause.to_string(),
    }
}

fn install_drivers() {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
}

fn opened_file(path: &str) -> Result<OpenedFile, StoreError> {
    use std::os::unix::fs::MetadataExt;
    let opened = std::fs::File::open(path).and_then(|file| Ok((file.metadata()?.ino(), file)));
    let (inode, file) = opened.map_err(|source| StoreError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(OpenedFile {
        path: PathBuf::from(path),
        inode,
        content: ManuallyDrop::new(file),
    })
}

/// The files that `SQLite` adds get the permissions of this one. One that is there is not opened, and so not closed: that would
/// take the locks of this process from it.
fn private_file(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let created = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(access(file, rustix::fs::Access::WRITE_OK)?)
        }
        created => created.map(drop),
    }
}

/// The file of an address that leads to one.
fn kept_file(url: &str) -> Result<&str, StoreError> {
    sqlite_path(url)
        .filter(|path| !path.is_empty() && !path.contains(":memory:"))
        .ok_or_else(|| StoreError::Address(shown_database(url)))
}

pub(super) fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}
