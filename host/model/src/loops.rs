//! The loops of a running daemon, as it reports them to other processes.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// A daemon and its loops, as last reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Name of the machine.
    pub host: String,
    /// Process id on that machine.
    pub pid: u32,
    /// Version of the daemon.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last reported.
    pub seen_at: Timestamp,
    /// Its loops; unhealthy ones first when some were left out.
    pub loops: Vec<LoopStatus>,
    /// How many loops were left out of a report that would be too long.
    pub left_out: usize,
}

impl DaemonStatus {
    /// `host:pid`, which distinguishes the daemons of one database.
    pub fn label(&self) -> String {
        format!("{}:{}", self.host, self.pid)
    }
}

/// How one loop is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoopStatus {
    /// What the loop does: `watch`, `engine`, ...
    pub name: String,
    /// The subject it works for; absent where it works for all.
    pub subject: Option<String>,
    /// Between two turns. Milliseconds.
    pub period_ms: i64,
    /// What it is doing.
    pub state: LoopState,
    /// How long it has not finished a turn, if that is longer than it may. Milliseconds.
    pub stalled_for_ms: Option<i64>,
    /// When its last turn started.
    pub started_at: Option<Timestamp>,
    /// When its last turn finished.
    pub finished_at: Option<Timestamp>,
    /// How long its last finished turn took. Milliseconds.
    pub took_ms: Option<i64>,
    /// How its last turn went.
    pub result: Option<TurnResult>,
    /// Finished turns.
    pub iterations: u64,
    /// How often it was started again after a panic or an unexpected end.
    pub restarts: u64,
    /// The latest error, even if turns have succeeded since.
    pub last_error: Option<LoopError>,
}

impl LoopStatus {
    /// The loop's name with its subject: `watch:db`, `engine`.
    pub fn id(&self) -> String {
        loop_id(&self.name, self.subject.as_deref())
    }

    /// Whether it is stalled, or its last turn failed.
    pub fn is_unhealthy(&self) -> bool {
        self.stalled_for_ms.is_some() || self.result == Some(TurnResult::Failed)
    }
}

/// A loop's name with its subject: `watch:db`, `engine`.
pub fn loop_id(name: &str, subject: Option<&str>) -> String {
    match subject {
        Some(subject) => format!("{name}:{subject}"),
        None => name.to_owned(),
    }
}

/// What a loop is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopState {
    /// It has not finished a turn yet.
    Starting,
    /// Until its next turn is due.
    Waiting,
    /// A turn is under way.
    Running,
    /// It failed, and is about to be started again.
    Restarting,
    /// The daemon shuts down, and this loop has ended.
    Ended,
}

impl LoopState {
    /// As it is serialized.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Ended => "ended",
        }
    }
}

/// How a turn went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnResult {
    /// It did what it had to.
    Ok,
    /// It returned an error, or panicked.
    Failed,
}

/// An error of a loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopError {
    /// When it happened.
    pub at: Timestamp,
    /// The whole chain, in one line.
    pub message: String,
}
