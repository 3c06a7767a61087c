//! The process, or the thread, in which a plugin's code runs, and the operator's side of it.

pub(crate) mod client;
pub(crate) mod in_process;
pub(crate) mod library;
pub(crate) mod log;
pub(crate) mod process;
pub(crate) mod protocol;
pub(crate) mod serve;
pub(crate) mod session;
