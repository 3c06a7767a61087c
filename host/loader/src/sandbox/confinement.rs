//! The result of confining a worker.

use serde::{Deserialize, Serialize};

/// What a sandbox does not enforce.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// What is not enforced, and why: one clause each. Empty if everything is enforced.
    pub missing: Vec<String>,
}

impl Confinement {
    /// A thread of the operator cannot be confined.
    pub(crate) fn in_process() -> Self {
        Self::lacking("none: with isolation = \"none\" the plugin can do whatever the operator can")
    }

    pub(crate) fn lacking(what: impl Into<String>) -> Self {
        Self {
            missing: vec![what.into()],
        }
    }
}
