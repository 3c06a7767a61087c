//! The effective configuration, for showing: every setting, its value, and its origin.

use serde_json::{Value, json};

use super::{
    Config, KeyPath, LogFormat, Origin, Origins, actions,
    setting::{Setting, at, duration, path},
    subject,
};

/// One setting as it is in effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Which.
    pub key: KeyPath,
    /// Its value, with `***` for what is secret. Durations and paths are text.
    pub value: Value,
    /// Where it was set.
    pub origin: Origin,
}

/// Every setting but those of the plugins, which only [`super::PluginConfig`] can show without their secrets.
pub fn shown(config: &Config, origins: &Origins) -> Vec<Shown> {
    let mut settings = top(config);
    for subject in &config.subjects {
        settings.extend(subject::settings(subject, origins));
    }
    settings
        .into_iter()
        .map(|(key, value)| Shown {
            origin: match origins.of(&key) {
                Some(origin) => origin.clone(),
                None => Origin::Default,
            },
            key,
            value,
        })
        .collect()
}

fn top(config: &Config) -> Vec<Setting> {
    let format = match config.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    let dirs: Vec<_> = config.plugin_dirs.iter().map(|dir| path(dir)).collect();
    let retention = &config.retention;
    vec![
        at(["state_dir"], path(&config.state_dir)),
        at(
            ["database"],
            json!(operator_model::shown_database(&config.database)),
        ),
        at(["plugin_dirs"], json!(dirs)),
        at(["log", "format"], json!(format)),
        at(["log", "level"], json!(config.log.level)),
        at(["log", "heartbeat"], duration(config.log.heartbeat)),
        at(["retention", "tickets"], duration(retention.tickets)),
        at(
            ["retention", "observations"],
            duration(retention.observations),
        ),
        at(
            ["retention", "observations_per_subject"],
            json!(retention.observations_per_subject),
        ),
    ]
    .into_iter()
    .chain(actions::settings(&config.actions))
    .collect()
}
