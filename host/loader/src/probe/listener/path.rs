//! Resolves a path as the kernel does for another process, without opening anything.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

/// The limit of the kernel for symbolic links in one path.
const MAX_LINKS: u32 = 40;

/// Where a path leads. The paths are absolute and free of symbolic links, except for one at the end that is not followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file, directory or other object.
    Exists(PathBuf),
    /// A name that does not exist, in a directory that does.
    Missing(PathBuf),
    /// Something beneath this path, which the caller or this process may not search.
    Hidden(PathBuf),
    /// Nothing, because a directory on the way does not exist; or an object outside all directories, such as a pipe.
    Nowhere,
}

impl Target {
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Exists(path) | Self::Missing(path) | Self::Hidden(path) => Some(path),
            Self::Nowhere => None,
        }
    }
}

/// The context in which a path is resolved.
pub(crate) struct Start<'a> {
    /// The directory in which a relative path starts. Absolute.
    pub(crate) directory: &'a Path,
    /// The directory in which an absolute path starts, and which no path leaves.
    pub(crate) root: &'a Path,
    /// The target of `/proc/self`.
    pub(crate) process: &'a Path,
    /// The target of `/proc/thread-self`.
    pub(crate) thread: &'a Path,
}

impl Start<'_> {
    /// Resolves a path. `follow` says whether a symbolic link at its end is followed.
    pub(crate) fn resolve(&self, path: &Path, follow: bool) -> Target {
        let bytes = path.as_os_str().as_bytes();
        let is_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
        let (may_be_file, follow) = (!follow || !is_directory, follow || is_directory);
        let mut at = self.directory.to_owned();
        let mut ahead = Vec::new();
        self.enter(path, &mut at, &mut ahead);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                if at != self.root {
                    at.pop();
                }
                continue;
            }
            let next = at.join(&name);
            let is_last = ahead.is_empty();
            let metadata = match fs::symlink_metadata(&next) {
                Ok(metadata) => metadata,
                Err(error) => return unresolved(error.kind(), is_last, next),
            };
            if !metadata.is_symlink() || (is_last && !follow) {
                at = next;
                continue;
            }
            links += 1;
            match self.link(&next) {
                Link::To(target) if links <= MAX_LINKS => {
                    self.enter(&target, &mut at, &mut ahead);
                }
                Link::OfAnother => return Target::Hidden(next),
                Link::To(_) | Link::Outside => return Target::Nowhere,
            }
        }
        if may_be_file || at.is_dir() {
            Target::Exists(at)
        } else {
            Target::Nowhere
        }
    }

    /// Puts the components of a path before those that are still ahead. The next one is the last in the list.
    fn enter(&self, path: &Path, at: &mut PathBuf, ahead: &mut Vec<OsString>) {
        if path.is_absolute() {
            self.root.clone_into(at);
        }
        let parts = path.components().rev().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        });
        ahead.extend(parts);
    }

    /// The target of a symbolic link.
    fn link(&self, link: &Path) -> Link {
        if link == Path::new("/proc/self") {
            return Link::To(self.process.to_owned());
        }
        if link == Path::new("/proc/thread-self") {
            return Link::To(self.thread.to_owned());
        }
        let is_own = link.starts_with(self.process);
        if is_of_process(link) && !is_own {
            return Link::OfAnother;
        }
        match fs::read_link(link) {
            // An open file outside all directories is described by its type, such as `pipe:[7]`.
            Ok(target) if is_own && target.is_relative() => Link::Outside,
            Ok(target) => Link::To(target),
            Err(_) => Link::Outside,
        }
    }
}

/// The target of a symbolic link.
enum Link {
    To(PathBuf),
    /// An object outside all directories.
    Outside,
    /// An open file of another process, to which landlock denies access.
    OfAnother,
}

/// The target of a path with a component that cannot be examined.
fn unresolved(why: io::ErrorKind, is_last: bool, part: PathBuf) -> Target {
    match why {
        io::ErrorKind::NotFound if is_last => Target::Missing(part),
        io::ErrorKind::PermissionDenied => Target::Hidden(part),
        _ => Target::Nowhere,
    }
}

