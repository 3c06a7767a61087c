//! The commented defaults, against what the parser reads and what `config show` shows.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::{COMMENTED_DEFAULTS, KeyPath, Origins, file, section::Reading, shown};

fn home() -> Environment {
    [("HOME", "/home/me")].into_iter().collect()
}

/// What the parser makes of a file.
struct Parsed {
    config: Config,
    origins: Origins,
    /// Every key that it asked for.
    asked: BTreeSet<KeyPath>,
}

fn parsed(text: &str) -> Parsed {
    let mut config = Config::built_in(&home());
    let mut reading = Reading::new(Path::new("/etc/operator.toml"), text);
    file::apply(&mut config, &home(), &mut reading).expect("it is TOML");
    let faults: Vec<_> = reading.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults, [] as [&str; 0]);
    Parsed {
        config,
        origins: reading.origins,
        asked: reading.asked,
    }
}

/// The commented settings as a file; with the examples too, if asked for.
fn uncommented(examples: bool) -> String {
    let uncomment = |line: &str| -> Option<String> {
        let text = line.strip_prefix('#')?;
        let body = text.trim_start();
        let is_setting = |body: &str| {
            body.starts_with('[')
                || body.split_once(" = ").is_some_and(|(key, _)| {
                    key.chars()
                        .all(|c| c.is_ascii_lowercase() || "._0123456789".contains(c))
                })
        };
        let wanted = !text.starts_with(' ') || (examples && is_setting(body));
        (wanted && !body.is_empty()).then(|| body.to_owned())
    };
    let lines: Vec<_> = COMMENTED_DEFAULTS.lines().filter_map(uncomment).collect();
    lines.join("\n")
}

/// A setting's name wherever it may be: the rules of a subject are those of all, and the steps of a workflow are one setting.
fn name_of(key: &KeyPath) -> KeyPath {
    let parts = key.parts();
    let steps = parts.iter().position(|part| part == "steps");
    let parts = &parts[..steps.map_or(parts.len(), |at| at + 1)];
    match parts {
        [subjects, _, actions, ..] if subjects == "subjects" && actions == "actions" => {
            KeyPath::new(&parts[2..])
        }
        _ => KeyPath::new(parts),
    }
}

fn names<'a>(keys: impl IntoIterator<Item = &'a KeyPath>) -> BTreeSet<KeyPath> {
    keys.into_iter().map(name_of).collect()
}

#[test]
fn the_commented_defaults_are_the_built_in_defaults() {
    let mut expected = Config::built_in(&home());
    expected.subjects = vec![SubjectConfig::new("example", "hello")];
    assert_eq!(parsed(&uncommented(false)).config, expected);
}

#[test]
fn the_commented_defaults_set_nothing_as_they_are() {
    let config = parsed(COMMENTED_DEFAULTS).config;
    assert_eq!(config, Config::built_in(&home()));
}

#[test]
fn the_commented_defaults_have_every_setting_that_the_parser_knows() {
    let Parsed { origins, asked, .. } = parsed(&uncommented(true));
    let written = names(asked.iter().filter(|key| origins.of(key).is_some()));
    let missing = names(&asked)
        .into_iter()
        .filter(|key| !written.contains(key));
    let missing: Vec<_> = missing.map(|key| key.to_string()).collect();
    assert_eq!(missing, [] as [&str; 0], "not in default.toml");
    assert!(written.len() > 60, "only {} settings", written.len());
}

#[test]
fn every_setting_that_the_parser_knows_is_shown() {
    let Parsed {
        config,
        origins,
        asked,
    } = parsed(&uncommented(true));
    let settings = shown(&config, &origins);
    let shown = names(settings.iter().map(|setting| &setting.key));
    // Of a table its settings are shown. Those of a plugin are shown elsewhere, without its secrets.
    let is_shown = |key: &KeyPath| {
        let is_below = |other: &KeyPath| other.parts().starts_with(key.parts());
        shown.iter().any(is_below) || key.to_string() == "subjects.example.config"
    };
    let hidden = names(&asked).into_iter().filter(|key| !is_shown(key));
    let hidden: Vec<_> = hidden.map(|key| key.to_string()).collect();
    assert_eq!(hidden, [] as [&str; 0], "not shown");
}

/// Otherwise a setting could be shown with the value of another one.
#[test]
fn what_is_shown_is_what_is_written() {
    let text = uncommented(true);
    let Parsed {
        config, origins, ..
    } = parsed(&text);
    let document: Value = toml::from_str(&text).expect("it is TOML");
    let is_resolved = |key: &KeyPath| {
        let resolved = ["state_dir", "database", "plugin_dirs", "steps"];
        key.parts()
            .last()
            .is_some_and(|last| resolved.contains(&last.as_str()))
    };
    let mut compared = 0;
    for setting in shown(&config, &origins) {
        let mut parts = setting.key.parts().iter();
        let written = parts.try_fold(&document, |table, part| table.get(part));
        if let Some(written) = written.filter(|_| !is_resolved(&setting.key)) {
            assert_eq!(&setting.value, written, "{}", setting.key);
            compared += 1;
        }
    }
    assert!(compared > 40, "only {compared} settings were compared");
}
