//! What the suite found.

use std::{path::PathBuf, time::Duration};

use operator_plugin_api::manifest::Manifest;
use serde::Serialize;

use super::Status;

/// What the suite found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The plugin file.
    pub file: PathBuf,
    /// What it says of itself, where it could be read.
    pub manifest: Option<Manifest>,
    /// Of its content, in lower case hexadecimal.
    pub sha256: Option<String>,
    /// With which fuzz rounds can be repeated.
    pub seed: u64,
    /// How many there were for each fuzzing case.
    pub rounds: u32,
    /// How long all of it took. Milliseconds.
    pub took_ms: u128,
    /// Every case that was selected, in the order of `--list`.
    pub cases: Vec<CaseReport>,
}

/// What one case found.
#[derive(Debug, Clone, Serialize)]
pub struct CaseReport {
    /// `group.name`
    pub id: String,
    /// The first part of the id.
    pub group: String,
    /// The result.
    pub status: Status,
    /// What a good plugin does.
    pub expected: String,
    /// What this one did, or why it was not asked; empty when it passed.
    pub happened: String,
    /// How to fix it; empty unless the plugin is at fault.
    pub fix: String,
    /// How long it took. Milliseconds.
    pub took_ms: u128,
}

impl Report {
    /// How many cases have this result.
    pub fn count(&self, status: Status) -> usize {
        let cases = self.cases.iter();
        cases.filter(|case| case.status == status).count()
    }

    /// Whether the plugin is at fault in any of them.
    pub fn has_faults(&self) -> bool {
        self.cases.iter().any(|case| case.status.is_fault())
    }

    /// Whether the suite could not do its work: a case ended in an error of its own, or none was run.
    pub fn is_void(&self) -> bool {
        self.count(Status::Error) > 0 || self.count(Status::Skip) == self.cases.len()
    }

    /// The sum of the cases' times, for reports that want one.
    pub fn took(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.took_ms).unwrap_or(u64::MAX))
    }
}