/// Whether a path is in the directory of a process in `/proc`.
fn is_of_process(path: &Path) -> bool {
    let below_proc = path.strip_prefix("/proc").ok();
    let process = below_proc.and_then(|path| path.iter().next());
    process.is_some_and(is_number)
}

fn is_number(name: &OsStr) -> bool {
    name.as_bytes().iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with `file`, `dir/inner`, links to both, and links that lead nowhere.
    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("dir/inner"), "").unwrap();
        symlink("dir", at("to-dir")).unwrap();
        symlink("to-dir/../file", at("to-file")).unwrap();
        symlink(at("to-file"), at("absolute")).unwrap();
        symlink("gone", at("to-gone")).unwrap();
        symlink("round", at("round")).unwrap();
        tree
    }

    fn start<'a>(directory: &'a Path, root: &'a Path) -> Start<'a> {
        Start {
            directory,
            root,
            process: Path::new("/proc/1"),
            thread: Path::new("/proc/1/task/1"),
        }
    }

    #[test]
    fn links_and_parents_are_followed_to_the_file_itself() {
        let tree = tree();
        let root = tree.path().canonicalize().unwrap();
        let start = start(&root, Path::new("/"));
        let follow = |path: &str| start.resolve(Path::new(path), true);
        for path in [
            "file",
            "./dir/../file",
            "to-file",
            "absolute",
            "to-dir/../to-file",
        ] {
            assert_eq!(follow(path), Target::Exists(root.join("file")), "{path}");
        }
        assert_eq!(
            follow("to-dir/inner"),
            Target::Exists(root.join("dir/inner"))
        );
        assert_eq!(follow("to-gone"), Target::Missing(root.join("gone")));
        for path in ["gone/file", "round", "file/inner", "to-file/"] {
            assert_eq!(follow(path), Target::Nowhere, "{path}");
        }
    }

    #[test]
    fn a_link_at_the_end_is_followed_only_if_requested_or_before_a_slash() {
        let tree = tree();
        let root = tree.path().canonicalize().unwrap();
        let start = start(&root, Path::new("/"));
        let stay = |path: &str| start.resolve(Path::new(path), false);
        assert_eq!(stay("to-dir"), Target::Exists(root.join("to-dir")));
        assert_eq!(stay("to-dir/"), Target::Exists(root.join("dir")));
        assert_eq!(stay("to-dir/inner"), Target::Exists(root.join("dir/inner")));
    }

    #[test]
    fn no_path_leaves_the_root() {
        let tree = tree();
        let root = tree.path().canonicalize().unwrap();
        let start = start(&root, &root);
        for path in ["/file", "../../file", "/../dir/../file"] {
            let target = start.resolve(Path::new(path), true);
            assert_eq!(target, Target::Exists(root.join("file")), "{path}");
        }
    }

    #[test]
    fn links_in_proc_are_resolved_for_the_caller() {
        let (_, open) = io::pipe().unwrap();
        let own = format!("/proc/{}", std::process::id());
        let thread = format!("{own}/task/{}", std::process::id());
        let from_here = Start {
            directory: Path::new("/"),
            root: Path::new("/"),
            process: own.as_ref(),
            thread: thread.as_ref(),
        };
        let follow = |path: &str| from_here.resolve(Path::new(path), true);
        let status = Target::Exists(PathBuf::from(&own).join("status"));
        assert_eq!(follow("/proc/self/status"), status);
        let comm = Target::Exists(PathBuf::from(&thread).join("comm"));
        assert_eq!(follow("/proc/thread-self/comm"), comm);
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&open);
        assert_eq!(follow(&format!("/dev/fd/{descriptor}")), Target::Nowhere);
        let of_another = start(Path::new("/"), Path::new("/"));
        let path = format!("{own}/root/etc/passwd");
        let target = of_another.resolve(path.as_ref(), true);
        assert_eq!(target, Target::Hidden(PathBuf::from(own).join("root")));
    }
}
