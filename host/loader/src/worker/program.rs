//! How the operator starts itself as a worker, or as the keeper of one.

use std::{
    env, io,
    os::fd::RawFd,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The first argument with which the operator starts itself as a worker.
pub(crate) const WORKER: &str = "__worker";
/// The first argument with which it starts itself as the keeper of a worker.
pub(crate) const KEEPER: &str = "__keeper";
/// The first number of a descriptor after the standard streams.
pub(crate) const LOWEST_FD: RawFd = 3;
/// The operator's executable, even if its file has been replaced by another version.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Starts workers from this program instead of the current executable. It must call [`worker_main`](crate::worker_main). For
/// processes that are not the `operator` binary, such as tests. Only the first call has an effect.
pub fn set_worker_program(program: impl Into<PathBuf>) {
    let _ = PROGRAM.set(program.into());
}

pub(crate) fn program() -> io::Result<PathBuf> {
    if let Some(program) = PROGRAM.get() {
        return Ok(program.clone());
    }
    let own = Path::new(OWN_EXECUTABLE);
    if own.exists() {
        Ok(own.to_owned())
    } else {
        env::current_exe()
    }
}
