//! Loads plugins and calls them.
//!
//! [`Plugin::open`] examines a plugin file without running any of its code. [`connect`] gives an [`Observer`], through which a
//! subject is watched; an [`Invoker`] acts on it. The plugin's code runs in a worker process ([`worker_main`]), which confines
//! itself first, or on a thread of this process. Both answer the same calls, so that callers need not know which one it is.
//!
//! This is the only crate that uses `libloading` and `abi_stable`, and the only one of the host with unsafe code.

mod bounds;
mod error;
mod file;
mod handles;
mod health;
mod instance;
mod link;
#[cfg(feature = "probe")]
mod probe;
mod received;
mod sandbox;
mod worker;

pub use error::CallError;
pub use file::{
    error::{LoadError, LoadErrorKind},
    find::{find_plugin, list_plugins},
    plugin::{Candidate, Examined, Plugin, examine},
};
pub use handles::{Invoker, Observed, Observer, WeakObserver, confinement, connect, describe};
pub use health::PluginHealth;
pub use instance::SubjectSpec;
#[cfg(feature = "probe")]
pub use probe::{
    bounds::{check_descriptor, check_document},
    client::Probe,
    messages::{Attempt, AttemptKind, Method, Payload, ProbeRequest, ProbeResponse, Text},
};
pub use sandbox::confinement::Confinement;
pub use worker::{
    process::how_it_ended,
    program::set_worker_program,
    serve::{die_with_parent, take_stdin, worker_main},
};
