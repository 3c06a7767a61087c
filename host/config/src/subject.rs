//! The subjects in the configuration file.

use std::{collections::BTreeMap, time::Duration};

use operator_model::{ActionRules, Deadlines, Sandbox};
use operator_plugin_api::manifest::{MEMORY_MIB, OPEN_FILES};
use serde_json::{Map, Value, json};
use toml::de::DeValue;

use super::{
    InvariantOverride, KeyPath, Origins, SubjectConfig, actions,
    paths::Paths,
    section::{Reading, Section},
    setting::{Setting, at, duration},
    value::{self, Wrong},
};

pub(super) fn all(
    section: &Section<'_>,
    paths: &Paths,
    rules: &ActionRules,
    reading: &mut Reading<'_>,
) -> Vec<SubjectConfig> {
    section
        .named(reading)
        .into_iter()
        .map(|(name, section)| subject(name, section, paths, rules, reading))
        .collect()
}

fn subject(
    name: &str,
    mut section: Section<'_>,
    paths: &Paths,
    rules: &ActionRules,
    reading: &mut Reading<'_>,
) -> SubjectConfig {
    if let Err(wrong) = value::subject_name(name) {
        reading.wrong(section.start, section.at.clone(), wrong);
    }
    let mut subject = SubjectConfig::new(name, "");
    subject.actions = rules.clone();
    plugin(&mut section, &mut subject, paths, reading);
    times(&mut section, &mut subject, reading);
    section.set(
        "isolation",
        &mut subject.isolation,
        reading,
        value::isolation,
    );
    if let Some(section) = section.section("sandbox", reading) {
        sandbox(section, &mut subject.sandbox, paths, reading);
    }
    if let Some(section) = section.section("deadlines", reading) {
        deadlines(section, &mut subject.deadlines, reading);
    }
    if let Some(section) = section.section("config", reading) {
        subject.config = plugin_config(&section, reading);
    }
    if let Some(section) = section.section("invariants", reading) {
        subject.invariants = invariants(&section, reading);
    }
    if let Some(section) = section.section("actions", reading) {
        actions::rules(section, &mut subject.actions, reading);
    }
    if let Some(section) = section.section("workflows", reading) {
        subject.workflows = actions::workflows(&section, reading);
    }
    section.finish(reading);
    subject
}

fn plugin(
    section: &mut Section<'_>,
    subject: &mut SubjectConfig,
    paths: &Paths,
    reading: &mut Reading<'_>,
) {
    let faults = reading.faults.len();
    if let Some(plugin) = section.take("plugin", reading, value::text) {
        subject.plugin = paths.locate_plugin(plugin);
    } else if reading.faults.len() == faults {
        let fix = r#"name the plugin that watches it, such as plugin = "hello""#;
        let wrong = Wrong::new("it is missing", fix);
        reading.wrong(section.start, section.at.join("plugin"), wrong);
    }
    subject.sha256 = section.take("sha256", reading, value::sha256);
}

fn times(section: &mut Section<'_>, subject: &mut SubjectConfig, reading: &mut Reading<'_>) {
    let interval = value::duration(value::INTERVAL);
    section.set("interval", &mut subject.interval, reading, interval);
    let wait = value::duration(value::WAIT);
    section.set("unknown_after", &mut subject.unknown_after, reading, &wait);
    let unobservable_after = &mut subject.unobservable_after;
    section.set("unobservable_after", unobservable_after, reading, &wait);
    section.set("reopen_within", &mut subject.reopen_within, reading, &wait);
}

fn sandbox(
    mut section: Section<'_>,
    sandbox: &mut Sandbox,
    paths: &Paths,
    reading: &mut Reading<'_>,
) {
    section.set("enabled", &mut sandbox.enabled, reading, value::boolean);
    section.set("exec", &mut sandbox.exec, reading, value::boolean);
    let memory = &mut sandbox.memory_mib;
    section.set("memory_mib", memory, reading, value::number(MEMORY_MIB));
    let files = &mut sandbox.open_files;
    section.set("open_files", files, reading, value::number(OPEN_FILES));
    let located = |value: &DeValue<'_>| {
        let texts = value::texts(value)?;
        Ok(texts.iter().map(|path| paths.locate(path)).collect())
    };
    section.set("read", &mut sandbox.read, reading, located);
    section.set("write", &mut sandbox.write, reading, located);
    section.finish(reading);
}

