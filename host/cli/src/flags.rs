//! The flags of every command.

use std::path::PathBuf;

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
