//! The system calls of a watched worker that the listener lets go on or refuses by what they name, and where they name it.

use libc::c_long;

use super::confine::STARTING_PROGRAMS;

/// The arguments that name a file: the descriptor of a directory, if the call takes one, and a path. Positions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) directory: Option<usize>,
    pub(super) path: usize,
}

const fn at(directory: usize) -> Name {
    Name {
        directory: Some(directory),
        path: directory + 1,
    }
}

const fn path(path: usize) -> Name {
    Name {
        directory: None,
        path,
    }
}

/// What a call does. Numbers are positions of arguments.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effect {
    /// Opens a file, with these flags.
    Open(Name, usize),
    /// Opens a file, with flags behind this pointer.
    OpenHow(Name, usize),
    /// Opens a new file to write it.
    Create(Name),
    Truncate(Name),
    Remove(Name),
    /// Makes a directory or a symbolic link.
    Make(Name),
    /// Makes a node of this mode.
    MakeNode(Name, usize),
    /// Gives a file a second name, with these flags if there are any.
    Link(Name, Name, Option<usize>),
    /// Gives a file another name, with these flags if there are any.
    Rename(Name, Name, Option<usize>),
    /// Starts a program.
    Start(Name),
    /// Sends a process a signal of this number.
    Signal(usize, usize),
    /// Sends the process of a descriptor a signal of this number.
    SignalByDescriptor(usize, usize),
}

use Effect::{
    Create, Link, Make, MakeNode, Open, OpenHow, Remove, Rename, Signal, SignalByDescriptor, Start,
    Truncate,
};

const EFFECTS: [(c_long, Effect); 15] = [
    (libc::SYS_openat, Open(at(0), 2)),
    (libc::SYS_openat2, OpenHow(at(0), 2)),
    (libc::SYS_truncate, Truncate(path(0))),
    (libc::SYS_unlinkat, Remove(at(0))),
    (libc::SYS_mkdirat, Make(at(0))),
    (libc::SYS_mknodat, MakeNode(at(0), 2)),
    (libc::SYS_symlinkat, Make(at(1))),
    (libc::SYS_linkat, Link(at(0), at(2), Some(4))),
    (libc::SYS_renameat2, Rename(at(0), at(2), Some(4))),
    (libc::SYS_kill, Signal(0, 1)),
    (libc::SYS_tkill, Signal(0, 1)),
    (libc::SYS_tgkill, Signal(0, 2)),
    (libc::SYS_rt_sigqueueinfo, Signal(0, 1)),
    (libc::SYS_rt_tgsigqueueinfo, Signal(0, 2)),
    (libc::SYS_pidfd_send_signal, SignalByDescriptor(0, 1)),
];
/// Of processors that had them before the ones above.
#[cfg(target_arch = "x86_64")]
const OLDER: [(c_long, Effect); 10] = [
    (libc::SYS_open, Open(path(0), 1)),
    (libc::SYS_creat, Create(path(0))),
    (libc::SYS_unlink, Remove(path(0))),
    (libc::SYS_rmdir, Remove(path(0))),
    (libc::SYS_mkdir, Make(path(0))),
    (libc::SYS_mknod, MakeNode(path(0), 1)),
    (libc::SYS_symlink, Make(path(1))),
    (libc::SYS_link, Link(path(0), path(1), None)),
    (libc::SYS_rename, Rename(path(0), path(1), None)),
    (libc::SYS_renameat, Rename(at(0), at(2), None)),
];
#[cfg(target_arch = "aarch64")]
const OLDER: [(c_long, Effect); 1] = [(libc::SYS_renameat, Rename(at(0), at(2), None))];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: [(c_long, Effect); 0] = [];

/// Where each of [`STARTING_PROGRAMS`] names the program.
const PROGRAMS: [Name; 2] = [path(0), at(0)];

/// Every such call and its effect.
pub(super) fn effects() -> impl Iterator<Item = (c_long, Effect)> {
    let programs = STARTING_PROGRAMS.into_iter().zip(PROGRAMS);
    EFFECTS
        .into_iter()
        .chain(OLDER)
        .chain(programs.map(|(call, program)| (call, Start(program))))
}
