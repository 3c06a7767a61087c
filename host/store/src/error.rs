//! Failures of the store. None of them repeats a password.

use sqlx::migrate::MigrateError;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or could not be reached.
    #[error("{operation}: {cause}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// Why it failed. Its text contains its sources, so it is not a source itself.
        cause: sqlx::Error,
    },
    /// The database could not be opened.
    #[error("opening the database {name}: {cause}")]
    Open {
        /// Its file, or its address without a password.
        name: String,
        /// Why it failed, with every password masked.
        cause: String,
    },
    /// There is no database file, and nothing was to be created.
    #[error(
        "there is no database {path}: no daemon has run with this state yet, or the file was removed; `operator run` creates it, and \
         --state-dir or --config name another"
    )]
    Absent {
        /// The file.
        path: String,
    },
    /// The file is not a database, or no longer one.
    #[error(
        "the database {path} is damaged, or is no database: {cause}; restore it from a backup, or move it and the files beside it \
         that begin with its name away, and the operator begins with an empty one: tickets, approvals, the kill switch and the audit \
         in it are then lost"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What SQLite says.
        cause: String,
    },
    /// The address does not lead to a database that outlives the process.
    #[error(
        "`{0}` is not a database to keep state in; write the path of a file and nothing else, like \
         sqlite:/var/lib/operator/operator.db: no user, host or password, and no `?`"
    )]
    Address(String),
    /// The database file is not the one that was opened.
    #[error(
        "the database {path} was removed or replaced while it was in use; a running daemon makes a new one"
    )]
    Gone {
        /// Which.
        path: String,
    },
    /// The schema could not be brought up to date.
    #[error("bringing the database's schema up to date: {0}")]
    Migrate(MigrateError),
    /// A file or folder of the state could not be created.
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
        /// What was requested.
        what: String,
    },
}

/// Names the operation that a database error belongs to.
pub(super) fn during(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |cause| StoreError::Database { operation, cause }
}

/// Whether `SQLite` says that the file is corrupt (11), or not a database (26).
pub(super) fn is_damage(cause: &sqlx::Error) -> bool {
    matches!(sqlite_code(cause), Some(11 | 26))
}

/// Whether `SQLite` says that another process (5), or another connection of this one (6), has the file.
pub(super) fn is_busy(cause: &sqlx::Error) -> bool {
    matches!(sqlite_code(cause), Some(5 | 6))
}

fn sqlite_code(cause: &sqlx::Error) -> Option<u32> {
    let code = cause
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)?;
    // The upper bits of an extended code say more of the same.
    Some(code.parse::<u32>().ok()? & 0xff)
}
