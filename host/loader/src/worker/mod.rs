//! The process, or the thread, in which a plugin's code runs, and the operator's side of it.

pub(crate) mod client;
pub(crate) mod in_process;
#[cfg(target_os = "linux")]
pub(crate) mod keeper;
pub(crate) mod library;
pub(crate) mod log;
pub(crate) mod overuse;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod protocol;
pub(crate) mod serve;
pub(crate) mod session;
