//! Refuses system calls with seccomp.

use std::{env, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

/// Calls that no plugin needs: debugging, mounts, namespaces, kernel modules, keys, clocks, owners and modes of files, and
/// `io_uring`, which bypasses seccomp.
const NEVER: [(libc::c_long, &str); 55] = [
    (libc::SYS_acct, "acct"),
    (libc::SYS_add_key, "add_key"),
    (libc::SYS_adjtimex, "adjtimex"),
    (libc::SYS_bpf, "bpf"),
    (libc::SYS_chroot, "chroot"),
    (libc::SYS_clock_adjtime, "clock_adjtime"),
    (libc::SYS_clock_settime, "clock_settime"),
    (libc::SYS_delete_module, "delete_module"),
    (libc::SYS_fanotify_init, "fanotify_init"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_fchown, "fchown"),
    (libc::SYS_fchownat, "fchownat"),
    (libc::SYS_finit_module, "finit_module"),
    (libc::SYS_fremovexattr, "fremovexattr"),
    (libc::SYS_fsconfig, "fsconfig"),
    (libc::SYS_fsetxattr, "fsetxattr"),
    (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_fsopen, "fsopen"),
    (libc::SYS_fspick, "fspick"),
    (libc::SYS_init_module, "init_module"),
    (libc::SYS_io_uring_setup, "io_uring_setup"),
    (libc::SYS_kcmp, "kcmp"),
    (libc::SYS_kexec_file_load, "kexec_file_load"),
    (libc::SYS_kexec_load, "kexec_load"),
    (libc::SYS_keyctl, "keyctl"),
    (libc::SYS_lremovexattr, "lremovexattr"),
    (libc::SYS_lsetxattr, "lsetxattr"),
    (libc::SYS_mount, "mount"),
    (libc::SYS_mount_setattr, "mount_setattr"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_open_by_handle_at, "open_by_handle_at"),
    (libc::SYS_open_tree, "open_tree"),
    (libc::SYS_perf_event_open, "perf_event_open"),
    (libc::SYS_pidfd_getfd, "pidfd_getfd"),
    (libc::SYS_pivot_root, "pivot_root"),
    (libc::SYS_process_vm_readv, "process_vm_readv"),
    (libc::SYS_process_vm_writev, "process_vm_writev"),
    (libc::SYS_ptrace, "ptrace"),
    (libc::SYS_quotactl, "quotactl"),
    (libc::SYS_quotactl_fd, "quotactl_fd"),
    (libc::SYS_reboot, "reboot"),
    (libc::SYS_removexattr, "removexattr"),
    (libc::SYS_request_key, "request_key"),
    (libc::SYS_setdomainname, "setdomainname"),
    (libc::SYS_sethostname, "sethostname"),
    (libc::SYS_setns, "setns"),
    (libc::SYS_settimeofday, "settimeofday"),
    (libc::SYS_setxattr, "setxattr"),
    (libc::SYS_swapoff, "swapoff"),
    (libc::SYS_swapon, "swapon"),
    (libc::SYS_syslog, "syslog"),
    (libc::SYS_umount2, "umount2"),
    (libc::SYS_unshare, "unshare"),
    (libc::SYS_userfaultfd, "userfaultfd"),
];
/// Newer variants of the calls above, from Linux 6.6 to 6.17. Their numbers are the same on all processors; `libc` does not
/// define them on all of them yet.
const NEVER_NEWER: [(libc::c_long, &str); 5] = [
    (452, "fchmodat2"),
    (463, "setxattrat"),
    (466, "removexattrat"),
    (467, "open_tree_attr"),
    (469, "file_setattr"),
];
/// Older variants, which only some processors have.
#[cfg(target_arch = "x86_64")]
const NEVER_OLDER: [(libc::c_long, &str); 8] = [
    (libc::SYS_chmod, "chmod"),
    (libc::SYS_chown, "chown"),
    (libc::SYS_lchown, "lchown"),
    (libc::SYS_futimesat, "futimesat"),
    (libc::SYS_ioperm, "ioperm"),
    (libc::SYS_iopl, "iopl"),
    (libc::SYS_utime, "utime"),
    (libc::SYS_utimes, "utimes"),
];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_OLDER: [(libc::c_long, &str); 0] = [];
/// Memory, semaphores and queues that outlive a process, count against nobody, and belong to every process of the same user.
const SHARED: [(libc::c_long, &str); 15] = [
    (libc::SYS_memfd_create, "memfd_create"),
    (libc::SYS_memfd_secret, "memfd_secret"),
    (libc::SYS_mq_open, "mq_open"),
    (libc::SYS_mq_unlink, "mq_unlink"),
    (libc::SYS_msgctl, "msgctl"),
    (libc::SYS_msgget, "msgget"),
    (libc::SYS_msgrcv, "msgrcv"),
    (libc::SYS_msgsnd, "msgsnd"),
    (libc::SYS_semctl, "semctl"),
    (libc::SYS_semget, "semget"),
    (libc::SYS_semop, "semop"),
    (libc::SYS_semtimedop, "semtimedop"),
    (libc::SYS_shmat, "shmat"),
    (libc::SYS_shmctl, "shmctl"),
    (libc::SYS_shmget, "shmget"),
];
/// Leaving the process group by which a worker is killed, and changing to another user, which clears its death signal. The
/// programs that a worker may start can do both: their keeper ends them.
const LEAVING: [(libc::c_long, &str); 11] = [
    (libc::SYS_capset, "capset"),
    (libc::SYS_setfsgid, "setfsgid"),
    (libc::SYS_setfsuid, "setfsuid"),
    (libc::SYS_setgid, "setgid"),
    (libc::SYS_setpgid, "setpgid"),
    (libc::SYS_setregid, "setregid"),
    (libc::SYS_setresgid, "setresgid"),
    (libc::SYS_setresuid, "setresuid"),
    (libc::SYS_setreuid, "setreuid"),
    (libc::SYS_setsid, "setsid"),
    (libc::SYS_setuid, "setuid"),
];
/// The name under which the clearing of the death signal is reported.
const DEATH_SIGNAL: &str = "prctl(PR_SET_PDEATHSIG)";
pub(crate) const STARTING_PROGRAMS: [libc::c_long; 2] = [libc::SYS_execve, libc::SYS_execveat];
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// A call that is refused if one of these rules applies, or always if there are none.
pub(crate) struct Forbidden {
    pub(crate) call: libc::c_long,
    #[cfg_attr(
        not(feature = "probe"),
        expect(dead_code, reason = "only the listener reads it")
    )]
    pub(crate) name: &'static str,
    pub(crate) rules: Vec<SeccompRule>,
}

