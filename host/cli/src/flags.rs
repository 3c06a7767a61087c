//! The flags of every command.

use std::{ffi::OsString, path::PathBuf};

use anstream::ColorChoice;
use clap::{Args, ValueEnum};
use operator_config::Flags;

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Global {
    /// Configuration file (else `$OPERATOR_CONFIG`, else `~/.config/operator/operator.toml` if it exists)
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Folder of the database and of the plugins' copies
    #[arg(long, global = true, value_name = "PATH")]
    state_dir: Option<String>,
    /// Watch the subject of this plugin, a path or a name; no configuration file is needed
    #[arg(long, global = true, value_name = "PLUGIN")]
    plugin: Option<String>,
    /// Search this folder for plugins first; may be repeated
    #[arg(long = "plugin-dir", global = true, value_name = "PATH")]
    plugin_dirs: Vec<PathBuf>,
    /// Set one key of the plugin's configuration; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Only this subject; may be repeated
    #[arg(long = "subject", global = true, value_name = "NAME")]
    subjects: Vec<String>,
    /// How often every subject is observed, such as 10s
    #[arg(long, global = true, value_name = "DURATION")]
    interval: Option<String>,
    /// How the daemon reports: text or json
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// How much the daemon reports: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Colours: `auto` means on terminals, unless `NO_COLOR` is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl Global {
    pub(super) fn color(&self) -> ColorChoice {
        match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        }
    }

    pub(super) fn subjects(&self) -> &[String] {
        &self.subjects
    }

    pub(super) fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            state_dir: self.state_dir.clone(),
            plugin: self.plugin.clone(),
            plugin_dirs: self.plugin_dirs.clone(),
            set: self.set.clone(),
            subjects: self.subjects.clone(),
            interval: self.interval.clone(),
            log_format: self.log_format.clone(),
            log_level: self.log_level.clone(),
        }
    }
}

/// Options of every command that may be repeated, each with a value.
const REPEATED: [&str; 3] = ["--set", "--subject", "--plugin-dir"];

/// The arguments with those options at the end, in their order: of what stands before a command and what stands after it, the
/// parser would drop the former.
pub(super) fn gathered(arguments: &[OsString]) -> Vec<OsString> {
    let end = arguments.iter().position(|argument| argument == "--");
    let (options, rest) = arguments.split_at(end.unwrap_or(arguments.len()));
    let (mut others, mut repeated) = (Vec::new(), Vec::new());
    let mut options = options.iter().peekable();
    while let Some(option) = options.next() {
        let name = option.to_str().unwrap_or_default();
        let is_whole = name
            .split_once('=')
            .is_some_and(|(name, _)| REPEATED.contains(&name));
        let is_value = |next: &&OsString| !next.as_encoded_bytes().starts_with(b"-");
        if is_whole {
            repeated.push(option.clone());
        } else if REPEATED.contains(&name)
            && let Some(value) = options.next_if(is_value)
        {
            repeated.extend([option.clone(), value.clone()]);
        } else {
            others.push(option.clone());
        }
    }
    others
        .into_iter()
        .chain(repeated)
        .chain(rest.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_options_count_on_both_sides_of_a_command() {
        for (given, expected) in [
            (
                "operator --set a=1 check --set=b=2 --json",
                "operator check --json --set a=1 --set=b=2",
            ),
            (
                "operator --subject x --config f tickets list --subject y -- --set",
                "operator --config f tickets list --subject x --subject y -- --set",
            ),
            // What lacks its value stays where it is, and is refused.
            ("operator check --set --json", "operator check --set --json"),
            ("operator check --set", "operator check --set"),
        ] {
            let words = |text: &str| -> Vec<OsString> { text.split(' ').map(Into::into).collect() };
            assert_eq!(gathered(&words(given)), words(expected));
        }
    }
}
