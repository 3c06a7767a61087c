//! Kinds of access to a file, and which of them the sandbox refuses.

use std::{fs, path::Path};

use super::{granted::GrantedFiles, path::Target, probe::Trespass};

/// What is done to the file to which a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Open(Flags),
    /// Changing the content of what is there.
    Change,
    /// Removing what is there.
    Remove,
    /// Making something where nothing is.
    Make,
    /// Making a device, which no directory is granted for.
    MakeDevice,
    /// Making something, whether or not something is there.
    Replace,
}

impl Access {
    /// Making a node of this mode.
    pub(super) fn making(mode: u64) -> Self {
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

    pub(super) fn kind(self) -> Trespass {
        match self {
            Self::Open(flags) if !flags.change() => Trespass::Read,
            _ => Trespass::Write,
        }
    }

    /// Whether it fails with any sandbox and without one.
    pub(super) fn fails_anyway(self, target: &Target) -> bool {
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

    /// The path of the target if the sandbox refuses this.
    pub(super) fn refused<'a>(self, target: &'a Target, files: &GrantedFiles) -> Option<&'a Path> {
        let path = target.path()?;
        let may_write_beside = || path.parent().is_some_and(|dir| files.may_write(dir));
        let is_permitted = match (self, target) {
            (Self::MakeDevice, _) => false,
            (Self::Open(flags), Target::Missing(_)) if flags.create() => may_write_beside(),
            (Self::Open(flags), _) => {
                (!flags.read() || files.may_read(path)) && (!flags.write() || files.may_write(path))
            }
            (Self::Change, _) => files.may_write(path),
            (Self::Remove | Self::Make | Self::Replace, _) => may_write_beside(),
        };
        (!is_permitted).then_some(path)
    }
}

/// The flags of `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags(i32);

impl Flags {
    /// Those that `creat` stands for.
    pub(super) const OF_CREAT: Self = Self(libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC);

    /// Only the lower half of them has a meaning.
    pub(super) fn new(flags: u64) -> Self {
        let low = u32::try_from(flags & u64::from(u32::MAX)).unwrap_or_default();
        Self(low.cast_signed())
    }

    fn have(self, flags: i32) -> bool {
        self.0 & flags == flags
    }

    /// Whether they ask for a mere reference to the file, which the sandbox refuses nobody.
    fn refer(self) -> bool {
        self.have(libc::O_PATH)
    }

    /// There is a fourth mode, which permits neither to read nor to write.
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

    /// Whether they ask for anything but reading.
    fn change(self) -> bool {
        self.write() || self.create()
    }

    /// Whether a symbolic link at the end of the path is followed.
    pub(super) fn follow(self) -> bool {
        !self.have(libc::O_NOFOLLOW) && !self.have(libc::O_CREAT | libc::O_EXCL)
    }

    /// Whether what is there cannot be opened so.
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
