//! Plans: the calls that a proposal is about.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// When a step runs, given how the step before it ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Only after a step that was done, or as the first step.
    #[default]
    Done,
    /// Only after a step that failed.
    Failed,
    /// In either case.
    Always,
    /// Only after a step that was done and whose details have this value at this JSON pointer.
    Detail {
        /// Such as `/healthy`.
        pointer: String,
        /// The value that is required there.
        is: Value,
    },
}

/// What a plan does when one of its steps fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Leaves what was done as it is.
    #[default]
    Stop,
    /// Undoes what was done, the last call first.
    Compensate,
}

/// One call of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Name of an action of the subject, or of a tool of the operator.
    pub action: String,
    /// Its parameters; secrets are masked.
    pub params: Map<String, Value>,
    /// When it runs.
    #[serde(default)]
    pub when: When,
}

/// One call, or a workflow of several that are approved as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Of the workflow, or of the only action.
    pub name: String,
    /// In the order in which they run; never empty.
    pub steps: Vec<PlanStep>,
    /// What follows a failure.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Whether a call has secret parameters: then only the process that was given them can run it.
    #[serde(default)]
    pub has_secrets: bool,
}

impl fmt::Display for PlanStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.action)?;
        for (name, value) in &self.params {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}
