//! A plugin file that has been examined, and of which no code has run.

use std::path::{Path, PathBuf};

use operator_plugin_api::manifest::Manifest;
use serde::{Deserialize, Serialize};

use super::{error::LoadError, file::PluginFile, image};

/// A plugin file that has been examined and copied, but of which no code has run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plugin {
    /// Where the person said that it is.
    pub path: PathBuf,
    /// The private copy that is loaded, named by its hash.
    pub copy: PathBuf,
    /// Of the file's content, in lower case hexadecimal.
    pub sha256: String,
    /// What the file says of itself.
    pub manifest: Manifest,
}

impl Plugin {
    /// Examines the file and copies it into `copies`, running none of its code.
    ///
    /// `pin` is the sha256 that the file must have, in hexadecimal. `copies` is made if it is not there, and made
    /// private to this user.
    pub fn open(path: &Path, pin: Option<&str>, copies: &Path) -> Result<Self, LoadError> {
        let file = PluginFile::read(path)?;
        if let Some(pin) = pin {
            file.check_pin(pin)?;
        }
        let manifest = image::read_manifest(&file.bytes)
            .map_err(|(refusal, why)| LoadError::refused(path, refusal, why))?;
        Ok(Self {
            copy: file.copy_into(copies)?,
            path: file.path,
            sha256: file.sha256,
            manifest,
        })
    }

    /// A private directory beside the copy: where its workers run, and where long explanations are put.
    pub(super) fn work_dir(&self) -> PathBuf {
        self.copy.with_extension("d")
    }
}

/// A file that looks like a plugin by its name.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// What it is, or why it would be refused.
    pub examined: Result<Examined, LoadError>,
}

/// What a plugin file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Of the file's content, in lower case hexadecimal.
    pub sha256: String,
    /// What the file says of itself.
    pub manifest: Manifest,
}

/// Examines a file without copying it and without running any of its code.
pub fn examine(path: &Path) -> Result<Examined, LoadError> {
    let file = PluginFile::read(path)?;
    let manifest = image::read_manifest(&file.bytes)
        .map_err(|(refusal, why)| LoadError::refused(path, refusal, why))?;
    Ok(Examined {
        sha256: file.sha256,
        manifest,
    })
}
