//! What a plugin tries and is refused, for whoever judges it.
//!
//! The kernel hands the calls in question to a thread that is confined as the plugin is. It makes them in the caller's
//! place, or refuses them, and keeps what was refused.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// More of them tell nothing new.
const MOST_KEPT: usize = 64;

/// What kind of thing was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trespass {
    /// Opening a file or a directory to read it.
    Read,
    /// Making, changing or removing a file or a directory.
    Write,
    /// Starting a program.
    Exec,
    /// Another system call that is kept from plugins.
    Call,
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What kind of thing.
    pub kind: Trespass,
    /// The path, or the call.
    pub what: String,
}

static KEPT: Mutex<Vec<Attempt>> = Mutex::new(Vec::new());

/// What was refused in this process so far, each once.
pub(super) fn kept() -> Vec<Attempt> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(target_os = "linux")]
pub(super) use linux::watch;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        ffi::CStr,
        io, mem,
        os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        path::Path,
        process,
        sync::{PoisonError, mpsc},
        thread,
    };

    use libc::{c_long, c_ulong, seccomp_notif, seccomp_notif_resp};
    use seccompiler::{SeccompAction, sock_filter};

    use super::{Attempt, KEPT, MOST_KEPT, Trespass};
    use crate::loader::confine::{FORBIDDEN, STARTING_PROGRAMS, program};

    /// What is looked at of a call: the positions of arguments.
    #[derive(Clone, Copy)]
    enum Watched {
        Open { path: usize, flags: Option<usize> },
        Change { path: usize },
        Exec { path: usize },
        Signal,
        Forbidden(&'static str),
    }

    use Watched::{Change, Open};

    const ON_FILES: [(c_long, Watched); 9] = [
        (
            libc::SYS_openat,
            Open {
                path: 1,
                flags: Some(2),
            },
        ),
        (
            libc::SYS_openat2,
            Open {
                path: 1,
                flags: None,
            },
        ),
        (libc::SYS_truncate, Change { path: 0 }),
        (libc::SYS_unlinkat, Change { path: 1 }),
        (libc::SYS_mkdirat, Change { path: 1 }),
        (libc::SYS_mknodat, Change { path: 1 }),
        (libc::SYS_symlinkat, Change { path: 2 }),
        (libc::SYS_linkat, Change { path: 3 }),
        (libc::SYS_renameat2, Change { path: 3 }),
    ];
    /// Of processors that had them before the ones above.
    #[cfg(target_arch = "x86_64")]
    const OLDER: [(c_long, Watched); 10] = [
        (
            libc::SYS_open,
            Open {
                path: 0,
                flags: Some(1),
            },
        ),
        (libc::SYS_creat, Change { path: 0 }),
        (libc::SYS_unlink, Change { path: 0 }),
        (libc::SYS_mkdir, Change { path: 0 }),
        (libc::SYS_rmdir, Change { path: 0 }),
        (libc::SYS_mknod, Change { path: 0 }),
        (libc::SYS_symlink, Change { path: 1 }),
        (libc::SYS_link, Change { path: 1 }),
        (libc::SYS_rename, Change { path: 1 }),
        (libc::SYS_renameat, Change { path: 3 }),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const OLDER: [(c_long, Watched); 0] = [];

    /// The position of the path in each of the calls that start a program.
    const EXEC_PATHS: [usize; 2] = [0, 1];

    fn watched() -> impl Iterator<Item = (c_long, Watched)> {
        let exec = STARTING_PROGRAMS.into_iter().zip(EXEC_PATHS);
        let forbidden = FORBIDDEN
            .into_iter()
            .map(|(call, name)| (call, Watched::Forbidden(name)));
        ON_FILES
            .into_iter()
            .chain(OLDER)
            .chain(exec.map(|(call, path)| (call, Watched::Exec { path })))
            .chain([(libc::SYS_kill, Watched::Signal)])
            .chain(forbidden)
    }

    /// Keeps from this thread, and from those that it starts, what a plugin may not call, as [`super::super::confine`] does,
    /// and keeps count of it. Files must be restricted already.
    pub(in crate::loader) fn watch(exec: bool) -> io::Result<()> {
        let (hand_over, listener) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        thread::Builder::new()
            .name("attempts".into())
            .spawn(move || {
                // Whatever a thread does but once is done by now: some of it waits for the dynamic linker, which this thread
                // must not do while the plugin's library is opened.
                let _ = ready.send(());
                if let Ok(listener) = listener.recv() {
                    let _ = ready.send(());
                    keep(&listener, exec);
                }
            })?;
        is_ready.recv().map_err(io::Error::other)?;
        hand_over.send(listen()?).map_err(io::Error::other)?;
        is_ready.recv().map_err(io::Error::other)
    }

    /// Has the kernel ask before it makes any of these calls for this thread.
    fn listen() -> io::Result<OwnedFd> {
        let ask = SeccompAction::Trace(0);
        let mut program = program(watched().map(|(call, _)| call), ask)?;
        // The library has no word for asking a listener; its word for asking a tracer differs in this one value.
        let tracer: u32 = ask_value(SeccompAction::Trace(0));
        for instruction in &mut program {
            if instruction.k == tracer {
                instruction.k = libc::SECCOMP_RET_USER_NOTIF;
            }
        }
        let length = u16::try_from(program.len()).map_err(io::Error::other)?;
        let filter = libc::sock_fprog {
            len: length,
            filter: program.as_mut_ptr().cast(),
        };
        const { assert!(size_of::<sock_filter>() == size_of::<libc::sock_filter>()) };
        #[allow(unsafe_code, reason = "no library installs a filter with a listener")]
        // SAFETY: the program is a whole one and lives through the call, which copies it; the descriptor that comes back is
        // nobody else's.
        unsafe {
            let listener = libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const filter,
            );
            match RawFd::try_from(listener) {
                Ok(listener) if listener >= 0 => Ok(OwnedFd::from_raw_fd(listener)),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    fn ask_value(action: SeccompAction) -> u32 {
        action.into()
    }

    fn keep(listener: &OwnedFd, exec: bool) {
        while let Some(notice) = receive(listener) {
            let answer = answer(&notice, exec);
            send(listener, answer);
        }
    }

    /// The next call that waits; `None` when there will be none.
    fn receive(listener: &OwnedFd) -> Option<seccomp_notif> {
        loop {
            #[allow(unsafe_code, reason = "no library listens")]
            // SAFETY: the kernel wants it zeroed, all of it may be zero, and it fills no more than this.
            let (notice, got) = unsafe {
                let mut notice: seccomp_notif = mem::zeroed();
                let got = libc::ioctl(
                    listener.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_RECV,
                    &raw mut notice,
                );
                (notice, got)
            };
            if got == 0 {
                return Some(notice);
            }
            // The caller was interrupted or is gone.
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR | libc::ENOENT) => {}
                _ => return None,
            }
        }
    }

    fn send(listener: &OwnedFd, mut answer: seccomp_notif_resp) {
        #[allow(unsafe_code, reason = "no library listens")]
        // SAFETY: the kernel reads the answer and changes nothing of it. It fails when the caller is gone.
        unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut answer,
            );
        }
    }

    fn answer(notice: &seccomp_notif, exec: bool) -> seccomp_notif_resp {
        let call = c_long::from(notice.data.nr);
        let found = watched().find(|(number, _)| *number == call);
        let Some((_, watched)) = found else {
            return go_on(notice);
        };
        match watched {
            Watched::Open { path, flags } => {
                let flags = flags.map_or(0, |at| notice.data.args[at]);
                let kind = if changes(flags) {
                    Trespass::Write
                } else {
                    Trespass::Read
                };
                make(notice, kind, path)
            }
            Watched::Change { path } => make(notice, Trespass::Write, path),
            Watched::Exec { .. } if exec => go_on(notice),
            Watched::Exec { path } => refuse(notice, Trespass::Exec, text(notice, path)),
            Watched::Signal => signal(notice),
            Watched::Forbidden(name) => refuse(notice, Trespass::Call, name.to_owned()),
        }
    }

    fn changes(flags: u64) -> bool {
        let changing = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
        flags & u64::from(changing.cast_unsigned()) != 0
    }

    /// Makes the call in the caller's place. One of a process that the plugin has started is left to that process.
    fn make(notice: &seccomp_notif, kind: Trespass, path: usize) -> seccomp_notif_resp {
        if !Path::new(&format!("/proc/self/task/{}", notice.pid)).exists() {
            return go_on(notice);
        }
        let of = notice.data.args;
        #[allow(unsafe_code, reason = "the call is another thread's")]
        // SAFETY: a thread of this process has asked for just this call, and waits for it. Memory, open files and working
        // directory are the same for all of its threads, so that it has the effect that it would have had there.
        let made = unsafe {
            libc::syscall(
                c_long::from(notice.data.nr),
                of[0],
                of[1],
                of[2],
                of[3],
                of[4],
                of[5],
            )
        };
        if made >= 0 {
            return seccomp_notif_resp {
                val: made,
                ..go_on_as(notice, 0, 0)
            };
        }
        let error = io::Error::last_os_error();
        let number = error.raw_os_error().unwrap_or(libc::EPERM);
        if matches!(number, libc::EACCES | libc::EPERM) {
            note(kind, text(notice, path));
        }
        go_on_as(notice, -number, 0)
    }

    /// Signals to itself are its own business.
    fn signal(notice: &seccomp_notif) -> seccomp_notif_resp {
        // Of each argument the kernel, too, reads the lower half alone.
        let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default();
        let [to, number, ..] = notice.data.args.map(half);
        if to == 0 || to == process::id() {
            return go_on(notice);
        }
        let to = to.cast_signed();
        refuse(
            notice,
            Trespass::Call,
            format!("signal {number} to process {to}"),
        )
    }

    fn refuse(notice: &seccomp_notif, kind: Trespass, what: String) -> seccomp_notif_resp {
        note(kind, what);
        go_on_as(notice, -libc::EPERM, 0)
    }

    /// The kernel makes the call as if nobody had been asked.
    fn go_on(notice: &seccomp_notif) -> seccomp_notif_resp {
        go_on_as(notice, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE)
    }

    fn go_on_as(notice: &seccomp_notif, error: i32, flags: c_ulong) -> seccomp_notif_resp {
        seccomp_notif_resp {
            id: notice.id,
            val: 0,
            error,
            flags: u32::try_from(flags).unwrap_or_default(),
        }
    }

    fn note(kind: Trespass, what: String) {
        let attempt = Attempt { kind, what };
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT && !kept.contains(&attempt) {
            kept.push(attempt);
        }
    }

    /// The text at which an argument points, in the memory of the caller.
    fn text(notice: &seccomp_notif, argument: usize) -> String {
        let mut bytes = Vec::new();
        let mut at = notice.data.args[argument];
        while bytes.len() < libc::PATH_MAX as usize {
            // A page is there as a whole or not at all.
            let room = PAGE - at % PAGE;
            let Some(mut more) = memory(notice.pid, at, room) else {
                break;
            };
            at += room;
            bytes.append(&mut more);
            if let Ok(text) = CStr::from_bytes_until_nul(&bytes) {
                return text.to_string_lossy().into_owned();
            }
        }
        "a path that cannot be read".to_owned()
    }

    /// The smallest that any kernel has. Bytes.
    const PAGE: u64 = 4096;

    fn memory(pid: u32, at: u64, length: u64) -> Option<Vec<u8>> {
        let length = usize::try_from(length).ok()?;
        let mut bytes = vec![0_u8; length];
        let here = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: length,
        };
        let there = libc::iovec {
            iov_base: at as *mut libc::c_void,
            iov_len: length,
        };
        #[allow(unsafe_code, reason = "the caller may be another process")]
        // SAFETY: `here` is as long as it says and lives through the call; the kernel looks after `there`.
        let read = unsafe {
            libc::process_vm_readv(
                pid.cast_signed(),
                &raw const here,
                1,
                &raw const there,
                1,
                0,
            )
        };
        (usize::try_from(read) == Ok(length)).then_some(bytes)
    }
}
