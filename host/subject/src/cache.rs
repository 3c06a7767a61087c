//! What is known of plugin files already: a thousand subjects may have one plugin, which is examined, copied and described once.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use operator_config::SubjectConfig;
use operator_loader::{LoadError, Plugin};
use operator_model::{Isolation, Sandbox};
use operator_plugin_api::Descriptor;

/// Plugins and their descriptors, for as long as their files do not change. Cheap to clone; clones share what is known.
#[derive(Debug, Clone, Default)]
pub struct PluginCache(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    /// A lock for each file and pinned hash, so that one is examined while others wait for the result.
    opened: Mutex<HashMap<(PathBuf, Option<String>), Slot>>,
    described: Mutex<Vec<Described>>,
}

/// A file that was opened, or is to be.
type Slot = Arc<Mutex<Option<Opened>>>;

#[derive(Debug)]
struct Opened {
    plugin: Plugin,
    file: Stamp,
    copy: Stamp,
}

#[derive(Debug)]
struct Described {
    sha256: String,
    isolation: Isolation,
    sandbox: Sandbox,
    descriptor: Descriptor,
}

/// Differs after every change of a file's content, owner or mode.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl PluginCache {
    pub(crate) fn open(
        &self,
        path: &Path,
        pin: Option<&str>,
        copies: &Path,
    ) -> Result<Plugin, LoadError> {
        let key = (path.to_owned(), pin.map(str::to_owned));
        let entry = Arc::clone(locked(&self.0.opened).entry(key).or_default());
        let mut known = locked(&entry);
        let is_same = |stamp: &Stamp, path: &Path| Stamp::of(path).is_ok_and(|now| now == *stamp);
        if let Some(opened) = known.as_ref()
            && is_same(&opened.file, path)
            && is_same(&opened.copy, &opened.plugin.copy)
        {
            return Ok(opened.plugin.clone());
        }
        *known = None;
        // Taken before: a change while it is examined is noticed the next time.
        let file = Stamp::of(path);
        let plugin = Plugin::open(path, pin, copies)?;
        if let (Ok(file), Ok(copy)) = (file, Stamp::of(&plugin.copy)) {
            *known = Some(Opened {
                plugin: plugin.clone(),
                file,
                copy,
            });
        }
        Ok(plugin)
    }

    /// What a plugin with this content said of itself where it ran like this.
    pub(crate) fn descriptor(&self, sha256: &str, subject: &SubjectConfig) -> Option<Descriptor> {
        let described = locked(&self.0.described);
        let mut described = described.iter();
        let known = described.find(|known| known.is_of(sha256, subject))?;
        Some(known.descriptor.clone())
    }

    pub(crate) fn keep(&self, sha256: &str, subject: &SubjectConfig, descriptor: &Descriptor) {
        let mut described = locked(&self.0.described);
        if !described.iter().any(|known| known.is_of(sha256, subject)) {
            described.push(Described {
                sha256: sha256.to_owned(),
                isolation: subject.isolation,
                sandbox: subject.sandbox.clone(),
                descriptor: descriptor.clone(),
            });
        }
    }
}

impl Described {
    fn is_of(&self, sha256: &str, subject: &SubjectConfig) -> bool {
        self.sha256 == sha256
            && self.isolation == subject.isolation
            && self.sandbox == subject.sandbox
    }
}

/// Nothing that is done under these locks leaves a state half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
