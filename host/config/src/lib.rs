//! The configuration: built-in defaults, file, environment, flags, in this order; what comes later wins.
//!
//! [`load`] gives a [`Config`] and where each of its values comes from, or every fault at once. What a subject's plugin
//! is given depends on what that plugin declares; [`PluginConfig::resolve`] decides it once the plugin has described
//! itself.

mod actions;
mod declared;
mod defaults;
mod environment;
mod fault;
mod file;
mod key;
mod load;
mod overlay;
mod paths;
mod plugin;
mod schema;
mod section;
mod select;
mod show;
mod subject;
mod value;

pub use actions::check_names;
pub use declared::{Declared, declared};
pub use defaults::COMMENTED_DEFAULTS;
pub use environment::Environment;
pub use fault::{Fault, Faults, Origin, Origins};
pub use key::KeyPath;
pub use load::{Loaded, load, load_leniently};
pub use overlay::{Flags, VARIABLES};
pub use plugin::{PluginConfig, check_needs, granted};
pub use schema::{Assignment, arguments};
pub use show::{Shown, shown};

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use operator_model::{ActionRules, Deadlines, Isolation, Retention, Sandbox, Workflow};
use operator_plugin_api::Severity;
use serde_json::{Map, Value};

/// Everything that the daemon runs by.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where state is kept: the database, private plugin copies, plugin logs.
    pub state_dir: PathBuf,
    /// `sqlite:PATH` or `postgres://...`; by default `operator.db` in the state directory.
    pub database: String,
    /// Where bare plugin names are looked up, first match wins.
    pub plugin_dirs: Vec<PathBuf>,
    /// How the daemon reports.
    pub log: LogConfig,
    /// What is kept, and how long.
    pub retention: Retention,
    /// The gate's rules where a subject has none of its own.
    pub actions: ActionRules,
    /// The subjects, in the order of the file.
    pub subjects: Vec<SubjectConfig>,
}

/// How the daemon reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Lines for people or JSON lines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter of `tracing`.
    pub level: String,
    /// Between two heartbeats of a subject.
    pub heartbeat: Duration,
}

/// The form of the daemon's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Aligned lines.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// One watched subject.
#[derive(Debug, Clone, PartialEq)]
pub struct SubjectConfig {
    /// Unique.
    pub name: String,
    /// A path (with a separator in it), or a bare name to look up in the plugin directories.
    pub plugin: String,
    /// If set, the plugin file must have this hash (hexadecimal).
    pub sha256: Option<String>,
    /// Between two cycles.
    pub interval: Duration,
    /// Where the plugin runs.
    pub isolation: Isolation,
    /// What the plugin may reach in a worker.
    pub sandbox: Sandbox,
    /// How long its calls may take.
    pub deadlines: Deadlines,
    /// How long an invariant may be unknown before that is a ticket.
    pub unknown_after: Duration,
    /// How long the subject may be unobservable before that is a ticket.
    pub unobservable_after: Duration,
    /// A resolved ticket whose fault returns within this time is reopened.
    pub reopen_within: Duration,
    /// What the file says for the plugin.
    pub config: Map<String, Value>,
    /// What `--set` says for the plugin, in the order given; typed only when the plugin has described itself.
    pub set: Vec<Assignment>,
    /// By invariant name.
    pub invariants: BTreeMap<String, InvariantOverride>,
    /// The gate's rules.
    pub actions: ActionRules,
    /// By name.
    pub workflows: BTreeMap<String, Workflow>,
}

/// What the operator's people decided otherwise than the plugin's author.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvariantOverride {
    /// Replaces the declared severity.
    pub severity: Option<Severity>,
    /// Replaces the declared grace period.
    pub grace_period: Option<Duration>,
    /// Replaces the declared time that the invariant must hold again.
    pub keep_firing_for: Option<Duration>,
    /// False: the invariant is not judged at all.
    pub enabled: Option<bool>,
}
