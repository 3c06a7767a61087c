//! Where a plugin runs, and how long its calls may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a subject's plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// In a separate process, which can be ended.
    #[default]
    Worker,
    /// In the operator's own process: the least overhead, and no protection.
    None,
}

/// How long each call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Load, `describe` and `create`, together.
    pub create: Duration,
    /// `observe`.
    pub observe: Duration,
    /// `check` and `list_actions`.
    pub check: Duration,
    /// `invoke`.
    pub invoke: Duration,
}
