//! The settings and their built-in defaults.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use operator_model::{ActionRules, Deadlines, Isolation, Retention, Sandbox, Workflow};
use operator_plugin_api::Severity;
use serde_json::{Map, Value};

use super::{Assignment, Environment};

/// Every setting with its default, commented: the reference of the configuration file.
pub const COMMENTED_DEFAULTS: &str = include_str!("default.toml");

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
    /// The plugin's settings from the file.
    pub config: Map<String, Value>,
    /// The plugin's settings from `--set`, in the order given; typed only when the plugin has described itself.
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

const DAY: Duration = Duration::from_hours(24);

impl Config {
    /// The configuration without a file, variables or flags.
    pub fn built_in(environment: &Environment) -> Self {
        let state_dir = state_dir(environment);
        Self {
            database: database_in(&state_dir),
            state_dir,
            plugin_dirs: plugin_dirs(environment),
            log: LogConfig {
                format: LogFormat::Text,
                level: "info".to_owned(),
                heartbeat: Duration::from_secs(10),
            },
            retention: Retention {
                tickets: 90 * DAY,
                actions: 8 * DAY,
                observations: 30 * DAY,
                observations_per_subject: 1000,
            },
            actions: ActionRules::default(),
            subjects: Vec::new(),
        }
    }
}

impl SubjectConfig {
    /// A subject with the defaults for everything but its name and its plugin.
    pub fn new(name: impl Into<String>, plugin: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            plugin: plugin.into(),
            sha256: None,
            interval: Duration::from_secs(10),
            isolation: Isolation::Worker,
            sandbox: Sandbox::default(),
            deadlines: Deadlines {
                create: Duration::from_secs(5),
                observe: Duration::from_secs(5),
                check: Duration::from_secs(2),
                invoke: Duration::from_secs(30),
            },
            unknown_after: Duration::from_mins(5),
            unobservable_after: Duration::ZERO,
            reopen_within: Duration::from_mins(15),
            config: serde_json::Map::new(),
            set: Vec::new(),
            invariants: BTreeMap::new(),
            actions: ActionRules::default(),
            workflows: BTreeMap::new(),
        }
    }
}

/// The database that belongs to a state directory.
pub(super) fn database_in(state_dir: &Path) -> String {
    format!("sqlite:{}", state_dir.join("operator.db").display())
}

fn state_dir(environment: &Environment) -> PathBuf {
    environment
        .base_directory("XDG_STATE_HOME", ".local/state")
        // A service without a home.
        .unwrap_or_else(|| PathBuf::from("/var/lib"))
        .join("operator")
}

fn plugin_dirs(environment: &Environment) -> Vec<PathBuf> {
    let own = environment
        .get("HOME")
        .map(|home| Path::new(home).join(".local/lib/operator/plugins"));
    let shared = [
        "/usr/local/lib/operator/plugins",
        "/usr/lib/operator/plugins",
    ];
    own.into_iter().chain(shared.map(PathBuf::from)).collect()
}

#[cfg(test)]
#[path = "tests/settings.rs"]
mod tests;
