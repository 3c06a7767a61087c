//! The calls of a plugin, their replies, and the frames that carry both between processes.
//!
//! A frame is its length as four little-endian bytes, then that many bytes of JSON. Documents are embedded without escaping.

use std::{io, path::PathBuf};

use operator_model::Sandbox;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::file::error::LoadErrorKind;

/// The largest document that is accepted from a plugin.
pub(crate) const MAX_DOCUMENT: usize = 16 << 20;
/// With room for what surrounds the document.
const MAX_FRAME: usize = MAX_DOCUMENT + (64 << 10);
/// The number of file descriptors that one frame can carry.
pub(crate) const MAX_DESCRIPTORS: usize = 2;

/// A call, in the order in which a plugin receives them first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    /// Confine the process: a [`ConfineRequest`]. Only a worker supports it.
    Confine,
    /// Open the library: a [`LoadRequest`].
    Load,
    Describe,
    /// Create the subject from its configuration.
    Create,
    Observe,
    Check,
    ListActions,
    Invoke,
    /// Drop the subject.
    Drop,
    /// A `ProbeBatch` of the conformance suite.
    #[cfg(feature = "probe")]
    Probe,
}

impl Call {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Confine => "confine",
            Self::Load => "load",
            Self::Describe => "describe",
            Self::Create => "create",
            Self::Observe => "observe",
            Self::Check => "check",
            Self::ListActions => "list_actions",
            Self::Invoke => "invoke",
            Self::Drop => "drop",
            #[cfg(feature = "probe")]
            Self::Probe => "probe",
        }
    }
}

/// The body of [`Call::Load`].
#[derive(Serialize, Deserialize)]
pub(crate) struct LoadRequest {
    pub(crate) library: PathBuf,
    /// The file for an explanation that is too long for one line.
    pub(crate) report: PathBuf,
}

/// The body of [`Call::Confine`]. The reply is a `Confinement`.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConfineRequest {
    pub(crate) sandbox: Sandbox,
    /// The library that will be loaded, which the worker must be able to read.
    pub(crate) library: PathBuf,
    /// Whether the reply brings descriptors with which the plugin's system calls can be recorded.
    pub(crate) watched: bool,
}

/// A call to a worker. Has no `Debug`, because it can hold secrets.
#[derive(Serialize, Deserialize)]
pub(crate) struct RequestFrame<'a> {
    pub(crate) id: u64,
    pub(crate) call: Call,
    #[serde(borrow)]
    pub(crate) body: &'a RawValue,
}

/// The reply to the request with the same id.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReplyFrame {
    pub(crate) id: u64,
    pub(crate) reply: Reply,
}

/// How a call ended in the plugin.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Document(Box<RawValue>),
    /// An error that the plugin returned.
    Error {
        kind: String,
        message: String,
        retryable: bool,
    },
    /// Something that is not a document, or that is too large.
    Invalid(String),
    /// The library cannot be opened.
    LoadFailed(LoadErrorKind, String),
}

/// Encodes a value as a frame.
pub(crate) fn frame<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, value)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The number of bytes after this head of a frame; an error when it exceeds the limit.
pub(crate) fn body_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(head) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes exceeds the limit of {MAX_FRAME}"),
        ));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_copied_into_its_frame_unchanged() {
        let body = RawValue::from_string(r#"{"a":  "\u00e4"}"#.into()).unwrap();
        let bytes = frame(&RequestFrame {
            id: 7,
            call: Call::Check,
            body: &body,
        })
        .unwrap();
        let head = bytes[..4].try_into().unwrap();
        assert_eq!(body_length(head).unwrap(), bytes.len() - 4);
        let read: RequestFrame = serde_json::from_slice(&bytes[4..]).unwrap();
        assert_eq!((read.id, read.call), (7, Call::Check));
        assert_eq!(read.body.get(), body.get());
    }

    #[test]
    fn a_reply_is_read_back_from_its_frame() {
        let reply = Reply::Document(RawValue::from_string("[1]".into()).unwrap());
        let bytes = frame(&ReplyFrame { id: 1, reply }).unwrap();
        let read: ReplyFrame = serde_json::from_slice(&bytes[4..]).unwrap();
        assert!(matches!(read.reply, Reply::Document(raw) if raw.get() == "[1]"));
    }

    #[test]
    fn a_frame_above_the_limit_is_refused() {
        assert!(body_length([0xff; 4]).is_err());
    }
}
