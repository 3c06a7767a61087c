//! What a worker takes from itself before it opens a plugin.

pub(crate) mod confine;
pub(crate) mod confinement;
pub(crate) mod grants;
#[cfg(target_os = "linux")]
pub(crate) mod landlock;
#[cfg(target_os = "linux")]
pub(crate) mod system_calls;
