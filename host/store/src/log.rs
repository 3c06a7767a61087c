//! What the database driver may write to the log.

/// The filter for a log at this level. Without more detail than `info`, the driver is limited to warnings: a `PostgreSQL` server
/// sends notices at every start. What the driver logs while it reads an address or a password file is never shown: it repeats
/// parameters that it does not know, and lines that it cannot read.
pub fn log_filter(level: &str) -> String {
    const NEVER: &str = "sqlx_postgres::options=off,sqlx_postgres::options::parse=off,sqlx_postgres::options::pgpass=off";
    match level {
        "info" => format!("info,sqlx=warn,{NEVER}"),
        other => format!("{other},{NEVER}"),
    }
}
