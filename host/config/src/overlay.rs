//! Environment variables and flags, which are laid over the file.

use std::{borrow::Cow, path::PathBuf};

use operator_model::nearest;
use toml::de::DeValue;

use super::{
    Config, Environment, Fault, KeyPath, Origin, Origins,
    value::{self, Parsed},
};

/// The global flags of the command line, as typed. [`super::load`] checks them all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`: the configuration file.
    pub config: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<String>,
    /// `--plugin`: watch the subject of this plugin.
    pub plugin: Option<String>,
    /// `--plugin-dir`: searched before all others.
    pub plugin_dirs: Vec<PathBuf>,
    /// `--set KEY=VALUE`: for the plugin of the one subject that is chosen.
    pub set: Vec<String>,
    /// `--subject`: only these.
    pub subjects: Vec<String>,
    /// `--interval`: of every subject.
    pub interval: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// Every environment variable that the operator reads, `OPERATOR_CONFIG` first.
pub const VARIABLES: [&str; 8] = [
    "OPERATOR_CONFIG",
    "OPERATOR_STATE_DIR",
    "OPERATOR_DATABASE",
    "OPERATOR_PLUGIN_PATH",
    "OPERATOR_INTERVAL",
    "OPERATOR_LOG_FORMAT",
    "OPERATOR_LOG_LEVEL",
    "OPERATOR_HEARTBEAT",
];

/// Applies one value, and returns the settings that it changed.
type Apply = fn(&mut Config, &DeValue<'_>) -> Parsed<Vec<KeyPath>>;

/// A variable and what it sets; in the order of [`VARIABLES`].
const BY_VARIABLE: [(&str, Apply); 7] = [
    ("OPERATOR_STATE_DIR", state_dir),
    ("OPERATOR_DATABASE", database),
    ("OPERATOR_PLUGIN_PATH", plugin_path),
    ("OPERATOR_INTERVAL", interval),
    ("OPERATOR_LOG_FORMAT", log_format),
    ("OPERATOR_LOG_LEVEL", log_level),
    ("OPERATOR_HEARTBEAT", heartbeat),
];

/// A configuration under construction.
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) origins: Origins,
    pub(super) faults: Vec<Fault>,
}

impl Draft {
    pub(super) fn apply_environment(&mut self, environment: &Environment) {
        let unreadable = |name: &&str| environment.is_unreadable(name);
        self.faults
            .extend(VARIABLES.into_iter().filter(unreadable).map(|name| Fault {
                origin: Origin::Variable(name.to_owned()),
                key: None,
                what: "its value is not Unicode".to_owned(),
                fix: "write it in UTF-8".to_owned(),
            }));
        for (variable, apply) in BY_VARIABLE {
            if let Some(text) = environment.get(variable) {
                self.apply(apply, text, &Origin::Variable(variable.to_owned()));
            }
        }
    }

    pub(super) fn apply_flags(&mut self, flags: &Flags) {
        let settings: [(&str, &Option<String>, Apply); 4] = [
            ("--state-dir", &flags.state_dir, state_dir),
            ("--interval", &flags.interval, interval),
            ("--log-format", &flags.log_format, log_format),
            ("--log-level", &flags.log_level, log_level),
        ];
        for (flag, text, apply) in settings {
            if let Some(text) = text {
                self.apply(apply, text, &Origin::Flag(flag.to_owned()));
            }
        }
        if !flags.plugin_dirs.is_empty() {
            let origin = Origin::Flag("--plugin-dir".to_owned());
            self.origins.note(KeyPath::new(["plugin_dirs"]), origin);
            let searched_last = std::mem::take(&mut self.config.plugin_dirs);
            self.config.plugin_dirs = [flags.plugin_dirs.clone(), searched_last].concat();
        }
    }

    fn apply(&mut self, apply: Apply, text: &str, origin: &Origin) {
        match apply(&mut self.config, &DeValue::String(Cow::Borrowed(text))) {
            Ok(keys) => {
                for key in keys {
                    self.origins.note(key, origin.clone());
                }
            }
            Err(wrong) => self.faults.push(Fault {
                origin: origin.clone(),
                key: None,
                what: wrong.what,
                fix: wrong.fix,
            }),
        }
    }
}

/// Variables that resemble ours and may be misspelt. Not faults: cluster managers set `OPERATOR_...` variables, too.
pub(super) fn misspelt(environment: &Environment) -> Vec<String> {
    let ours = VARIABLES.map(|name| name.trim_start_matches("OPERATOR_"));
    environment
        .names()
        .filter(|name| !VARIABLES.contains(name))
        .filter_map(|name| {
            let near = nearest(name.strip_prefix("OPERATOR_")?, ours)?;
            Some(format!(
                "{name}: there is no such variable; did you mean OPERATOR_{near}?"
            ))
        })
        .collect()
}

fn key<const N: usize>(parts: [&str; N]) -> Vec<KeyPath> {
    vec![KeyPath::new(parts)]
}

fn state_dir(config: &mut Config, value: &DeValue<'_>) -> Parsed<Vec<KeyPath>> {
    config.state_dir = PathBuf::from(value::text(value)?);
    Ok(key(["state_dir"]))
}

fn database(config: &mut Config, value: &DeValue<'_>) -> Parsed<Vec<KeyPath>> {
    config.database = value::database(value)?;
    Ok(key(["database"]))
}

fn plugin_path(config: &mut Config, value: &DeValue<'_>) -> Parsed<Vec<KeyPath>> {
    let text = value::text(value)?;
    config.plugin_dirs = std::env::split_paths(&text)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    Ok(key(["plugin_dirs"]))
}

fn interval(config: &mut Config, value: &DeValue<'_>) -> Parsed<Vec<KeyPath>> {
    let interval = value::duration(value::INTERVAL)(value)?;
    let set = config.subjects.iter_mut().map(|subject| {
        subject.interval = interval;
        KeyPath::new(["subjects", &subject.name, "interval"])
    });
    Ok(set.collect())
}

fn log_format(config: &mut Config, value: &DeValue<'_>) -> Parsed<Vec<KeyPath>> {
    config.log.format = value::log_format(value)?;
    Ok(key(["log", "format"]))
}

fn log_level(config: &mut Config, value: &DeValue<'_>) -> Parsed<Vec<KeyPath>> {
    config.log.level = value::log_level(value)?;
    Ok(key(["log", "level"]))
}

fn heartbeat(config: &mut Config, value: &DeValue<'_>) -> Parsed<Vec<KeyPath>> {
    config.log.heartbeat = value::duration(value::HEARTBEAT)(value)?;
    Ok(key(["log", "heartbeat"]))
}
