//! What the plugin is told to be.

use std::path::PathBuf;

use operator_plugin_api::{
    schemars::{self, JsonSchema},
    serde::Deserialize,
};

use crate::fault::{Fault, Place};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", deny_unknown_fields, default)]
pub struct Config {
    /// How it is broken.
    pub fault: Fault,
    /// In which call.
    pub fault_in: Place,
    /// While this file exists, it says how the plugin is broken: `FAULT` or `FAULT PLACE`, such as `segfault check`.
    /// It stands above `fault` and `fault_in`.
    #[schemars(extend("x-path" = "read"))]
    pub fault_file: Option<PathBuf>,
    /// How many of those calls go well first, in each process.
    pub fault_after: u32,
    /// What `check` reports: a JSON file with `violations`, `unknown`, `summary`, `slis` and `sources`, each as in the documents of
    /// the API and each optional. It is read at every `observe`. A file that is not there means that all is well.
    #[schemars(extend("x-path" = "write"))]
    pub observation_file: Option<PathBuf>,
    /// So many more violations, of `second`, each on a resource of its own.
    pub violations: u32,
    /// The observation is this much larger. Bytes.
    pub padding: usize,
    /// `observe` and `invoke` take this long. Milliseconds.
    pub latency_ms: u64,
    /// Every effect adds a line here: `ACTION PARAMS IDEMPOTENCY_KEY`, `child PID`, or `dropped` at an end in good order.
    #[schemars(extend("x-path" = "write"))]
    pub effects_file: Option<PathBuf>,
    /// Something to keep secret; the fault `leak` does not.
    #[schemars(extend("x-secret" = true))]
    pub token: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fault: Fault::None,
            fault_in: Place::Observe,
            fault_file: None,
            fault_after: 0,
            observation_file: None,
            violations: 0,
            padding: 0,
            latency_ms: 0,
            effects_file: None,
            token: String::new(),
        }
    }
}