impl Forbidden {
    fn always((call, name): (libc::c_long, &'static str)) -> Self {
        Self::new(name, call, Vec::new())
    }

    pub(crate) fn new(name: &'static str, call: libc::c_long, rules: Vec<SeccompRule>) -> Self {
        Self { call, name, rules }
    }
}

/// Calls that no plugin may make, except those that start processes.
fn forbidden(exec: bool) -> io::Result<Vec<Forbidden>> {
    let always = NEVER.into_iter().chain(NEVER_NEWER).chain(NEVER_OLDER);
    let always = always.chain(SHARED);
    let mut forbidden: Vec<_> = always.map(Forbidden::always).collect();
    if !exec {
        forbidden.extend(LEAVING.map(Forbidden::always));
    }
    forbidden.extend(forbidden_on_other_processes()?);
    let by_path = vec![rule([argument(1, Is::Ne, 0)?])?];
    forbidden.extend([
        Forbidden::new("socket", libc::SYS_socket, other_families(exec)?),
        Forbidden::new("socketpair", libc::SYS_socketpair, other_pairs(exec)?),
        Forbidden::new("utimensat", libc::SYS_utimensat, by_path),
        Forbidden::new(DEATH_SIGNAL, libc::SYS_prctl, vec![other_death_signal()?]),
    ]);
    Ok(forbidden)
}

/// Setting the signal of a parent's death to any but the one that it is set to.
fn other_death_signal() -> io::Result<SeccompRule> {
    let kill = u64::from(libc::SIGKILL.cast_unsigned());
    rule([
        number(0, Is::Eq, libc::PR_SET_PDEATHSIG)?,
        argument(1, Is::Ne, kill)?,
    ])
}

/// Pairs are permitted for Unix sockets, and without `exec` only those that have no other peer for good: a datagram can be sent
/// from one to any address.
fn other_pairs(exec: bool) -> io::Result<Vec<SeccompRule>> {
    const KIND: u64 = 0xf;
    let mut others = vec![rule([number(0, Is::Ne, libc::AF_UNIX)?])?];
    if !exec {
        for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
            others.push(rule([number(1, Is::MaskedEq(KIND), kind)?])?);
        }
    }
    Ok(others)
}

