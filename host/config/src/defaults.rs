//! The built-in defaults.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use operator_model::{ActionRules, Deadlines, Isolation, Sandbox};

use super::{Config, Environment, LogConfig, LogFormat, Retention, SubjectConfig};

/// Every setting with its default, commented: the reference of the configuration file.
pub const COMMENTED_DEFAULTS: &str = include_str!("default.toml");

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
#[path = "tests/defaults.rs"]
mod tests;
