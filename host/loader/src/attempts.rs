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
        sync::{PoisonError, mpsc},
        thread,
    };

    use libc::{c_long, c_ulong, seccomp_notif, seccomp_notif_resp};
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule, sock_filter,
    };

    use super::{Attempt, KEPT, MOST_KEPT, Trespass};
    use crate::{
        confine::Forbidden, confine::STARTING_PROGRAMS, confine::forbidden, confine::hide_clone3,
        confine::lacking, confine::program, confine::refuse as refuse_calls,
    };

    /// What is looked at of a call: the positions of arguments.
    #[derive(Clone, Copy)]
    enum Watched {
        Open {
            path: usize,
            flags: usize,
        },
        /// With its flags behind a pointer.
        OpenHow {
            path: usize,
            how: usize,
        },
        Change {
            path: usize,
        },
        Move {
            from: usize,
            to: usize,
        },
        Exec {
            path: usize,
        },
        Signal {
            to: usize,
            number: usize,
        },
    }

    use Watched::{Change, Move, Open, OpenHow, Signal};

    const ON_FILES: [(c_long, Watched); 9] = [
        (libc::SYS_openat, Open { path: 1, flags: 2 }),
        (libc::SYS_openat2, OpenHow { path: 1, how: 2 }),
        (libc::SYS_truncate, Change { path: 0 }),
        (libc::SYS_unlinkat, Change { path: 1 }),
        (libc::SYS_mkdirat, Change { path: 1 }),
        (libc::SYS_mknodat, Change { path: 1 }),
        (libc::SYS_symlinkat, Change { path: 2 }),
        (libc::SYS_linkat, Move { from: 1, to: 3 }),
        (libc::SYS_renameat2, Move { from: 1, to: 3 }),
    ];
    /// Of processors that had them before the ones above.
    #[cfg(target_arch = "x86_64")]
    const OLDER: [(c_long, Watched); 10] = [
        (libc::SYS_open, Open { path: 0, flags: 1 }),
        (libc::SYS_creat, Change { path: 0 }),
        (libc::SYS_unlink, Change { path: 0 }),
        (libc::SYS_mkdir, Change { path: 0 }),
        (libc::SYS_rmdir, Change { path: 0 }),
        (libc::SYS_mknod, Change { path: 0 }),
        (libc::SYS_symlink, Change { path: 1 }),
        (libc::SYS_link, Move { from: 0, to: 1 }),
        (libc::SYS_rename, Move { from: 0, to: 1 }),
        (libc::SYS_renameat, Move { from: 1, to: 3 }),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const OLDER: [(c_long, Watched); 0] = [];
    const SIGNALS: [(c_long, Watched); 6] = [
        (libc::SYS_kill, Signal { to: 0, number: 1 }),
        (libc::SYS_tkill, Signal { to: 0, number: 1 }),
        (libc::SYS_tgkill, Signal { to: 0, number: 2 }),
        (libc::SYS_rt_sigqueueinfo, Signal { to: 0, number: 1 }),
        (libc::SYS_rt_tgsigqueueinfo, Signal { to: 0, number: 2 }),
        (libc::SYS_pidfd_send_signal, Signal { to: 0, number: 1 }),
    ];

    /// The position of the path in each of the calls that start a program.
    const EXEC_PATHS: [usize; 2] = [0, 1];

    fn watched() -> impl Iterator<Item = (c_long, Watched)> {
        let exec = STARTING_PROGRAMS.into_iter().zip(EXEC_PATHS);
        ON_FILES
            .into_iter()
            .chain(OLDER)
            .chain(SIGNALS)
            .chain(exec.map(|(call, path)| (call, Watched::Exec { path })))
    }

    /// Keeps from this thread, and from those that it starts, what a plugin may not call, as [`super::super::confine`] does,
    /// and keeps count of it; gives what the kernel lacks. Files must be restricted already.
    ///
    /// Other than there, processes can be started, so that what they would run has a name.
    pub(crate) fn watch(exec: bool) -> io::Result<Option<String>> {
        let forbidden = forbidden(exec)?;
        let names: Vec<_> = forbidden.iter().map(|one| (one.call, one.name)).collect();
        let (hand_over, listener) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        thread::Builder::new()
            .name("attempts".into())
            .spawn(move || {
                // Whatever a thread does but once is done by now: some of it waits for the dynamic linker, which this thread
                // must not do while the plugin's library is opened.
                let _ = ready.send(confine_listener(exec));
                if let Ok(listener) = listener.recv() {
                    let _ = ready.send(Ok(()));
                    Listener {
                        notices: listener,
                        exec,
                        names,
                    }
                    .keep();
                }
            })?;
        is_ready.recv().map_err(io::Error::other)??;
        if let Some(missing) = hide_clone3()?.or(refuse_calls([answering()?], libc::EPERM)?) {
            return Ok(Some(missing));
        }
        let asked = forbidden.into_iter().map(|one| (one.call, one.cases));
        let asked = asked.chain(watched().map(|(call, _)| (call, Vec::new())));
        let listener = match listen(asked) {
            Ok(listener) => listener,
            Err(error) => {
                return Ok(Some(lacking(&format!(
                    "the kernel lets nobody watch system calls ({error})"
                ))));
            }
        };
        hand_over.send(listener).map_err(io::Error::other)?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(None)
    }

    /// It lies in the plugin's process, which must gain nothing by that.
    fn confine_listener(exec: bool) -> io::Result<()> {
        let mut forbidden = forbidden(exec)?;
        // It reads what a caller points at.
        forbidden.retain(|one| one.call != libc::SYS_process_vm_readv);
        forbidden.extend(STARTING_PROGRAMS.map(|call| Forbidden {
            call,
            name: "exec",
            cases: Vec::new(),
        }));
        refuse_calls(forbidden, libc::EPERM)?;
        #[allow(unsafe_code, reason = "no library blocks all signals of a thread")]
        // SAFETY: the set is filled before it is used, and lives through both calls.
        unsafe {
            let mut all: libc::sigset_t = mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        }
        Ok(())
    }

    /// What only a listener asks of its listener.
    fn answering() -> io::Result<Forbidden> {
        let requests = [
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            libc::SECCOMP_IOCTL_NOTIF_ADDFD,
        ];
        let cases = requests.map(|request| {
            let (dword, is) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
            let is_it = SeccompCondition::new(1, dword, is, request).map_err(io::Error::other)?;
            SeccompRule::new(vec![is_it]).map_err(io::Error::other)
        });
        Ok(Forbidden {
            call: libc::SYS_ioctl,
            name: "ioctl",
            cases: cases.into_iter().collect::<io::Result<_>>()?,
        })
    }

    /// Once it has asked, the kernel lets no signal but a deadly one come between: else a call could be made twice.
    const WAIT_KILLABLE: c_ulong = 1 << 5;

    /// Has the kernel ask before it makes any of these calls for this thread.
    fn listen(asked: impl Iterator<Item = (c_long, Vec<SeccompRule>)>) -> io::Result<OwnedFd> {
        let mut program = program(asked, SeccompAction::Trace(0))?;
        // The library has no word for asking a listener; its word for asking a tracer differs in this one value.
        let tracer: u32 = SeccompAction::Trace(0).into();
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
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE,
                &raw const filter,
            );
            match RawFd::try_from(listener) {
                Ok(listener) if listener >= 0 => Ok(OwnedFd::from_raw_fd(listener)),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    struct Listener {
        notices: OwnedFd,
        exec: bool,
        names: Vec<(c_long, &'static str)>,
    }

    impl Listener {
        fn keep(&self) {
            while let Some(notice) = receive(&self.notices) {
                send(&self.notices, self.answer(&notice));
            }
        }

        fn answer(&self, notice: &seccomp_notif) -> seccomp_notif_resp {
            let call = c_long::from(notice.data.nr);
            if let Some((_, watched)) = watched().find(|(number, _)| *number == call) {
                return self.answer_watched(notice, watched);
            }
            // Looking up names and people, the C library asks for a cache daemon on its own, and does without.
            if call == libc::SYS_socket
                && notice.data.args[0] == u64::from(libc::AF_UNIX.cast_unsigned())
            {
                return go_on_as(notice, -libc::EPERM, 0);
            }
            let name = self.names.iter().find(|(number, _)| *number == call);
            refuse(
                notice,
                Trespass::Call,
                name.map_or("?", |(_, name)| name).to_owned(),
            )
        }

        fn answer_watched(&self, notice: &seccomp_notif, watched: Watched) -> seccomp_notif_resp {
            let of = notice.data.args;
            match watched {
                Watched::Open { path, flags } => open(notice, path, of[flags]),
                Watched::OpenHow { path, how } => {
                    let flags = memory(notice.pid, of[how], 8);
                    let flags = flags.and_then(|bytes| bytes.try_into().ok());
                    open(notice, path, flags.map_or(0, u64::from_ne_bytes))
                }
                Watched::Change { path } => make(notice, Trespass::Write, || text(notice, path)),
                Watched::Move { from, to } => make(notice, Trespass::Write, || {
                    format!("{} from {}", text(notice, to), text(notice, from))
                }),
                Watched::Exec { .. } if self.exec => go_on(notice),
                Watched::Exec { path } => {
                    let named = match text(notice, path) {
                        none if none.is_empty() => "a program in memory".to_owned(),
                        path => path,
                    };
                    refuse(notice, Trespass::Exec, named)
                }
                Watched::Signal { to, number } => {
                    // Of each argument the kernel, too, reads the lower half alone.
                    let half =
                        |at: usize| u32::try_from(of[at] & u64::from(u32::MAX)).unwrap_or_default();
                    let (number, to) = (half(number), half(to).cast_signed());
                    make(notice, Trespass::Call, || {
                        format!("signal {number} to process {to}")
                    })
                }
            }
        }
    }

    fn open(notice: &seccomp_notif, path: usize, flags: u64) -> seccomp_notif_resp {
        let named = text(notice, path);
        // It is another one for each thread, and one that waits for its other end must not keep others waiting.
        if named.starts_with("/proc/thread-self") || is_fifo(notice, path) {
            return go_on(notice);
        }
        let kind = if changes(flags) {
            Trespass::Write
        } else {
            Trespass::Read
        };
        make(notice, kind, || named)
    }

    /// Whether the path before which the descriptor of a directory may stand is that of a FIFO.
    fn is_fifo(notice: &seccomp_notif, path: usize) -> bool {
        let of = notice.data.args;
        let directory = if path == 0 {
            c_long::from(libc::AT_FDCWD)
        } else {
            of[0].cast_signed()
        };
        #[allow(unsafe_code, reason = "the path is another thread's")]
        // SAFETY: the kernel reads the path, wherever it points, and fills no more than the structure.
        let mode = unsafe {
            let mut found: libc::stat = mem::zeroed();
            let told = libc::syscall(libc::SYS_newfstatat, directory, of[path], &raw mut found, 0);
            (told == 0).then_some(found.st_mode)
        };
        mode.is_some_and(|mode| mode & libc::S_IFMT == libc::S_IFIFO)
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

    fn changes(flags: u64) -> bool {
        let changing = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
        flags & u64::from(changing.cast_unsigned()) != 0
    }

    /// Makes the call in the caller's place. One of a process that the plugin has started is left to that process.
    fn make(
        notice: &seccomp_notif,
        kind: Trespass,
        what: impl FnOnce() -> String,
    ) -> seccomp_notif_resp {
        if !Path::new(&format!("/proc/self/task/{}", notice.pid)).exists() {
            return go_on(notice);
        }
        let of = notice.data.args;
        let call = c_long::from(notice.data.nr);
        #[allow(unsafe_code, reason = "the call is another thread's")]
        // SAFETY: a thread of this process has asked for just this call, and waits for it. Memory, open files and working
        // directory are the same for all of its threads, so that it has the effect that it would have had there.
        let made = unsafe { libc::syscall(call, of[0], of[1], of[2], of[3], of[4], of[5]) };
        if made >= 0 {
            return seccomp_notif_resp {
                val: made,
                ..go_on_as(notice, 0, 0)
            };
        }
        let error = io::Error::last_os_error();
        let number = error.raw_os_error().unwrap_or(libc::EPERM);
        // A link or a move out of what is granted is refused like one to another disk.
        if matches!(number, libc::EACCES | libc::EPERM | libc::EXDEV) {
            note(kind, what());
        }
        go_on_as(notice, -number, 0)
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
