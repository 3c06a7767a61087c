//! Why Redis did not do what a node asked of it, in words that metrics, `/health` and log share.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use serde::{Deserialize, Serialize};

/// What kept an operation from its result. Redis's own message is only logged, because it can contain host names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    Timeout,
    Connection,
    Authentication,
    NoPermission,
    ReadOnly,
    NoReplicas,
    OutOfMemory,
    NotPersisting,
    Loading,
    NotServing,
    Busy,
    WrongType,
    /// Anything else; also what a node of a later version reports.
    #[serde(other)]
    Refused,
}

impl Reason {
    pub(crate) const ALL: [Self; 13] = [
        Self::Timeout,
        Self::Connection,
        Self::Authentication,
        Self::NoPermission,
        Self::ReadOnly,
        Self::NoReplicas,
        Self::OutOfMemory,
        Self::NotPersisting,
        Self::Loading,
        Self::NotServing,
        Self::Busy,
        Self::WrongType,
        Self::Refused,
    ];

    /// The value of the label `reason`, and of `reason` in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Authentication => "authentication",
            Self::NoPermission => "no_permission",
            Self::ReadOnly => "read_only",
            Self::NoReplicas => "no_replicas",
            Self::OutOfMemory => "out_of_memory",
            Self::NotPersisting => "not_persisting",
            Self::Loading => "loading",
            Self::NotServing => "not_serving",
            Self::Busy => "busy",
            Self::WrongType => "wrong_type",
            Self::Refused => "refused",
        }
    }

    /// A sentence without its end, for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Timeout => "redis does not answer in time",
            Self::Connection => "redis cannot be reached",
            Self::Authentication => "redis rejects the credentials of this node",
            Self::NoPermission => "the redis user of this node lacks a permission",
            Self::ReadOnly => "redis is a read-only replica",
            Self::NoReplicas => "redis has too few replicas to accept writes",
            Self::OutOfMemory => "redis has no memory left for writes",
            Self::NotPersisting => "redis cannot save its data and refuses writes",
            Self::Loading => "redis is loading its data",
            Self::NotServing => "redis's primary or cluster is down",
            Self::Busy => "redis is busy with a script",
            Self::WrongType => "redis has something under this key that is no counter",
            Self::Refused => "redis refuses the operation",
        }
    }

    pub(crate) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Authentication,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::ReadOnly,
            ErrorKind::Server(ServerErrorKind::NoPerm) => Self::NoPermission,
            ErrorKind::Server(ServerErrorKind::BusyLoading) => Self::Loading,
            ErrorKind::Server(ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown) => {
                Self::NotServing
            }
            _ if error.is_timeout() => Self::Timeout,
            _ if error.is_io_error() || error.is_unrecoverable_error() => Self::Connection,
            _ => Self::of_code(error.code().unwrap_or_default(), error),
        }
    }

    fn of_code(code: &str, error: &RedisError) -> Self {
        match code {
            "NOREPLICAS" => Self::NoReplicas,
            "OOM" => Self::OutOfMemory,
            "MISCONF" => Self::NotPersisting,
            "NOAUTH" | "WRONGPASS" => Self::Authentication,
            "WRONGTYPE" => Self::WrongType,
            "BUSY" => Self::Busy,
            _ if error.detail().is_some_and(is_missing_permission) => Self::NoPermission,
            _ => Self::Refused,
        }
    }
}

/// Inside a script a missing permission has no code of its own: these are the words of Redis 7.0 and of later versions.
fn is_missing_permission(detail: &str) -> bool {
    detail.contains("user executing the script can't") || detail.contains("ACL failure in script")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the client makes of this error reply.
    fn reason(reply: &str) -> Reason {
        let error = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes())
            .and_then(redis::Value::extract_error)
            .unwrap_err();
        Reason::of(&error)
    }

    #[test]
    fn every_refusal_of_redis_has_its_reason() {
        for (reply, expected) in [
            (
                "READONLY You can't write against a read only replica. script: ab, on @user_script:52.",
                Reason::ReadOnly,
            ),
            (
                "NOPERM User default has no permissions to run the 'evalsha' command",
                Reason::NoPermission,
            ),
            (
                "ERR The user executing the script can't run this command or subcommand script: ab, on @user_script:1.",
                Reason::NoPermission,
            ),
            (
                "ERR ACL failure in script: User a has no permissions to run the 'zadd' command script: ab, on @user_script:1.",
                Reason::NoPermission,
            ),
            (
                "NOREPLICAS Not enough good replicas to write. script: ab, on @user_script:52.",
                Reason::NoReplicas,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                Reason::OutOfMemory,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                Reason::NotPersisting,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                Reason::Loading,
            ),
            ("MASTERDOWN Link with MASTER is down", Reason::NotServing),
            ("CLUSTERDOWN The cluster is down", Reason::NotServing),
            ("NOAUTH Authentication required.", Reason::Authentication),
            (
                "WRONGPASS invalid username-password pair",
                Reason::Authentication,
            ),
            ("WRONGTYPE Operation against a key", Reason::WrongType),
            ("BUSY Redis is busy running a script.", Reason::Busy),
            ("ERR unknown command", Reason::Refused),
        ] {
            assert_eq!(reason(reply), expected, "{reply}");
        }
    }

    #[test]
    fn a_reason_has_one_name_in_json_and_in_metrics() {
        for reason in Reason::ALL {
            assert_eq!(serde_json::json!(reason), reason.name());
        }
        let later: Reason = serde_json::from_str("\"of a later version\"").unwrap();
        assert_eq!(later, Reason::Refused);
    }
}
