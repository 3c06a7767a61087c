//! The system calls that the listener inspects: their effects, and the positions of their arguments.

use libc::c_long;

use crate::sandbox::system_calls::STARTING_PROGRAMS;

/// The positions of the arguments that name a file: a path, and the descriptor of its directory if the call takes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    pub(crate) directory: Option<usize>,
    pub(crate) path: usize,
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

/// What a call does. The numbers are positions of arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    /// The file and the flags.
    Open(Name, usize),
    /// The file and a pointer to `struct open_how`.
    OpenHow(Name, usize),
    /// Opens a new file for writing.
    Create(Name),
    Truncate(Name),
    Remove(Name),
    /// Creates a directory or a symbolic link.
    Make(Name),
    /// The file and its mode.
    MakeNode(Name, usize),
    /// The old and the new name, and flags if the call takes them.
    Link(Name, Name, Option<usize>),
    /// The old and the new name, and flags if the call takes them.
    Rename(Name, Name, Option<usize>),
    /// The program.
    Start(Name),
    /// The process and the number of the signal.
    Signal(usize, usize),
    /// The pidfd and the number of the signal.
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
/// Older calls, which only some processors have.
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

/// The name of the program in each of [`STARTING_PROGRAMS`].
const PROGRAMS: [Name; 2] = [path(0), at(0)];

/// Every inspected call and its effect.
pub(crate) fn effects() -> impl Iterator<Item = (c_long, Effect)> {
    let programs = STARTING_PROGRAMS.into_iter().zip(PROGRAMS);
    EFFECTS
        .into_iter()
        .chain(OLDER)
        .chain(programs.map(|(call, program)| (call, Start(program))))
}
