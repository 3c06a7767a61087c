//! What is asked of a plugin, what comes back, and the frames that carry both between processes.
//!
//! A frame is its length as four little-endian bytes, then that much JSON. Documents lie in it as they are, unescaped.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::LoadErrorKind;

/// The largest answer of a plugin that is read.
pub(super) const MAX_ANSWER: usize = 16 << 20;
/// As many descriptors come with a frame at most.
pub(super) const MAX_DESCRIPTORS: usize = 2;
/// Room for what a frame holds beside its document.
const MAX_FRAME: usize = MAX_ANSWER + (64 << 10);

/// What a plugin can be asked, in the order in which it first is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    /// Give up what the plugin does not need: a [`ConfineRequest`]. Only a worker can.
    Confine,
    /// Open the library: a [`LoadRequest`].
    Load,
    Describe,
    /// Make the subject: its configuration.
    Create,
    Observe,
    Check,
    ListActions,
    Invoke,
    /// Drop the subject.
    Drop,
    /// What a conformance case asks: an [`ProbeBatch`](super::probe::ProbeBatch).
    Probe,
}

impl Call {
    pub(super) fn as_str(self) -> &'static str {
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
            Self::Probe => "probe",
        }
    }
}

/// What [`Call::Load`] is asked.
#[derive(Serialize, Deserialize)]
pub(super) struct LoadRequest {
    /// The library.
    pub(super) library: std::path::PathBuf,
    /// Where an explanation that is too long for one line goes.
    pub(super) report: std::path::PathBuf,
}

/// What [`Call::Confine`] is asked. The answer is a `Confinement`.
#[derive(Serialize, Deserialize)]
pub(super) struct ConfineRequest {
    pub(super) sandbox: operator_model::Sandbox,
    /// The library that is loaded next.
    pub(super) library: std::path::PathBuf,
    /// Whether what the plugin tries and is refused is kept, to be asked for.
    pub(super) watched: bool,
}

/// A question. Has no `Debug`, since it may hold secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct Request<'a> {
    pub(super) id: u64,
    pub(super) call: Call,
    #[serde(borrow)]
    pub(super) body: &'a RawValue,
}

/// The answer to the request of the same id.
#[derive(Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) id: u64,
    pub(super) outcome: Outcome,
}

/// How a call ended in the plugin.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// With a JSON document.
    Answer(Box<RawValue>),
    /// With an error of the plugin's.
    Error {
        kind: String,
        message: String,
        retryable: bool,
    },
    /// With something that is no document, or too large.
    Bad(String),
    /// The library cannot be opened.
    Refused(LoadErrorKind, String),
}

/// A value as a frame.
pub(super) fn frame<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, value)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// How many bytes follow this head of a frame; an error when they are more than anyone sends.
pub(super) fn body_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(head) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes, {MAX_FRAME} are allowed"),
        ));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_lies_in_its_frame_as_it_is() {
        let body = RawValue::from_string(r#"{"a":  "\u00e4"}"#.into()).unwrap();
        let bytes = frame(&Request {
            id: 7,
            call: Call::Check,
            body: &body,
        })
        .unwrap();
        let head = bytes[..4].try_into().unwrap();
        assert_eq!(body_length(head).unwrap(), bytes.len() - 4);
        let read: Request = serde_json::from_slice(&bytes[4..]).unwrap();
        assert_eq!((read.id, read.call), (7, Call::Check));
        assert_eq!(read.body.get(), body.get());
    }

    #[test]
    fn a_reply_survives_its_frame() {
        let outcome = Outcome::Answer(RawValue::from_string("[1]".into()).unwrap());
        let bytes = frame(&Reply { id: 1, outcome }).unwrap();
        let read: Reply = serde_json::from_slice(&bytes[4..]).unwrap();
        assert!(matches!(read.outcome, Outcome::Answer(raw) if raw.get() == "[1]"));
    }

    #[test]
    fn an_endless_frame_is_refused() {
        assert!(body_length([0xff; 4]).is_err());
    }
}
