//! What a case's process is told, and what it tells.

use std::{path::PathBuf, time::Duration};

use operator_loader::{LoadErrorKind, Plugin};
use serde::{Deserialize, Serialize};

use super::verdict::Stop;

/// What a case's process is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
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
    /// How long one call may take where the case says nothing else. Milliseconds.
    pub(super) call_ms: u64,
}

impl Order {
    pub(super) fn call(&self) -> Duration {
        Duration::from_millis(self.call_ms)
    }
}

/// What a case's process tells, once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) ran: Result<(), Stop>,
}
