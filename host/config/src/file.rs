//! The configuration file.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::{
    Config, Environment, Fault, KeyPath, Origin, actions,
    paths::Paths,
    section::{Reading, Section},
    subject, value,
};

/// Applies the file to the configuration. Fails only on a syntax error, which hides everything else.
pub(super) fn apply(
    config: &mut Config,
    environment: &Environment,
    reading: &mut Reading<'_>,
) -> Result<(), Fault> {
    let document = DeTable::parse(reading.text).map_err(|error| Fault {
        origin: reading.place(error.span().map_or(0, |span| span.start)),
        key: None,
        what: format!("this is not TOML: {}", error.message()),
        fix: String::new(),
    })?;
    let root = Section::new(KeyPath::default(), 0, document.get_ref());
    top(root, config, environment, reading);
    Ok(())
}

fn top(
    mut root: Section<'_>,
    config: &mut Config,
    environment: &Environment,
    reading: &mut Reading<'_>,
) {
    let paths = Paths::of_file(&reading.path, environment);
    if let Some(path) = root.take("state_dir", reading, value::text) {
        config.state_dir = paths.locate(&path);
    }
    if let Some(url) = root.take("database", reading, value::database) {
        config.database = paths.locate_database(url);
    }
    if let Some(directories) = root.take("plugin_dirs", reading, value::texts) {
        config.plugin_dirs = directories.iter().map(|path| paths.locate(path)).collect();
    }
    if let Some(section) = root.section("log", reading) {
        log(section, config, reading);
    }
    if let Some(section) = root.section("retention", reading) {
        retention(section, config, reading);
    }
    if let Some(section) = root.section("actions", reading) {
        actions::rules(section, &mut config.actions, reading);
    }
    if let Some(section) = root.section("subjects", reading) {
        config.subjects = subject::all(&section, &paths, &config.actions, reading);
    }
    root.finish(reading);
}

fn log(mut section: Section<'_>, config: &mut Config, reading: &mut Reading<'_>) {
    let log = &mut config.log;
    section.set("format", &mut log.format, reading, value::log_format);
    section.set("level", &mut log.level, reading, value::log_level);
    let heartbeat = value::duration(value::HEARTBEAT);
    section.set("heartbeat", &mut log.heartbeat, reading, heartbeat);
    section.finish(reading);
}

fn retention(mut section: Section<'_>, config: &mut Config, reading: &mut Reading<'_>) {
    let retention = &mut config.retention;
    let kept = value::duration(value::KEPT);
    section.set("tickets", &mut retention.tickets, reading, &kept);
    section.set("observations", &mut retention.observations, reading, &kept);
    section.set(
        "observations_per_subject",
        &mut retention.observations_per_subject,
        reading,
        value::number(value::COUNT),
    );
    section.finish(reading);
}

/// The file that is to be read, and what names it; none when there is none.
pub(super) fn find(
    flag: Option<&Path>,
    environment: &Environment,
) -> Option<(PathBuf, Option<Origin>)> {
    if let Some(path) = flag {
        return Some((
            path.to_path_buf(),
            Some(Origin::Flag("--config".to_owned())),
        ));
    }
    if let Some(path) = environment.get("OPERATOR_CONFIG") {
        let origin = Origin::Variable("OPERATOR_CONFIG".to_owned());
        return Some((PathBuf::from(path), Some(origin)));
    }
    let directory = environment.base_directory("XDG_CONFIG_HOME", ".config")?;
    Some((directory.join("operator/operator.toml"), None))
}
