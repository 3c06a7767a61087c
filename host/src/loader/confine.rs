//! Taking from the worker's own process what a plugin does not need, before any of the plugin's code runs.

use std::{env, io, path::Path};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    call::ConfineRequest,
    sandbox::{Confinement, Sandbox},
};

/// What programs, name resolution, clocks, certificates and the runtime read.
#[cfg(target_os = "linux")]
const READABLE: [&str; 40] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/run/systemd/resolve",
    "/proc/cpuinfo",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/self",
    "/proc/stat",
    "/proc/sys/net",
    "/proc/sys/vm",
    "/proc/uptime",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];
#[cfg(target_os = "linux")]
const DEVICES: [&str; 5] = [
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];
/// Certificates of the person's choice; the operator leaves these variables to a worker.
#[cfg(target_os = "linux")]
const READABLE_BY_VARIABLE: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Confines this process and every thread and child that it will have, for good. The working directory stays its own.
///
/// An error means that the kernel could do it and did not; what the kernel cannot do is in the answer.
pub(super) fn confine(asked: &ConfineRequest) -> io::Result<Confinement> {
    limit(&asked.sandbox)?;
    if !asked.sandbox.enabled {
        return Ok(Confinement::lacking(
            "none: it is turned off in the subject's configuration",
        ));
    }
    confine_by_kernel(asked)
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
fn confine_by_kernel(_: &ConfineRequest) -> io::Result<Confinement> {
    Ok(Confinement::lacking(
        "none: this system has neither landlock nor seccomp, so that the plugin can do whatever the operator can",
    ))
}

#[cfg(target_os = "linux")]
pub(super) use linux::{FORBIDDEN, STARTING_PROGRAMS, program};

#[cfg(target_os = "linux")]
fn confine_by_kernel(asked: &ConfineRequest) -> io::Result<Confinement> {
    let sandbox = &asked.sandbox;
    rustix::thread::set_no_new_privs(true)?;
    let files = linux::restrict_files(sandbox, &asked.library).map_err(io::Error::other)?;
    let calls = if asked.watched {
        super::attempts::watch(sandbox.exec)?;
        None
    } else {
        linux::forbid_calls(sandbox.exec)?
    };
    Ok(Confinement {
        missing: files.into_iter().chain(calls).collect(),
    })
}

#[cfg(target_os = "linux")]
mod linux {
    use landlock::{
        ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
        RulesetStatus, Scope, path_beneath_rules,
    };
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

    use super::{DEVICES, Path, READABLE, READABLE_BY_VARIABLE, Sandbox, env, io};

    /// The newest that is used: it keeps signals in.
    const LANDLOCK: ABI = ABI::V6;

    /// Gives what the kernel lacks.
    pub(super) fn restrict_files(
        sandbox: &Sandbox,
        library: &Path,
    ) -> Result<Option<String>, RulesetError> {
        let all = AccessFs::from_all(LANDLOCK);
        let execute = BitFlags::from(AccessFs::Execute);
        let read = AccessFs::from_read(LANDLOCK) & !execute;
        let write = all & !(execute | AccessFs::MakeBlock | AccessFs::MakeChar);
        let handled = if sandbox.exec { all & !execute } else { all };
        let by_variable = READABLE_BY_VARIABLE.iter().filter_map(env::var_os);
        let status = Ruleset::default()
            .handle_access(handled)?
            .scope(Scope::Signal)?
            .create()?
            .add_rules(path_beneath_rules(READABLE, read))?
            .add_rules(path_beneath_rules(by_variable, read))?
            .add_rules(path_beneath_rules([library], read))?
            .add_rules(path_beneath_rules(&sandbox.read, read))?
            .add_rules(path_beneath_rules(DEVICES, write))?
            .add_rules(path_beneath_rules(["."], write))?
            .add_rules(path_beneath_rules(&sandbox.write, write))?
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

    /// What no plugin needs: debugging others, mounts, namespaces, modules, keys, the clock, and rings that get around this.
    pub(in crate::loader) const FORBIDDEN: [(libc::c_long, &str); 41] = [
        (libc::SYS_acct, "acct"),
        (libc::SYS_add_key, "add_key"),
        (libc::SYS_adjtimex, "adjtimex"),
        (libc::SYS_bpf, "bpf"),
        (libc::SYS_chroot, "chroot"),
        (libc::SYS_clock_adjtime, "clock_adjtime"),
        (libc::SYS_clock_settime, "clock_settime"),
        (libc::SYS_delete_module, "delete_module"),
        (libc::SYS_finit_module, "finit_module"),
        (libc::SYS_fsconfig, "fsconfig"),
        (libc::SYS_fsmount, "fsmount"),
        (libc::SYS_fsopen, "fsopen"),
        (libc::SYS_fspick, "fspick"),
        (libc::SYS_init_module, "init_module"),
        (libc::SYS_io_uring_setup, "io_uring_setup"),
        (libc::SYS_kcmp, "kcmp"),
        (libc::SYS_kexec_load, "kexec_load"),
        (libc::SYS_keyctl, "keyctl"),
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
        (libc::SYS_reboot, "reboot"),
        (libc::SYS_request_key, "request_key"),
        (libc::SYS_setdomainname, "setdomainname"),
        (libc::SYS_sethostname, "sethostname"),
        (libc::SYS_setns, "setns"),
        (libc::SYS_settimeofday, "settimeofday"),
        (libc::SYS_swapoff, "swapoff"),
        (libc::SYS_swapon, "swapon"),
        (libc::SYS_umount2, "umount2"),
        (libc::SYS_unshare, "unshare"),
        (libc::SYS_userfaultfd, "userfaultfd"),
    ];
    pub(in crate::loader) const STARTING_PROGRAMS: [libc::c_long; 2] =
        [libc::SYS_execve, libc::SYS_execveat];

    /// A filter that does this with these calls, and leaves all others be.
    pub(in crate::loader) fn program(
        calls: impl Iterator<Item = libc::c_long>,
        action: SeccompAction,
    ) -> io::Result<BpfProgram> {
        let arch = TargetArch::try_from(env::consts::ARCH).map_err(io::Error::other)?;
        let rules = calls.map(|call| (call, Vec::new())).collect();
        SeccompFilter::new(rules, SeccompAction::Allow, action, arch)
            .and_then(BpfProgram::try_from)
            .map_err(io::Error::other)
    }

    /// Gives what the kernel lacks. A forbidden call answers `EPERM`, so that a plugin can say what it was refused.
    pub(super) fn forbid_calls(exec: bool) -> io::Result<Option<String>> {
        if TargetArch::try_from(env::consts::ARCH).is_err() {
            let why = "there is no seccomp filter for this processor";
            return Ok(Some(lacking(why)));
        }
        let starting = STARTING_PROGRAMS.into_iter().filter(|_| !exec);
        let forbidden = FORBIDDEN.into_iter().map(|(call, _)| call).chain(starting);
        let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        match apply_filter(&program(forbidden, refuse)?) {
            Ok(()) => Ok(None),
            Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error))
                if is_unsupported(&error) =>
            {
                Ok(Some(lacking("the kernel has no seccomp")))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn is_unsupported(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
    }

    fn lacking(why: &str) -> String {
        format!("{why}: mounts, debugging and other system calls are not kept from the plugin")
    }
}
