//! Why a plugin file cannot be loaded.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Why a plugin cannot be loaded. Each message names the file and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct LoadError {
    /// The file, or the name that was looked up.
    pub path: PathBuf,
    /// The problem and its fix, in one line.
    pub why: String,
    /// For decisions in code.
    pub kind: LoadErrorKind,
}

/// What is wrong with a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadErrorKind {
    /// The file is not a library, is truncated, or is built for another machine.
    File,
    /// The manifest is missing or malformed.
    Manifest,
    /// The root module is not exported.
    Symbol,
    /// The ABI has another major version.
    Abi,
    /// A panic in the plugin would end the process.
    Panic,
    /// The dynamic linker cannot open the library.
    Linker,
    /// The root module fails to load, or its types differ from the host's.
    Layout,
    /// Anything else: the file cannot be read or is not trusted, or the worker cannot be started.
    Other,
}

impl LoadError {
    pub(crate) fn new(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self::of_kind(LoadErrorKind::Other, path, why)
    }

    pub(crate) fn of_kind(
        kind: LoadErrorKind,
        path: impl Into<PathBuf>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            why: why.into(),
            kind,
        }
    }
}