/// Calls that a plugin may make for its own process alone.
fn forbidden_on_other_processes() -> io::Result<Vec<Forbidden>> {
    let mut forbidden = Vec::new();
    for (name, call) in [
        ("prlimit", libc::SYS_prlimit64),
        ("sched_setaffinity", libc::SYS_sched_setaffinity),
        ("sched_setattr", libc::SYS_sched_setattr),
        ("sched_setparam", libc::SYS_sched_setparam),
        ("sched_setscheduler", libc::SYS_sched_setscheduler),
        ("migrate_pages", libc::SYS_migrate_pages),
    ] {
        let other = rule([number(0, Is::Ne, 0)?])?;
        forbidden.push(Forbidden::new(name, call, vec![other]));
    }
    // The first argument says whether the second is a process, a group or a user.
    for (name, call, process) in [
        ("setpriority", libc::SYS_setpriority, 0),
        ("ioprio_set", libc::SYS_ioprio_set, 1),
    ] {
        let not_a_process = rule([number(0, Is::Ne, process)?])?;
        let other = rule([number(1, Is::Ne, 0)?])?;
        forbidden.push(Forbidden::new(name, call, vec![not_a_process, other]));
    }
    Ok(forbidden)
}

/// Sockets are permitted for IP and netlink, and with `exec` also Unix sockets: many services behind them start programs on
/// request.
fn other_families(exec: bool) -> io::Result<Vec<SeccompRule>> {
    let permitted = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let permitted = permitted.into_iter().chain(exec.then_some(libc::AF_UNIX));
    let others = permitted.map(|family| number(0, Is::Ne, family));
    Ok(vec![rule(others.collect::<io::Result<Vec<_>>>()?)?])
}

/// A condition on an argument of type `int`, of which the kernel ignores the upper half.
fn number(position: u8, is: Is, value: i32) -> io::Result<SeccompCondition> {
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(position, Length::Dword, is, value).map_err(io::Error::other)
}

fn argument(position: u8, is: Is, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(position, Length::Qword, is, value).map_err(io::Error::other)
}

/// The rule that applies if all of these conditions hold.
fn rule(conditions: impl Into<Vec<SeccompCondition>>) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions.into()).map_err(io::Error::other)
}

/// Calls that start anything but a thread.
fn starting_processes() -> io::Result<Vec<Forbidden>> {
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let no_thread = rule([argument(0, Is::MaskedEq(thread), 0)?])?;
    let mut forbidden = vec![Forbidden::new("clone", libc::SYS_clone, vec![no_thread])];
    forbidden.extend(STARTING_PROGRAMS.map(|call| Forbidden::always((call, "exec"))));
    #[cfg(target_arch = "x86_64")]
    forbidden.extend([(libc::SYS_fork, "fork"), (libc::SYS_vfork, "vfork")].map(Forbidden::always));
    Ok(forbidden)
}

/// Calls that start a process in new namespaces.
fn starting_in_namespaces() -> io::Result<Forbidden> {
    let rules = NAMESPACES.map(|flag| {
        let flag = u64::from(flag.cast_unsigned());
        rule([argument(0, Is::MaskedEq(flag), flag)?])
    });
    let rules = rules.into_iter().collect::<io::Result<_>>()?;
    Ok(Forbidden::new("clone", libc::SYS_clone, rules))
}

