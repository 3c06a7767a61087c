//! The bounds of documents, for the conformance suite: a probe passes on what does not keep to them.

use crate::{bounds, probe::messages::Method, worker::protocol::Call};

/// Whether a descriptor keeps to the bounds; if not, one line about it.
pub fn check_descriptor(text: &str) -> Result<(), String> {
    bounds::check(Call::Describe, text)
}

/// The same for the document that a method returned.
pub fn check_document(method: Method, text: &str) -> Result<(), String> {
    let call = match method {
        Method::Observe => Call::Observe,
        Method::Check => Call::Check,
        Method::ListActions => Call::ListActions,
        Method::Invoke => Call::Invoke,
    };
    bounds::check(call, text)
}
