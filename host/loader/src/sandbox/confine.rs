//! Confines the worker's process before any of the plugin's code runs.

use std::{io, os::fd::OwnedFd};

use operator_model::Sandbox;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
#[cfg(target_os = "linux")]
use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

#[cfg(target_os = "linux")]
use crate::sandbox::{landlock, system_calls};
use crate::{
    sandbox::{confinement::Confinement, grants::Grants},
    worker::protocol::ConfineRequest,
};

/// The largest file that a worker can write. Bytes.
#[cfg(target_os = "linux")]
const LARGEST_FILE: u64 = 1 << 30;
/// What it can keep from being swapped: enough for keys. Bytes.
#[cfg(target_os = "linux")]
const MOST_LOCKED: u64 = 1 << 20;

/// The result of confining this process.
pub(crate) struct Confined {
    pub(crate) confinement: Confinement,
    /// The descriptors for the listener of a watched process. They must be closed before any of the plugin's code runs.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Confines this process with all of its future threads and children, permanently. It can write in its working directory.
///
/// An error means that the kernel supports it and it failed; what the kernel does not support is in the result.
pub(crate) fn confine(request: &ConfineRequest) -> io::Result<Confined> {
    limit(&request.sandbox)?;
    if !request.sandbox.enabled {
        return Ok(unconfined(
            "none: it is turned off in the subject's configuration",
        ));
    }
    confine_by_kernel(request)
}

fn unconfined(why: &str) -> Confined {
    Confined {
        confinement: Confinement::lacking(why),
        descriptors: Vec::new(),
    }
}

/// Sets resource limits. A lower hard limit is kept.
fn limit(sandbox: &Sandbox) -> io::Result<()> {
    lower([
        (Resource::As, u64::from(sandbox.memory_mib) << 20),
        (Resource::Nofile, u64::from(sandbox.open_files)),
        (Resource::Core, 0),
    ])
}

fn lower(limits: impl IntoIterator<Item = (Resource, u64)>) -> io::Result<()> {
    for (resource, most) in limits {
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

/// Sets limits for what no plugin needs: large files, locked memory, queues, and priority over other processes.
#[cfg(target_os = "linux")]
fn limit_privileges() -> io::Result<()> {
    lower([
        (Resource::Fsize, LARGEST_FILE),
        (Resource::Memlock, MOST_LOCKED),
        (Resource::Msgqueue, 0),
        (Resource::Nice, 0),
        (Resource::Rtprio, 0),
    ])
}

/// Gives up all capabilities, of this process and of all that it starts: even root has no more rights than the files' owner.
#[cfg(target_os = "linux")]
fn drop_capabilities() -> io::Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // It was the last one; or this process may not do that, and so cannot gain any either: see `set_no_new_privs`.
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match clear_ambient_capability_set() {
        // A kernel that has no such set.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, none)?)
}

#[cfg(not(target_os = "linux"))]
fn confine_by_kernel(_: &ConfineRequest) -> io::Result<Confined> {
    Ok(unconfined(
        "none: this system has neither landlock nor seccomp; the plugin can do whatever the operator can",
    ))
}

#[cfg(target_os = "linux")]
fn confine_by_kernel(request: &ConfineRequest) -> io::Result<Confined> {
    let exec = request.sandbox.exec;
    rustix::thread::set_no_new_privs(true)?;
    let (directory, process) = (".".as_ref(), "/proc/self".as_ref());
    let grants = Grants::new(&request.sandbox, &request.library, directory, process);
    let files = landlock::restrict_files(&grants, exec).map_err(io::Error::other)?;
    limit_privileges()?;
    // After the granted files were opened, which other users may own.
    drop_capabilities()?;
    let (calls, descriptors) = forbid_calls(exec, request.watched)?;
    Ok(Confined {
        confinement: Confinement {
            missing: files.into_iter().chain(calls).collect(),
        },
        descriptors,
    })
}

/// Returns what the kernel does not support, and the descriptors for the listener of a watched process.
#[cfg(all(target_os = "linux", feature = "probe"))]
fn forbid_calls(exec: bool, watched: bool) -> io::Result<(Option<String>, Vec<OwnedFd>)> {
    if !watched {
        return Ok((system_calls::forbid_calls(exec)?, Vec::new()));
    }
    Ok(match crate::probe::listener::install::install(exec)? {
        Ok(descriptors) => (None, descriptors),
        Err(missing) => (Some(missing), Vec::new()),
    })
}

#[cfg(all(target_os = "linux", not(feature = "probe")))]
fn forbid_calls(exec: bool, _: bool) -> io::Result<(Option<String>, Vec<OwnedFd>)> {
    Ok((system_calls::forbid_calls(exec)?, Vec::new()))
}
