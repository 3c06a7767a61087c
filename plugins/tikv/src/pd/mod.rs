//! PD's HTTP API, as PD speaks it.

pub(crate) mod error;
pub(crate) mod operator;
pub(crate) mod regions;
#[cfg(test)]
mod replay;
pub(crate) mod units;
pub(crate) mod wire;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use crate::{
    endpoint::Endpoint,
    http::{Answer, Change, Http, MAX_BODY_BYTES},
};

use error::PdError;

/// Everything but what may stand in a path segment as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A text as one segment of a path or one value of a query.
pub(crate) fn segment(text: &str) -> String {
    // A lone `.` or `..` would be resolved away by whoever normalises the path.
    match text {
        "." => "%2E".into(),
        ".." => "%2E%2E".into(),
        _ => utf8_percent_encode(text, ENCODED).to_string(),
    }
}

/// One PD that is asked. A follower passes on to the leader what it cannot answer itself.
#[derive(Clone, Copy)]
pub(crate) struct Pd<'a> {
    pub(crate) http: &'a Http,
    pub(crate) endpoint: &'a Endpoint,
}

impl Pd<'_> {
    /// `path` is what follows `/pd/api/v1`.
    pub(crate) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        timeout: Duration,
    ) -> Result<T, PdError> {
        self.answer(path, timeout, MAX_BODY_BYTES)
            .and_then(|answer| parse(&answer))
    }

    /// An answer of 2xx, of which at most `most` bytes of the body are read.
    pub(crate) fn answer(
        &self,
        path: &str,
        timeout: Duration,
        most: u64,
    ) -> Result<Answer, PdError> {
        let path = format!("/pd/api/v1{path}");
        accepted(self.http.get(self.endpoint, &path, timeout, most)?)
    }

    /// Sends what changes something, once.
    pub(crate) fn send(&self, change: &Change, timeout: Duration) -> Result<Answer, PdError> {
        accepted(self.http.send(self.endpoint, change, timeout)?)
    }
}

/// Success has no other status than 200.
fn accepted(answer: Answer) -> Result<Answer, PdError> {
    if answer.status == 200 {
        return Ok(answer);
    }
    Err(PdError::of_answer(answer.status, &answer.body))
}

/// The body of a whole answer.
pub(crate) fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, PdError> {
    if answer.truncated {
        return Err(PdError::foreign(answer.status, "the answer is too large"));
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        let message = format!("answered {} with no such JSON: {error}", answer.status);
        PdError::foreign(answer.status, &message)
    })
}
