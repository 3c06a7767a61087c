//! The worker's side: installs a seccomp filter with user notification. See `seccomp_unotify(2)`.

use std::{
    fs::File,
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use libc::c_ulong;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule, sock_filter,
};

use crate::{
    probe::listener::effects::effects,
    sandbox::system_calls::{
        Forbidden, lacking, prevent_bypass, program, refuse, refused_when_watched,
    },
};

/// Stands for a notification in a program of seccompiler, which does not support that action. Not used otherwise.
const NOTIFY: SeccompAction = SeccompAction::Trace(0);

/// Installs the filter in this process. Returns the descriptors of the filter and of this process's memory, or why the kernel
/// does not support it. This process must not make an inspected call before the listener has started.
pub(crate) fn install(exec: bool) -> io::Result<Result<Vec<OwnedFd>, String>> {
    if let Some(missing) = prevent_bypass()?.or(keep_dumpable()?) {
        return Ok(Err(missing));
    }
    // Opened here, because some systems permit it only to the process itself (`kernel.yama.ptrace_scope`).
    let memory = File::open("/proc/self/mem")?;
    let refused = refused_when_watched(exec)?.into_iter();
    let refused = refused.map(|rule| (rule.call, rule.rules));
    let watched = effects().map(|(call, _)| (call, Vec::new()));
    let program = program(refused.chain(watched), NOTIFY)?;
    Ok(match install_program(&program) {
        Ok(filter) => Ok(vec![filter, memory.into()]),
        Err(error) => Err(lacking(&format!(
            "the kernel has no user notification of system calls ({error})"
        ))),
    })
}

/// Makes `prctl(PR_SET_DUMPABLE)` succeed without an effect. Otherwise a plugin could hide its open files and directories, which
/// the listener reads from `/proc`.
fn keep_dumpable() -> io::Result<Option<String>> {
    let request = u64::from(libc::PR_SET_DUMPABLE.cast_unsigned());
    let is_it = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request);
    let rule = is_it.and_then(|is_it| SeccompRule::new(vec![is_it]));
    let rule = rule.map_err(io::Error::other)?;
    let set_dumpable = Forbidden::new("prctl", libc::SYS_prctl, vec![rule]);
    refuse([set_dumpable], 0)
}

/// Installs this program, with notifications in place of [`NOTIFY`], in this thread and all that it starts. Returns the
/// descriptor at which the notifications arrive.
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
    // Only a fatal signal interrupts a call after its notification was received; otherwise it would be received again.
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let mode = c_ulong::from(libc::SECCOMP_SET_MODE_FILTER);
    #[allow(unsafe_code, reason = "no library supports this flag")]
    // SAFETY: `program` has the right length, and points to instructions that live until the call returns; the kernel copies
    // them. The returned descriptor is new and has no other owner.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program);
        match RawFd::try_from(descriptor) {
            Ok(descriptor) if descriptor >= 0 => Ok(OwnedFd::from_raw_fd(descriptor)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
