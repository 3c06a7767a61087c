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
    /// The address does not lead to a database that outlives the process.
    #[error(
        "`{0}` is not a database to keep state in; write the path of a file and nothing else, like \
         sqlite:/var/lib/operator/operator.db: no user, host or password, and no `?`"
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
