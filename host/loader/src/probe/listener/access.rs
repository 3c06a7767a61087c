//! Kinds of access to a file, and whether the sandbox refuses them.

use std::{fs, path::Path};

use crate::probe::{
    listener::{granted::GrantedFiles, path::Target},
    messages::AttemptKind,
};

/// What a call does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Open(Flags),
    /// Changes the content of an existing file.
    Change,
    /// Removes an existing file from its directory.
    Remove,
    /// Creates a file. Fails if it exists.
    Make,
    /// Creates a device, which no sandbox permits. Fails if it exists.
    MakeDevice,
    /// Creates a file, or replaces an existing one.
    Replace,
}

impl Access {
    /// The access of `mknod` with this mode.
    pub(crate) fn making(mode: u64) -> Self {
        let kind = mode & u64::from(libc::S_IFMT);
        if [libc::S_IFCHR, libc::S_IFBLK]
            .map(u64::from)
            .contains(&kind)
        {
            Self::MakeDevice
        } else {
            Self::Make
        }
    }

    pub(crate) fn kind(self) -> AttemptKind {
        match self {
            Self::Open(flags) if !flags.change() => AttemptKind::Read,
            _ => AttemptKind::Write,
        }
    }

    /// Whether it fails for another reason than the sandbox.
    pub(crate) fn fails_anyway(self, target: &Target) -> bool {
        match (self, target) {
            (_, Target::Nowhere)
            | (Self::Make | Self::MakeDevice, Target::Exists(_))
            | (Self::Change | Self::Remove, Target::Missing(_)) => true,
            (Self::Open(flags), Target::Exists(path)) => flags.fail_on(path),
            (Self::Change, Target::Exists(path)) => !path.is_file(),
            (Self::Open(flags), Target::Missing(_)) => !flags.create(),
            _ => false,
        }
    }

    /// The target's path if the sandbox refuses the access.
    pub(crate) fn refused<'a>(self, target: &'a Target, files: &GrantedFiles) -> Option<&'a Path> {
        let path = target.path()?;
        let may_write_in_directory = || path.parent().is_some_and(|dir| files.may_write(dir));
        let is_permitted = match (self, target) {
            (Self::MakeDevice, _) => false,
            (Self::Open(flags), Target::Missing(_)) if flags.create() => may_write_in_directory(),
            (Self::Open(flags), _) => {
                (!flags.read() || files.may_read(path)) && (!flags.write() || files.may_write(path))
            }
            (Self::Change, _) => files.may_write(path),
            (Self::Remove | Self::Make | Self::Replace, _) => may_write_in_directory(),
        };
        (!is_permitted).then_some(path)
    }
}

/// The flags of `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(i32);

impl Flags {
    /// The flags of `creat`.
    pub(crate) const OF_CREAT: Self = Self(libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC);

    /// Of the argument only the lower half has a meaning.
    pub(crate) fn new(flags: u64) -> Self {
        let low = u32::try_from(flags & u64::from(u32::MAX)).unwrap_or_default();
        Self(low.cast_signed())
    }

    fn have(self, flags: i32) -> bool {
        self.0 & flags == flags
    }

    /// Whether the file is only referenced and not opened. Landlock permits that for every file.
    fn refer(self) -> bool {
        self.have(libc::O_PATH)
    }

    /// The fourth value of the access mode permits neither reading nor writing.
    fn read(self) -> bool {
        !self.refer() && [libc::O_RDONLY, libc::O_RDWR].contains(&(self.0 & libc::O_ACCMODE))
    }

    fn write(self) -> bool {
        let mode = self.0 & libc::O_ACCMODE;
        let is_for_writing = [libc::O_WRONLY, libc::O_RDWR].contains(&mode);
        !self.refer() && (is_for_writing || self.have(libc::O_TRUNC))
    }

    fn create(self) -> bool {
        !self.refer() && self.have(libc::O_CREAT)
    }

    /// Whether the file can be changed or created.
    fn change(self) -> bool {
        self.write() || self.create()
    }

    /// Whether a symbolic link at the end of the path is followed.
    pub(crate) fn follow(self) -> bool {
        !self.have(libc::O_NOFOLLOW) && !self.have(libc::O_CREAT | libc::O_EXCL)
    }

    /// Whether opening this existing file fails for another reason than the sandbox.
    fn fail_on(self, path: &Path) -> bool {
        let Ok(found) = fs::symlink_metadata(path) else {
            return true;
        };
        let needs_file = self.change() && !self.have(libc::O_TMPFILE);
        self.have(libc::O_CREAT | libc::O_EXCL)
            || found.is_symlink()
            || (found.is_dir() && needs_file)
            || (!found.is_dir() && self.have(libc::O_DIRECTORY))
    }
}
