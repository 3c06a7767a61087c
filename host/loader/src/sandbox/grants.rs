//! The files that a worker can read and write. Landlock enforces this list, and the listener of the conformance suite compares
//! attempts with it.

use std::{
    env,
    path::{Path, PathBuf},
};

use operator_model::Sandbox;

/// Files that programs, name resolution, clocks, certificates and language runtimes need.
const READABLE: [&str; 51] = [
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
    "/etc/crypto-policies",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/run/systemd/resolve",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/kernel/ngroups_max",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/random",
    "/proc/sys/net",
    "/proc/sys/vm",
    "/proc/uptime",
    "/proc/version",
    "/proc/vmstat",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
    "/var/lib/ca-certificates",
];
const DEVICES: [&str; 5] = [
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];
/// Variables with the paths of certificates. A worker inherits them from the operator's environment.
const READABLE_BY_VARIABLE: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Paths that a worker can access, with everything beneath them.
pub(crate) struct Grants {
    pub(crate) read: Vec<PathBuf>,
    /// Includes reading and removing.
    pub(crate) write: Vec<PathBuf>,
}

impl Grants {
    /// The grants of a worker with this sandbox, library, working directory, and directory in `/proc`.
    pub(crate) fn new(sandbox: &Sandbox, library: &Path, directory: &Path, process: &Path) -> Self {
        let system = READABLE.iter().map(PathBuf::from);
        let by_variable = READABLE_BY_VARIABLE.iter().filter_map(env::var_os);
        let read = system
            .chain(by_variable.map(PathBuf::from))
            .chain([process.to_owned(), library.to_owned()])
            .chain(sandbox.read.iter().map(|path| directory.join(path)));
        let devices = DEVICES.iter().map(PathBuf::from);
        let write = devices
            .chain([directory.to_owned()])
            .chain(sandbox.write.iter().map(|path| directory.join(path)));
        Self {
            read: read.collect(),
            write: write.collect(),
        }
    }
}
