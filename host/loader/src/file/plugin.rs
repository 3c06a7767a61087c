//! Plugin files that have been examined. None of their code has run.

use std::path::{Path, PathBuf};

use operator_plugin_api::manifest::Manifest;
use serde::{Deserialize, Serialize};

use crate::file::{copy::PluginFile, error::LoadError, image};

/// A plugin file that has been examined and copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plugin {
    /// The original file.
    pub path: PathBuf,
    /// The private copy that is loaded, named by its hash.
    pub copy: PathBuf,
    /// The hash of the content, in lower case hexadecimal.
    pub sha256: String,
    /// The manifest in the file.
    pub manifest: Manifest,
}

impl Plugin {
    /// Examines the file and copies it into the directory `copies`, which is created if necessary and made private to this
    /// user.
    ///
    /// `pin` is the sha256 that the content must have, in hexadecimal.
    pub fn open(path: &Path, pin: Option<&str>, copies: &Path) -> Result<Self, LoadError> {
        let file = PluginFile::read(path)?;
        if let Some(pin) = pin {
            file.check_pin(pin)?;
        }
        let manifest = image::read_manifest(&file.bytes)
            .map_err(|(kind, why)| LoadError::of_kind(kind, path, why))?;
        Ok(Self {
            copy: file.copy_into(copies)?,
            path: file.path,
            sha256: file.sha256,
            manifest,
        })
    }

    /// The directory in which its workers run, and into which long explanations are written. Next to the copy.
    pub(crate) fn work_dir(&self) -> PathBuf {
        self.copy.with_extension("d")
    }
}

/// A file with the extension of a library.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// Its manifest, or why it cannot be loaded.
    pub examined: Result<Examined, LoadError>,
}

/// A plugin file that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// The hash of the content, in lower case hexadecimal.
    pub sha256: String,
    /// The manifest in the file.
    pub manifest: Manifest,
}

/// Examines a file without copying it.
pub fn examine(path: &Path) -> Result<Examined, LoadError> {
    let file = PluginFile::read(path)?;
    let manifest = image::read_manifest(&file.bytes)
        .map_err(|(kind, why)| LoadError::of_kind(kind, path, why))?;
    Ok(Examined {
        sha256: file.sha256,
        manifest,
    })
}
