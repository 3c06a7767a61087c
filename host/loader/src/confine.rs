//! Taking from the worker's own process what a plugin does not need, before any of the plugin's code runs.

use std::{io, os::fd::OwnedFd};

use operator_model::Sandbox;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{call::ConfineRequest, grants::Grants};
use crate::Confinement;

/// A confined process.
pub(super) struct Confined {
    pub(super) confinement: Confinement,
    /// For whoever watches this process, if it is watched: see [`super::watch`]. They are gone from here before any of the
    /// plugin's code runs.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Confines this process and every thread and child that it will have, for good. The working directory stays its own.
///
/// An error means that the kernel could do it and did not; what the kernel cannot do is in the answer.
pub(super) fn confine(asked: &ConfineRequest) -> io::Result<Confined> {
    limit(&asked.sandbox)?;
    if !asked.sandbox.enabled {
        return Ok(unconfined(
            "none: it is turned off in the subject's configuration",
        ));
    }
    confine_by_kernel(asked)
}

fn unconfined(why: &str) -> Confined {
    Confined {
        confinement: Confinement::lacking(why),
        descriptors: Vec::new(),
    }
}

/// A limit that is lower already stays.
fn limit(sandbox: &Sandbox) -> io::Result<()> {
    for (resource, most) in [
        (Resource::As, u64::from(sandbox.memory_mib) << 20),
        (Resource::Nofile, u64::from(sandbox.open_files)),
        (Resource::Core, 0),
    ] {
        let most = getrlimit(resource)
            .maximum
            .map_or(most, |hard| hard.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn confine_by_kernel(_: &ConfineRequest) -> io::Result<Confined> {
    Ok(unconfined(
        "none: this system has neither landlock nor seccomp, so that the plugin can do whatever the operator can",
    ))
}

#[cfg(all(target_os = "linux", feature = "probe"))]
pub(super) use linux::{
    Forbidden, STARTING_PROGRAMS, hide_clone3, lacking, program, refuse, refused_when_watched,
};

#[cfg(target_os = "linux")]
fn confine_by_kernel(asked: &ConfineRequest) -> io::Result<Confined> {
    let exec = asked.sandbox.exec;
    rustix::thread::set_no_new_privs(true)?;
    let (directory, process) = (".".as_ref(), "/proc/self".as_ref());
    let grants = Grants::new(&asked.sandbox, &asked.library, directory, process);
    let files = linux::restrict_files(&grants, exec).map_err(io::Error::other)?;
    let (calls, descriptors) = forbid_calls(exec, asked.watched)?;
    Ok(Confined {
        confinement: Confinement {
            missing: files.into_iter().chain(calls).collect(),
        },
        descriptors,
    })
}

/// Gives what the kernel lacks, and descriptors for whoever watches.
#[cfg(all(target_os = "linux", feature = "probe"))]
fn forbid_calls(exec: bool, watched: bool) -> io::Result<(Option<String>, Vec<OwnedFd>)> {
    if !watched {
        return Ok((linux::forbid_calls(exec)?, Vec::new()));
    }
    Ok(match super::watch::install(exec)? {
        Ok(descriptors) => (None, descriptors),
        Err(missing) => (Some(missing), Vec::new()),
    })
}

#[cfg(all(target_os = "linux", not(feature = "probe")))]
fn forbid_calls(exec: bool, _: bool) -> io::Result<(Option<String>, Vec<OwnedFd>)> {
    Ok((linux::forbid_calls(exec)?, Vec::new()))
}

#[cfg(target_os = "linux")]
mod linux {
    use landlock::{
        ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
        RulesetStatus, Scope, path_beneath_rules,
    };
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is,
        SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
    };

    use std::{env, io};

    use crate::grants::Grants;

    /// The newest that is used: it keeps signals in.
    const LANDLOCK: ABI = ABI::V6;

    /// Gives what the kernel lacks.
    pub(super) fn restrict_files(
        grants: &Grants,
        exec: bool,
    ) -> Result<Option<String>, RulesetError> {
        let all = AccessFs::from_all(LANDLOCK);
        let execute = BitFlags::from(AccessFs::Execute);
        let read = AccessFs::from_read(LANDLOCK) & !execute;
        let write = all & !(execute | AccessFs::MakeBlock | AccessFs::MakeChar);
        let handled = if exec { all & !execute } else { all };
        let status = Ruleset::default()
            .handle_access(handled)?
            .scope(Scope::Signal | Scope::AbstractUnixSocket)?
            .create()?
            .add_rules(path_beneath_rules(&grants.read, read))?
            .add_rules(path_beneath_rules(&grants.write, write))?
            .restrict_self()?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => None,
            RulesetStatus::PartiallyEnforced => Some(
                "the kernel's landlock is older than version 6: truncating files, signals or devices are not kept from the plugin"
                    .to_owned(),
            ),
            RulesetStatus::NotEnforced => Some(
                "the kernel has no landlock: the plugin can read and write every file that the operator can"
                    .to_owned(),
            ),
        })
    }

    /// What no plugin needs: debugging others, mounts, namespaces, modules, keys, the clock, whose files are and who may read
    /// them, and rings that get around this.
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
    /// Newer ways to do what is among the ones above, of Linux 6.6 to 6.17. Their numbers are the same on all processors; `libc`
    /// has no names for them yet.
    const NEVER_NEWER: [(libc::c_long, &str); 5] = [
        (452, "fchmodat2"),
        (463, "setxattrat"),
        (466, "removexattrat"),
        (467, "open_tree_attr"),
        (469, "file_setattr"),
    ];
    /// Of processors that had them before the ones above.
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

    /// A call that is refused, in any of these cases; in every case where there are none.
    pub(crate) struct Forbidden {
        pub(crate) call: libc::c_long,
        #[cfg_attr(
            not(feature = "probe"),
            expect(dead_code, reason = "for what is recorded of a watched worker")
        )]
        pub(crate) name: &'static str,
        pub(crate) cases: Vec<SeccompRule>,
    }

    /// What no plugin may call. Starting processes is not among it.
    ///
    /// Of sockets there are those of the network, and with `exec` those of this machine's services, many of which start
    /// programs for whoever asks.
    fn forbidden(exec: bool) -> io::Result<Vec<Forbidden>> {
        let not = |argument, value: i32| when(argument, Is::Ne, value);
        let others = |name, call, pid| Ok((name, call, vec![case(vec![not(pid, 0)?])?]));
        let others: [io::Result<_>; 6] = [
            others("prlimit", libc::SYS_prlimit64, 0),
            others("sched_setaffinity", libc::SYS_sched_setaffinity, 0),
            others("sched_setattr", libc::SYS_sched_setattr, 0),
            others("sched_setparam", libc::SYS_sched_setparam, 0),
            others("sched_setscheduler", libc::SYS_sched_setscheduler, 0),
            others("migrate_pages", libc::SYS_migrate_pages, 0),
        ];
        let mut families = vec![
            not(0, libc::AF_INET)?,
            not(0, libc::AF_INET6)?,
            not(0, libc::AF_NETLINK)?,
        ];
        if exec {
            families.push(not(0, libc::AF_UNIX)?);
        }
        // The first argument says whether the second is a process, a group or a person.
        let process_alone =
            |process| io::Result::Ok(vec![case(vec![not(0, process)?])?, case(vec![not(1, 0)?])?]);
        let by_path =
            SeccompCondition::new(1, Length::Qword, Is::Ne, 0).map_err(io::Error::other)?;
        let mut conditional = others.into_iter().collect::<io::Result<Vec<_>>>()?;
        conditional.extend([
            ("socket", libc::SYS_socket, vec![case(families)?]),
            ("setpriority", libc::SYS_setpriority, process_alone(0)?),
            ("ioprio_set", libc::SYS_ioprio_set, process_alone(1)?),
            ("utimensat", libc::SYS_utimensat, vec![case(vec![by_path])?]),
        ]);
        let conditional = conditional
            .into_iter()
            .map(|(name, call, cases)| Forbidden { call, name, cases });
        let never = NEVER.into_iter().chain(NEVER_NEWER).chain(NEVER_OLDER);
        let never = never.map(|(call, name)| Forbidden {
            call,
            name,
            cases: Vec::new(),
        });
        Ok(never.chain(conditional).collect())
    }

    fn when(argument: u8, is: Is, value: i32) -> io::Result<SeccompCondition> {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, Length::Dword, is, value).map_err(io::Error::other)
    }

    /// The case in which all of these are so.
    fn case(conditions: Vec<SeccompCondition>) -> io::Result<SeccompRule> {
        SeccompRule::new(conditions).map_err(io::Error::other)
    }

    /// Starting what is no thread of this process; with `exec`, only in namespaces of its own.
    fn starting(exec: bool) -> io::Result<Vec<Forbidden>> {
        let cases = if exec {
            let own = NAMESPACES.map(|flag| {
                let flag = u64::from(flag.cast_unsigned());
                let is = SeccompCondition::new(0, Length::Qword, Is::MaskedEq(flag), flag);
                case(vec![is.map_err(io::Error::other)?])
            });
            own.into_iter().collect::<io::Result<Vec<_>>>()?
        } else {
            let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
            let is = SeccompCondition::new(0, Length::Qword, Is::MaskedEq(thread), 0);
            vec![case(vec![is.map_err(io::Error::other)?])?]
        };
        let refused = |(call, name)| Forbidden {
            call,
            name,
            cases: Vec::new(),
        };
        let clone = Forbidden {
            call: libc::SYS_clone,
            name: "clone",
            cases,
        };
        let mut starting = vec![clone];
        if !exec {
            starting.extend(STARTING_PROGRAMS.map(|call| refused((call, "exec"))));
            #[cfg(target_arch = "x86_64")]
            starting.extend([(libc::SYS_fork, "fork"), (libc::SYS_vfork, "vfork")].map(refused));
        }
        Ok(starting)
    }

    /// A filter that does this with these calls, and leaves all others be.
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

    /// Refuses these calls from now on; gives what the kernel lacks. A plugin can say what it was refused.
    pub(crate) fn refuse(
        forbidden: impl IntoIterator<Item = Forbidden>,
        error: i32,
    ) -> io::Result<Option<String>> {
        if TargetArch::try_from(env::consts::ARCH).is_err() {
            let why = "there is no seccomp filter for this processor";
            return Ok(Some(lacking(why)));
        }
        let calls = forbidden.into_iter().map(|one| (one.call, one.cases));
        let answer = SeccompAction::Errno(error.cast_unsigned());
        match apply_filter(&program(calls, answer)?) {
            Ok(()) => Ok(None),
            Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error))
                if is_unsupported(&error) =>
            {
                Ok(Some(lacking("the kernel has no seccomp")))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Whoever wants threads by it falls back to `clone`, whose flags a filter can read.
    pub(crate) fn hide_clone3() -> io::Result<Option<String>> {
        let clone3 = Forbidden {
            call: libc::SYS_clone3,
            name: "clone3",
            cases: Vec::new(),
        };
        refuse([clone3], libc::ENOSYS)
    }

    #[cfg(feature = "probe")]
    /// What the listener refuses in the kernel's place. Unlike elsewhere, processes can be started, so that the program that
    /// they would run is known by its name.
    pub(crate) fn refused_when_watched(exec: bool) -> io::Result<Vec<Forbidden>> {
        let in_own_namespaces = starting(true)?;
        Ok(forbidden(exec)?
            .into_iter()
            .chain(in_own_namespaces)
            .collect())
    }

    /// Gives what the kernel lacks.
    pub(super) fn forbid_calls(exec: bool) -> io::Result<Option<String>> {
        let all = forbidden(exec)?.into_iter().chain(starting(exec)?);
        Ok(hide_clone3()?.or(refuse(all, libc::EPERM)?))
    }

    fn is_unsupported(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
    }

    pub(crate) fn lacking(why: &str) -> String {
        format!("{why}: mounts, debugging and other system calls are not kept from the plugin")
    }
}