/// A filter with this action for these calls. All others are permitted.
pub(crate) fn program(
    calls: impl IntoIterator<Item = (libc::c_long, Vec<SeccompRule>)>,
    action: SeccompAction,
) -> io::Result<BpfProgram> {
    let arch = TargetArch::try_from(env::consts::ARCH).map_err(io::Error::other)?;
    let rules = calls.into_iter().collect();
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

/// Refuses these calls with this error. Returns what the kernel does not support.
pub(crate) fn refuse(
    forbidden: impl IntoIterator<Item = Forbidden>,
    error: i32,
) -> io::Result<Option<String>> {
    if TargetArch::try_from(env::consts::ARCH).is_err() {
        let why = "seccomp filters are not supported on this processor";
        return Ok(Some(lacking(why)));
    }
    let calls = forbidden
        .into_iter()
        .map(|forbidden| (forbidden.call, forbidden.rules));
    let refused = SeccompAction::Errno(error.cast_unsigned());
    apply(&program(calls, refused)?)
}

fn apply(program: &[sock_filter]) -> io::Result<Option<String>> {
    match apply_filter(program) {
        Ok(()) => Ok(None),
        Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error))
            if is_unsupported(&error) =>
        {
            Ok(Some(lacking("the kernel has no seccomp")))
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Closes two ways around the filters. `clone3` appears unsupported: callers then use `clone`, whose flags a filter can read. And
/// the calls of the x32 ABI are refused, because their numbers differ from those that the filters compare.
pub(crate) fn prevent_bypass() -> io::Result<Option<String>> {
    let clone3 = Forbidden::always((libc::SYS_clone3, "clone3"));
    let missing = refuse([clone3], libc::ENOSYS)?;
    #[cfg(target_arch = "x86_64")]
    let missing = missing.or(apply(&REFUSE_X32)?);
    Ok(missing)
}

/// Loads the number of the call, and compares it with the first one of x32.
#[cfg(target_arch = "x86_64")]
const REFUSE_X32: [sock_filter; 4] = {
    const FIRST: u32 = 0x4000_0000;
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IS_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    [
        instruction(LOAD, 0, 0, 0),
        instruction(IS_AT_LEAST, 0, 1, FIRST),
        instruction(RETURN, 0, 0, REFUSED),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
};

/// Jumps over this many instructions if its condition is true or false.
#[cfg(target_arch = "x86_64")]
const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    #[allow(clippy::cast_possible_truncation, reason = "codes have 16 bits")]
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}

/// The calls that the listener refuses. Unlike in other workers, processes can be started, so that the listener learns the name of
/// the program that they are to run.
#[cfg(feature = "probe")]
pub(crate) fn refused_when_watched(exec: bool) -> io::Result<Vec<Forbidden>> {
    let mut refused = forbidden(exec)?;
    refused.push(starting_in_namespaces()?);
    Ok(refused)
}

/// Refuses all calls that a plugin may not make. Returns what the kernel does not support.
pub(crate) fn forbid_calls(exec: bool) -> io::Result<Option<String>> {
    let mut all = forbidden(exec)?;
    if exec {
        all.push(starting_in_namespaces()?);
    } else {
        all.extend(starting_processes()?);
    }
    Ok(prevent_bypass()?.or(refuse(all, libc::EPERM)?))
}

/// Whether a refused call would let a worker outlive what ends it.
#[cfg(feature = "probe")]
pub(crate) fn is_leaving(call: libc::c_long) -> bool {
    call == libc::SYS_prctl || LEAVING.iter().any(|(leaving, _)| *leaving == call)
}

/// Whether a refused call would create or use what processes share.
#[cfg(feature = "probe")]
pub(crate) fn is_sharing(call: libc::c_long) -> bool {
    call == libc::SYS_socketpair || SHARED.iter().any(|(shared, _)| *shared == call)
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

pub(crate) fn lacking(why: &str) -> String {
    format!("{why}: mounts, debugging and other system calls are not restricted")
}
