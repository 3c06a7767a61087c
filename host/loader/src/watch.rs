//! The worker's side of being watched: a filter that has the kernel show system calls to another process, see
//! `seccomp_unotify(2)`.

use std::{
    fs::File,
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use libc::c_ulong;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule, sock_filter,
};

use super::{
    confine::{Forbidden, hide_clone3, lacking, program, refuse, refused_when_watched},
    effects::effects,
};

/// The action of a filter's program that becomes a notification: seccompiler has no word for it, and no other use for this one.
const NOTIFY: SeccompAction = SeccompAction::Trace(0);

/// Installs the filter in this process. Gives its descriptor and one of this process's memory, which the listener needs, or what
/// the kernel lacks. Until the listener runs, none of the watched calls can be made here.
pub(super) fn install(exec: bool) -> io::Result<Result<Vec<OwnedFd>, String>> {
    if let Some(missing) = hide_clone3()?.or(stay_readable()?) {
        return Ok(Err(missing));
    }
    // Opened here, because a kernel may let only the process itself open its memory.
    let memory = File::open("/proc/self/mem")?;
    let refused = refused_when_watched(exec)?.into_iter();
    let refused = refused.map(|one| (one.call, one.cases));
    let watched = effects().map(|(call, _)| (call, Vec::new()));
    let program = program(refused.chain(watched), NOTIFY)?;
    Ok(match install_program(&program) {
        Ok(filter) => Ok(vec![filter, memory.into()]),
        Err(error) => Err(lacking(&format!(
            "the kernel lets nobody watch system calls ({error})"
        ))),
    })
}

/// Has a request to hide this process's open files and directories succeed without effect: the listener reads them in `/proc`.
fn stay_readable() -> io::Result<Option<String>> {
    let request = u64::from(libc::PR_SET_DUMPABLE.cast_unsigned());
    let is_it = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request);
    let case = is_it.and_then(|is_it| SeccompRule::new(vec![is_it]));
    let hide = Forbidden {
        call: libc::SYS_prctl,
        name: "prctl",
        cases: vec![case.map_err(io::Error::other)?],
    };
    refuse([hide], 0)
}

/// Installs this program in this thread and all that it starts, with [`NOTIFY`] made a notification. Gives where they arrive.
fn install_program(program: &[sock_filter]) -> io::Result<OwnedFd> {
    let is_notify = |instruction: &sock_filter| {
        u32::from(instruction.code) == libc::BPF_RET | libc::BPF_K
            && instruction.k == u32::from(NOTIFY)
    };
    let mut instructions: Vec<_> = program
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jt,
            jf: instruction.jf,
            k: if is_notify(instruction) {
                libc::SECCOMP_RET_USER_NOTIF
            } else {
                instruction.k
            },
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(io::Error::other)?,
        filter: instructions.as_mut_ptr(),
    };
    // A call that was received is interrupted by deadly signals alone; else it would be received twice.
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let mode = c_ulong::from(libc::SECCOMP_SET_MODE_FILTER);
    #[allow(unsafe_code, reason = "no library installs a filter with a listener")]
    // SAFETY: the instructions are as many as `program` says, and live through the call, which copies them. The descriptor that
    // it returns is new, so that nothing else owns it.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program);
        match RawFd::try_from(descriptor) {
            Ok(descriptor) if descriptor >= 0 => Ok(OwnedFd::from_raw_fd(descriptor)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
