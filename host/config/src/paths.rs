//! Paths in a configuration file.

use std::path::{Path, PathBuf};

use super::Environment;

/// Resolves the paths in a file.
pub(super) struct Paths {
    base: PathBuf,
    home: Option<PathBuf>,
}

impl Paths {
    pub(super) fn of_file(file: &Path, environment: &Environment) -> Self {
        Self {
            base: file.parent().map(Path::to_path_buf).unwrap_or_default(),
            home: environment.get("HOME").map(PathBuf::from),
        }
    }

    /// `~/` is the home; what is relative starts at the directory of the file.
    pub(super) fn locate(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.home) {
            (Some(below), Some(home)) => home.join(below),
            _ => self.base.join(path),
        }
    }

    pub(super) fn locate_database(&self, url: String) -> String {
        match url.strip_prefix("sqlite:") {
            // `sqlite::memory:` and `sqlite://` are not paths.
            Some(path) if !path.starts_with(':') && !path.starts_with("//") => {
                format!("sqlite:{}", self.locate(path).display())
            }
            _ => url,
        }
    }

    /// A bare name stays what it is.
    pub(super) fn locate_plugin(&self, plugin: String) -> String {
        if plugin.contains('/') {
            self.locate(&plugin).to_string_lossy().into_owned()
        } else {
            plugin
        }
    }
}
