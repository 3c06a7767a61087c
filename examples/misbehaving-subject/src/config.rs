//! The plugin's configuration.

use std::path::PathBuf;

use operator_plugin_api::{
    schemars::{self, JsonSchema},
    serde::Deserialize,
};

use crate::fault::{Fault, Place};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde", deny_unknown_fields, default)]
pub struct Config {
    /// The fault.
    pub fault: Fault,
    /// The call with the fault.
    pub fault_in: Place,
    /// While this file exists, its content replaces `fault` and `fault_in`. It is `FAULT` or `FAULT CALL`, such as
    /// `segfault check`.
    #[schemars(extend("x-path" = "read"))]
    pub fault_file: Option<PathBuf>,
    /// This many of those calls succeed first, in each process.
    pub fault_after: u32,
    /// What `observe` and `check` report: a JSON file with `violations`, `unknown`, `summary`, `slis`, `sources`, `resources`
    /// and `memory`, each optional and in the format of the API's documents, or `memory_bytes` for a memory of that length. It is read at every `observe`. A missing file means that everything holds.
    #[schemars(extend("x-path" = "write"))]
    pub observation_file: Option<PathBuf>,
    /// This many additional violations of `second`, each on a different resource.
    pub violations: u32,
    /// Enlarges the observation by this many bytes.
    pub padding: usize,
    /// Duration of `observe` and `invoke`. Milliseconds.
    pub latency_ms: u64,
    /// Every effect adds a line here: `ACTION PARAMS IDEMPOTENCY_KEY`, `child PID`, `remembers MEMORY`
    /// where the first `observe` of an instance is given a memory, or `dropped` at a graceful end.
    #[schemars(extend("x-path" = "write"))]
    pub effects_file: Option<PathBuf>,
    /// A secret, which the fault `leak` discloses.
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
