//! Confines the worker's process before any of the plugin's code runs.

use std::{io, os::fd::OwnedFd};

use operator_model::Sandbox;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[cfg(target_os = "linux")]
use crate::sandbox::{landlock, system_calls};
use crate::{
    sandbox::{confinement::Confinement, grants::Grants},
    worker::protocol::ConfineRequest,
};

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
