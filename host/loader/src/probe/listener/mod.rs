//! Records what a plugin attempts, from the system calls of its worker.
//!
//! The worker installs a seccomp filter with user notification: the kernel asks the holder of the filter's descriptor before it
//! makes certain calls. The worker sends that descriptor to the process of the conformance case and closes its own copy, before
//! any of the plugin's code runs. So the plugin can neither close the descriptor nor answer notifications itself.
//!
//! The case's process reads the arguments of each call, records an attempt if the sandbox does not permit the call, and lets the
//! call continue. Landlock enforces the sandbox, as in every other worker. Calls that seccomp refuses in other workers are
//! refused in the answer to the notification.
//!
//! Limits: a plugin that changes a path in memory after the listener has read it, and before the kernel does, evades the record.
//! It does not evade landlock. Programs that the plugin is permitted to start are not recorded.

mod access;
mod answer;
mod attempts;
mod caller;
mod effects;
mod granted;
mod inspect;
pub(crate) mod install;
mod notify;
mod path;

pub(crate) use answer::Listener;
