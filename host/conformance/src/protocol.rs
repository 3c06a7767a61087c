//! The two messages between the suite and a case's process: one in, one out.

use std::{path::PathBuf, time::Duration};

use operator_loader::{LoadErrorKind, Plugin};
use serde::{Deserialize, Serialize};

use super::verdict::CaseResult;

/// The suite's message: which case to run, and on what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CaseInput {
    pub(super) case: String,
    /// The file as the person named it.
    pub(super) file: PathBuf,
    /// The examined plugin, or why it was refused.
    pub(super) plugin: Result<Plugin, (LoadErrorKind, String)>,
    /// A private directory of this case.
    pub(super) dir: PathBuf,
    pub(super) golden: Option<PathBuf>,
    pub(super) seed: u64,
    pub(super) rounds: u32,
    /// The limit of one call where the case sets none. Milliseconds.
    pub(super) call_ms: u64,
}

impl CaseInput {
    pub(super) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_ms)
    }
}

/// The case's message, sent once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CaseOutput {
    pub(super) result: CaseResult,
}