fn deadlines(mut section: Section<'_>, deadlines: &mut Deadlines, reading: &mut Reading<'_>) {
    let deadline = value::duration(value::DEADLINE);
    section.set("create", &mut deadlines.create, reading, &deadline);
    section.set("observe", &mut deadlines.observe, reading, &deadline);
    section.set("check", &mut deadlines.check, reading, &deadline);
    section.set("invoke", &mut deadlines.invoke, reading, &deadline);
    section.finish(reading);
}

/// Taken as it is: only the plugin knows which keys there are.
fn plugin_config(section: &Section<'_>, reading: &mut Reading<'_>) -> Map<String, Value> {
    let mut config = Map::new();
    for (key, spanned) in section.entries() {
        let name = key.get_ref().as_ref();
        let path = section.at.join(name);
        match value::json(spanned.get_ref()) {
            Ok(json) => {
                note_places(path, key.span().start, spanned.get_ref(), reading);
                config.insert(name.to_owned(), json);
            }
            Err(wrong) => reading.wrong(spanned.span().start, path, wrong),
        }
    }
    config
}

/// Notes a value's place, and those of everything inside it.
fn note_places(path: KeyPath, start: usize, value: &DeValue<'_>, reading: &mut Reading<'_>) {
    for (key, inner) in value.as_table().into_iter().flatten() {
        let below = path.join(key.get_ref().as_ref());
        note_places(below, key.span().start, inner.get_ref(), reading);
    }
    let place = reading.place(start);
    reading.origins.note(path, place);
}

fn invariants(
    section: &Section<'_>,
    reading: &mut Reading<'_>,
) -> BTreeMap<String, InvariantOverride> {
    section
        .named(reading)
        .into_iter()
        .map(|(name, section)| (name.to_owned(), invariant(section, reading)))
        .collect()
}

fn invariant(mut section: Section<'_>, reading: &mut Reading<'_>) -> InvariantOverride {
    let wait = value::duration(value::WAIT);
    let decided = InvariantOverride {
        severity: section.take("severity", reading, value::severity),
        grace_period: section.take("grace_period", reading, &wait),
        keep_firing_for: section.take("keep_firing_for", reading, &wait),
        enabled: section.take("enabled", reading, value::boolean),
    };
    section.finish(reading);
    decided
}

/// The settings of a subject as they are shown; of the gate's rules, only those that it sets itself.
pub(super) fn settings(subject: &SubjectConfig, origins: &Origins) -> Vec<Setting> {
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
        .flat_map(|(name, decided)| invariant_settings(name, decided));
    let base = KeyPath::new(["subjects", &subject.name]);
    let own_rules = actions::settings(&subject.actions)
        .into_iter()
        .filter(|(key, _)| origins.of(&base.concat(key)).is_some());
    let workflows = subject
        .workflows
        .iter()
        .flat_map(|(name, workflow)| actions::workflow_settings(name, workflow));
    settings
        .into_iter()
        .chain(invariants)
        .chain(own_rules)
        .chain(workflows)
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (base.concat(&key), value))
        .collect()
}

fn invariant_settings(name: &str, decided: &InvariantOverride) -> [Setting; 4] {
    let optional = |time: Option<Duration>| time.map_or(Value::Null, duration);
    [
        ("severity", json!(decided.severity)),
        ("grace_period", optional(decided.grace_period)),
        ("keep_firing_for", optional(decided.keep_firing_for)),
        ("enabled", json!(decided.enabled)),
    ]
    .map(|(key, value)| at(["invariants", name, key], value))
}
