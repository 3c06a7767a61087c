//! Where a path leads for another process, found without opening anything.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

/// As many symbolic links as the kernel follows in one path.
const MAX_LINKS: u32 = 40;

/// Where a path leads. The paths in it are absolute and hold no symbolic link but, where the last one is not followed, that.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To this file, directory or other thing.
    Exists(PathBuf),
    /// To a name in a directory, which holds nothing of this name.
    Missing(PathBuf),
    /// To something behind this, which the caller or this process may not enter.
    Hidden(PathBuf),
    /// To nothing, because a directory on the way is missing; or to something that lies in no directory, such as a pipe.
    Nowhere,
}

impl Target {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Exists(path) | Self::Missing(path) | Self::Hidden(path) => Some(path),
            Self::Nowhere => None,
        }
    }
}

/// From where a path is followed.
pub(super) struct Start<'a> {
    /// Where a relative path begins. Absolute.
    pub(super) directory: &'a Path,
    /// Where an absolute path begins, and above which none leads.
    pub(super) root: &'a Path,
    /// What `/proc/self` is.
    pub(super) process: &'a Path,
    /// What `/proc/thread-self` is.
    pub(super) thread: &'a Path,
}

impl Start<'_> {
    /// Follows a path; `follow` says whether it follows a symbolic link at its end.
    pub(super) fn resolve(&self, path: &Path, follow: bool) -> Target {
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
                Err(error) => return unseen(error.kind(), is_last, next),
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

    /// Puts the parts of a path before what is ahead, the next one last.
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

    /// Where a symbolic link leads.
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
            // An open file that lies in no directory is named after what it is, such as `pipe:[7]`.
            Ok(target) if is_own && target.is_relative() => Link::Outside,
            Ok(target) => Link::To(target),
            Err(_) => Link::Outside,
        }
    }
}

/// Where a symbolic link leads.
enum Link {
    To(PathBuf),
    /// To something that lies in no directory.
    Outside,
    /// To what another process has open, which a sandboxed one may not follow.
    OfAnother,
}

/// Where a path leads whose next part cannot be seen.
fn unseen(why: io::ErrorKind, is_last: bool, part: PathBuf) -> Target {
    match why {
        io::ErrorKind::NotFound if is_last => Target::Missing(part),
        io::ErrorKind::PermissionDenied => Target::Hidden(part),
        _ => Target::Nowhere,
    }
}

/// Whether this lies in the directory that a process has in `/proc`.
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

    /// A directory with `file`, `dir/inner`, and links to both and to nothing.
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
    fn a_last_link_is_not_followed_unless_it_must_be() {
        let tree = tree();
        let root = tree.path().canonicalize().unwrap();
        let start = start(&root, Path::new("/"));
        let stay = |path: &str| start.resolve(Path::new(path), false);
        assert_eq!(stay("to-dir"), Target::Exists(root.join("to-dir")));
        assert_eq!(stay("to-dir/"), Target::Exists(root.join("dir")));
        assert_eq!(stay("to-dir/inner"), Target::Exists(root.join("dir/inner")));
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let tree = tree();
        let root = tree.path().canonicalize().unwrap();
        let start = start(&root, &root);
        for path in ["/file", "../../file", "/../dir/../file"] {
            let target = start.resolve(Path::new(path), true);
            assert_eq!(target, Target::Exists(root.join("file")), "{path}");
        }
    }

    #[test]
    fn the_processes_links_are_those_of_the_caller() {
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
