//! A plugin in a worker of its own, of which more can be asked than the operator ever does: any text to any method of any
//! number of instances, in turn or at the same time. Only `conformance` uses it.
//!
//! The plugin runs in a worker like any other. Whoever judges it does so in another process, from what came back and from
//! what the kernel tells of the worker.

use std::path::PathBuf;

use operator_plugin_api::ErrorKind;
use serde::{Deserialize, Serialize};

use super::call::LoadRequest;

/// A method of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// An `ObserveRequest` -> an `Observation`.
    Observe,
    /// An `Observation` -> a `CheckReport`.
    Check,
    /// Nothing -> an `ActionList`.
    ListActions,
    /// An `InvokeRequest` -> an `ActionResult`.
    Invoke,
}

impl Method {
    /// The name used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Check => "check",
            Self::ListActions => "list_actions",
            Self::Invoke => "invoke",
        }
    }
}

/// What kind of thing was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trespass {
    /// Opening a file or a directory to read it.
    Read,
    /// Creating, changing or removing a file or a directory.
    Write,
    /// Starting a program.
    Exec,
    /// Another system call that is kept from plugins.
    Call,
}

/// What a method is given: any text at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// As it is.
    Inline(String),
    /// The content of a file in the worker's directory, for what is too large to be sent.
    File(PathBuf),
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self::Inline(text.into())
    }
}

/// One thing that is asked. Modules are numbered in the order in which they were loaded, instances as the asker likes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeRequest {
    /// Opens one more library, or the same again.
    Load {
        /// The library.
        library: PathBuf,
    },
    /// What a module says of itself.
    Describe {
        /// Which one.
        module: usize,
    },
    /// Makes an instance, in place of another of this number.
    Create {
        /// Of which module.
        module: usize,
        /// Its number from now on.
        instance: u32,
        /// The configuration.
        config: Text,
    },
    /// Calls a method.
    Call {
        /// Of which instance.
        instance: u32,
        /// Which method.
        method: Method,
        /// What it is given.
        text: Text,
    },
    /// Calls an extension.
    Extension {
        /// Of which instance.
        instance: u32,
        /// Its id.
        id: String,
        /// What it is given.
        payload: Text,
    },
    /// Drops an instance.
    Drop {
        /// Which one.
        instance: u32,
    },
    /// Drops an instance after a pause, which counts in what it took. Milliseconds.
    DropAfter {
        /// Which one.
        instance: u32,
        /// The pause.
        pause_ms: u64,
    },
    /// The environment of the process, as `NAME=VALUE` lines.
    Environment,
    /// What a plugin in this process would do to trespass in this way; the answer is an error if it was refused.
    Trespass {
        /// In which way.
        kind: Trespass,
        /// The file, or the program.
        path: PathBuf,
    },
}

/// What came of one [`ProbeRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResponse {
    /// The plugin's answer.
    pub payload: Payload,
    /// How long it took. Microseconds.
    pub took_us: u64,
}

/// What the plugin answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// A text, which may or may not be a document.
    Text(String),
    /// A text that is larger than is read, and how large. Bytes.
    TooLarge(usize),
    /// An error of its own.
    Error {
        /// The name of its kind, as it crossed the boundary.
        kind: String,
        /// Its words.
        message: String,
        /// Whether it says that trying again can help.
        retryable: bool,
    },
    /// Nothing: it could not be asked.
    Nothing(String),
}

impl Payload {
    /// The kind of error, if it is one.
    pub fn error_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Error { kind, .. } => Some(ErrorKind::from_name(kind)),
            _ => None,
        }
    }
}

/// What crosses to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProbeBatch {
    pub(super) asks: Vec<ProbeRequest>,
    /// Each on a thread of its own, all at once; else one after the other on the worker's first thread.
    pub(super) together: bool,
    /// How often all of it is done. Only the last answers come back.
    pub(super) times: u32,
}

/// What a [`Call::Load`] needs, for a library of this path.
pub(super) fn load_request(library: PathBuf) -> LoadRequest {
    let report = library.with_extension("load-error.txt");
    LoadRequest { library, report }
}
