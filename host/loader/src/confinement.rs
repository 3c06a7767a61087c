//! What could not be kept from a plugin.

use serde::{Deserialize, Serialize};

/// What came of confining a plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// What is not kept from the plugin, and why: one clause each. Empty when everything is.
    pub missing: Vec<String>,
}

impl Confinement {
    /// Without a worker, there is nothing that could be confined.
    pub(super) fn in_process() -> Self {
        Self::lacking("none: with isolation = \"none\" the plugin can do whatever the operator can")
    }

    pub(super) fn lacking(what: impl Into<String>) -> Self {
        Self {
            missing: vec![what.into()],
        }
    }
}
