//! The effective configuration, for showing: every setting, its value, and its origin.

use std::{path::Path, time::Duration};

use operator_model::{ActionRules, Approve, Workflow};
use serde_json::{Value, json};

use super::{
    Config, InvariantOverride, KeyPath, LogFormat, Origin, Origins, SubjectConfig, value::written,
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
        settings.extend(of_subject(subject, origins));
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

type Setting = (KeyPath, Value);

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
    .chain(rules(&config.actions))
    .collect()
}

/// The gate's rules.
fn rules(rules: &ActionRules) -> Vec<Setting> {
    let windows = rules.maintenance_windows.iter().map(ToString::to_string);
    let windows: Vec<_> = windows.collect();
    let by_name = rules.by_name.iter().flat_map(|(name, decided)| {
        let optional = |time: Option<Duration>| time.map_or(Value::Null, duration);
        [
            ("approve", json!(decided.approve.map(Approve::as_str))),
            ("cooldown", optional(decided.cooldown)),
            ("max_per_hour", json!(decided.max_per_hour)),
            ("verify_window", optional(decided.verify_window)),
            ("verify_within", optional(decided.verify_within)),
            ("undo", json!(decided.undo)),
        ]
        .map(|(key, value)| at(["actions", "by_name", name, key], value))
    });
    let settings = [
        ("mode", json!(rules.mode.as_str())),
        ("approve", json!(rules.approve.as_str())),
        ("approval_expires", duration(rules.approval_expires)),
        ("deny", json!(rules.deny)),
        ("maintenance_windows", json!(windows)),
        ("cooldown", duration(rules.cooldown)),
        ("max_per_hour", json!(rules.max_per_hour)),
        (
            "max_per_action_per_hour",
            json!(rules.max_per_action_per_hour),
        ),
        ("blast_radius", json!(rules.blast_radius)),
        ("blast_window", duration(rules.blast_window)),
        ("retries", json!(rules.retries)),
        ("verify_window", duration(rules.verify_window)),
        ("verify_within", duration(rules.verify_within)),
        ("undo", json!(rules.undo)),
    ];
    let settings = settings.map(|(key, value)| at(["actions", key], value));
    settings.into_iter().chain(by_name).collect()
}

/// A workflow; its steps are a list with a line for each.
fn of_workflow(name: &str, workflow: &Workflow) -> [Setting; 3] {
    let plan = &workflow.plan;
    let steps: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
    [
        ("description", json!(workflow.description)),
        ("on_failure", json!(plan.on_failure)),
        ("steps", json!(steps)),
    ]
    .map(|(key, value)| at(["workflows", name, key], value))
}

/// Of the gate's rules, those alone that the subject has for itself.
fn of_subject(subject: &SubjectConfig, origins: &Origins) -> Vec<Setting> {
    let (deadlines, sandbox) = (&subject.deadlines, &subject.sandbox);
    let settings = [
        at(["plugin"], json!(subject.plugin)),
        at(["sha256"], json!(subject.sha256)),
        at(["interval"], duration(subject.interval)),
        at(["isolation"], json!(subject.isolation)),
        at(["sandbox", "enabled"], json!(sandbox.enabled)),
        at(["sandbox", "read"], json!(sandbox.read)),
        at(["sandbox", "write"], json!(sandbox.write)),
        at(["sandbox", "exec"], json!(sandbox.exec)),
        at(["sandbox", "memory_mib"], json!(sandbox.memory_mib)),
        at(["sandbox", "open_files"], json!(sandbox.open_files)),
        at(["deadlines", "create"], duration(deadlines.create)),
        at(["deadlines", "observe"], duration(deadlines.observe)),
        at(["deadlines", "check"], duration(deadlines.check)),
        at(["deadlines", "invoke"], duration(deadlines.invoke)),
        at(["unknown_after"], duration(subject.unknown_after)),
        at(["unobservable_after"], duration(subject.unobservable_after)),
        at(["reopen_within"], duration(subject.reopen_within)),
    ];
    let invariants = subject
        .invariants
        .iter()
        .flat_map(|(name, decided)| of_invariant(name, decided));
    let base = KeyPath::new(["subjects", &subject.name]);
    let own_rules = rules(&subject.actions)
        .into_iter()
        .filter(|(key, _)| origins.of(&base.concat(key)).is_some());
    let workflows = subject
        .workflows
        .iter()
        .flat_map(|(name, workflow)| of_workflow(name, workflow));
    settings
        .into_iter()
        .chain(invariants)
        .chain(own_rules)
        .chain(workflows)
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (base.concat(&key), value))
        .collect()
}

fn of_invariant(name: &str, decided: &InvariantOverride) -> [Setting; 4] {
    let optional = |time: Option<Duration>| time.map_or(Value::Null, duration);
    [
        ("severity", json!(decided.severity)),
        ("grace_period", optional(decided.grace_period)),
        ("keep_firing_for", optional(decided.keep_firing_for)),
        ("enabled", json!(decided.enabled)),
    ]
    .map(|(key, value)| at(["invariants", name, key], value))
}

fn at<const N: usize>(key: [&str; N], value: Value) -> Setting {
    (KeyPath::new(key), value)
}

fn path(path: &Path) -> Value {
    json!(path.display().to_string())
}

fn duration(duration: Duration) -> Value {
    json!(written(duration))
}
