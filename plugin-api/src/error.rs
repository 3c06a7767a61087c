//! The typed error of a plugin.

use std::fmt;

/// The class of a plugin's error, by which the host decides what to do.
///
/// As the reply to an action, only [`Config`](Self::Config), [`Invalid`](Self::Invalid),
/// [`Unsupported`](Self::Unsupported) and [`Refused`](Self::Refused) mean that nothing was done. After any other kind the
/// outcome counts as unknown: the request may have reached the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The configuration is not usable; nothing was done. The message names the key and the fix.
    Config,
    /// The subject could not be reached, or the connection broke before it answered.
    Unavailable,
    /// The subject did not answer within the deadline.
    Deadline,
    /// The call's arguments are not valid; nothing was done.
    Invalid,
    /// The plugin does not support the request, such as an unknown extension; nothing was done.
    Unsupported,
    /// The subject refused; nothing was done.
    Refused,
    /// The author's code panicked.
    Panic,
    /// Anything else: a defect of the plugin.
    Internal,
}

impl ErrorKind {
    const ALL: [Self; 8] = [
        Self::Config,
        Self::Unavailable,
        Self::Deadline,
        Self::Invalid,
        Self::Unsupported,
        Self::Refused,
        Self::Panic,
        Self::Internal,
    ];

    /// The name that crosses the boundary.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unavailable => "unavailable",
            Self::Deadline => "deadline",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::Panic => "panic",
            Self::Internal => "internal",
        }
    }

    /// The kind of this name; a name from a later version counts as [`ErrorKind::Internal`].
    pub fn from_name(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .unwrap_or(Self::Internal)
    }
}

/// An error of a plugin: its kind, one sentence for people, and whether trying again can help.
///
/// Its message must not contain a secret: it ends up in logs and tickets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The class of the error.
    pub kind: ErrorKind,
    /// Names the operation and its object, and the fix where there is one.
    pub message: String,
    /// Whether the same call can succeed later without a change.
    pub retryable: bool,
}

impl Error {
    /// An error that trying again does not fix.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retryable: false,
        }
    }

    /// An error that may be gone on the next attempt.
    pub fn retryable(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::new(kind, message)
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
