//! TiKV's log, as evidence: what kind of thing happened when, in which region.

mod entry;
mod event;
mod tail;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use tail::LogTail;

/// What the log shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogEvidence {
    /// Files that are read; standard input counts as one.
    pub files: u64,
    /// Lines that were read since this plugin started.
    pub lines: u64,
    /// Of these, lines that are not log entries.
    pub unreadable_lines: u64,
    /// Bytes that were passed over because there were too many of them.
    pub skipped_bytes: u64,
    /// How often each kind was seen since this plugin started.
    pub counts: BTreeMap<EventKind, u64>,
    /// The last hundred, oldest first.
    pub events: Vec<LogEvent>,
}

/// The kind of event that a line reports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A peer campaigns in an election, or has won it.
    LeaderElection,
    /// A leader hands over, or is made to.
    LeadershipTransfer,
    /// A snapshot is made, sent, received or applied.
    Snapshot,
    /// An operation took longer than the store's own limit.
    SlowOperation,
}

/// One line worth keeping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogEvent {
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The kind of event.
    pub kind: EventKind,
    /// `INFO`, `WARN`.
    pub level: String,
    /// The message.
    pub message: String,
    /// The region, where the line names one.
    pub region_id: Option<u64>,
    /// How long it took, where the line has a duration. Milliseconds.
    pub took_ms: Option<f64>,
}
