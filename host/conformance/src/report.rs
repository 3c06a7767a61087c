//! The report of a run.

use std::{path::PathBuf, time::Duration};

use operator_plugin_api::manifest::Manifest;
use serde::Serialize;

use super::Status;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The plugin file.
    pub file: PathBuf,
    /// Its manifest, if it could be read.
    pub manifest: Option<Manifest>,
    /// Of its content, in lower case hexadecimal.
    pub sha256: Option<String>,
    /// Repeats the fuzz rounds.
    pub seed: u64,
    /// Rounds of each fuzzing case.
    pub rounds: u32,
    /// Of the whole run. Milliseconds.
    pub took_ms: u128,
    /// Every case that was selected, in the order of `--list`.
    pub cases: Vec<CaseReport>,
}

/// The result of one case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseReport {
    /// `group.name`
    pub id: String,
    /// The first part of the id.
    pub group: String,
    /// Its status.
    pub status: Status,
    /// What a conforming plugin does.
    pub expected: String,
    /// What this plugin did, or why the case was skipped; empty when it passed.
    pub happened: String,
    /// How to fix the plugin; empty unless it is at fault.
    pub fix: String,
    /// How long it took. Milliseconds.
    pub took_ms: u128,
}

impl Report {
    /// The number of cases with this status.
    pub fn count(&self, status: Status) -> usize {
        let cases = self.cases.iter();
        cases.filter(|case| case.status == status).count()
    }

    /// Whether the plugin is at fault in any of them.
    pub fn has_faults(&self) -> bool {
        self.cases.iter().any(|case| case.status.is_fault())
    }

    /// Whether the run proves nothing: the suite failed in a case, or every case was skipped.
    pub fn is_void(&self) -> bool {
        self.count(Status::Error) > 0 || self.count(Status::Skip) == self.cases.len()
    }

    /// How long the whole run took.
    pub fn took(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.took_ms).unwrap_or(u64::MAX))
    }
}
