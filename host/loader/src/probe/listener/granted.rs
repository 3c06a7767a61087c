//! Decides whether a file is beneath a granted path.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::sandbox::grants::Grants;

/// The files of [`Grants`].
pub(crate) struct GrantedFiles {
    read: Files,
    write: Files,
}

impl GrantedFiles {
    /// Resolves the paths, as the kernel does when the worker confines itself.
    pub(crate) fn find(grants: &Grants) -> Self {
        Self {
            read: Files::find(&grants.read),
            write: Files::find(&grants.write),
        }
    }

    /// Whether a file may be read. Its path must be free of symbolic links.
    pub(crate) fn may_read(&self, path: &Path) -> bool {
        self.read.cover(path) || self.write.cover(path)
    }

    pub(crate) fn may_write(&self, path: &Path) -> bool {
        self.write.cover(path)
    }
}

/// Files with everything beneath them. Landlock compares devices and inodes. Paths are compared in addition: when a granted file
/// is replaced, landlock refuses the new one, but a plugin that reads it does nothing wrong.
#[derive(Default)]
struct Files {
    paths: HashSet<PathBuf>,
    ids: HashSet<(u64, u64)>,
}

impl Files {
    fn find(granted: &[PathBuf]) -> Self {
        let paths = granted.iter().filter_map(|path| path.canonicalize().ok());
        let paths: HashSet<_> = paths.collect();
        let ids = paths.iter().filter_map(|path| id(path)).collect();
        Self { paths, ids }
    }

    fn cover(&self, path: &Path) -> bool {
        let mut above = path.ancestors();
        above.any(|path| {
            self.paths.contains(path) || id(path).is_some_and(|id| self.ids.contains(&id))
        })
    }
}

fn id(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
