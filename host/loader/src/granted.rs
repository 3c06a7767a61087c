//! Whether a file is beneath a path that a worker is granted, decided as the kernel does.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::grants::Grants;

/// The files that [`Grants`] lead to.
pub(super) struct GrantedFiles {
    read: Files,
    write: Files,
}

impl GrantedFiles {
    /// Finds the files, as the kernel does when the worker confines itself.
    pub(super) fn find(grants: &Grants) -> Self {
        Self {
            read: Files::find(&grants.read),
            write: Files::find(&grants.write),
        }
    }

    /// Whether the file of this path, in which there is no symbolic link, may be read.
    pub(super) fn may_read(&self, path: &Path) -> bool {
        self.read.cover(path) || self.write.cover(path)
    }

    pub(super) fn may_write(&self, path: &Path) -> bool {
        self.write.cover(path)
    }
}

/// Device and inode, which are all that the kernel goes by. The paths are here for files that are replaced: a plugin that
/// reads the new one is refused, and does nothing wrong.
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
