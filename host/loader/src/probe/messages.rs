//! The requests and responses of a probe.

use std::path::PathBuf;

use operator_plugin_api::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::worker::protocol::LoadRequest;

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

/// A kind of access that a sandbox can refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// Opening a file or a directory to read it.
    Read,
    /// Creating, changing or removing a file or a directory.
    Write,
    /// Starting a program.
    Exec,
    /// Leaving the process group, or clearing the signal, by which a worker is ended.
    Outlive,
    /// Memory, queues and sockets that other processes can use, or that outlive the worker.
    Share,
    /// Another system call that plugins may not make.
    Call,
}

/// Something that a plugin attempted and its sandbox does not permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The kind of access.
    pub kind: AttemptKind,
    /// The path, followed by the one to which it leads if that differs, or the system call. Without control characters.
    pub what: String,
    /// The refused files. The paths are absolute and free of symbolic links.
    pub files: Vec<PathBuf>,
}

/// The text that a method receives. It need not be a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// As it is.
    Inline(String),
    /// The content of a file in the worker's directory, for a text that is too large for a request.
    File(PathBuf),
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self::Inline(text.into())
    }
}

/// One call. Modules are numbered in the order in which they were loaded; callers choose the numbers of instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeRequest {
    /// Opens another library, or the same one again.
    Load {
        /// The library.
        library: PathBuf,
    },
    /// Calls `describe`.
    Describe {
        /// The module.
        module: usize,
    },
    /// Creates an instance. It replaces the one with the same number.
    Create {
        /// The module.
        module: usize,
        /// The new instance's number.
        instance: u32,
        /// The configuration.
        config: Text,
    },
    /// Calls a method.
    Call {
        /// The instance.
        instance: u32,
        /// The method.
        method: Method,
        /// Its argument.
        text: Text,
    },
    /// Calls an extension.
    Extension {
        /// The instance.
        instance: u32,
        /// The extension's id.
        id: String,
        /// Its argument.
        payload: Text,
    },
    /// Drops an instance.
    Drop {
        /// The instance.
        instance: u32,
    },
    /// Drops an instance after a pause. The response's time includes the pause.
    DropAfter {
        /// The instance.
        instance: u32,
        /// The pause. Milliseconds.
        pause_ms: u64,
    },
    /// The environment of the process, as `NAME=VALUE` lines.
    Environment,
    /// Attempts something that the sandbox does not permit. The response is an error if it was refused.
    Attempt {
        /// The kind of access.
        kind: AttemptKind,
        /// The file, or the program.
        path: PathBuf,
    },
}

/// The response to one [`ProbeRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResponse {
    /// The plugin's answer.
    pub payload: Payload,
    /// The duration of the call. Microseconds.
    pub took_us: u64,
}

/// The plugin's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// A text, which need not be a document.
    Text(String),
    /// A text above the limit. Its size in bytes.
    TooLarge(usize),
    /// An error that the plugin returned.
    Error {
        /// The name of its kind.
        kind: String,
        /// The plugin's message.
        message: String,
        /// Whether a later attempt can succeed, according to the plugin.
        retryable: bool,
    },
    /// No answer, and why.
    Nothing(String),
}

impl Payload {
    /// The kind of error; `None` if it is not an error.
    pub fn error_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Error { kind, .. } => Some(ErrorKind::from_name(kind)),
            _ => None,
        }
    }
}

/// The requests of one frame.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProbeBatch {
    pub(crate) requests: Vec<ProbeRequest>,
    /// Each on its own thread, at the same time; else one after the other on the worker's first thread.
    pub(crate) concurrent: bool,
    /// The number of repetitions. Only the responses of the last one are returned.
    pub(crate) times: u32,
}

/// The request that loads this library.
pub(crate) fn load_request(library: PathBuf) -> LoadRequest {
    let report = library.with_extension("load-error.txt");
    LoadRequest { library, report }
}
