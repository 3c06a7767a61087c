//! PD's HTTP API.

pub(crate) mod error;
pub(crate) mod operator;
pub(crate) mod regions;
#[cfg(test)]
mod replay;
pub(crate) mod units;
pub(crate) mod wire;

use std::time::Duration;

use operator_plugin_kit::{Answer, Change, Endpoint, Http, RequestOptions};
use serde::de::DeserializeOwned;

use error::PdError;

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
        let answer = self.answer(path, RequestOptions::new(timeout))?;
        parse(&answer)
    }

    /// The answer, which is one of success.
    pub(crate) fn answer(
        &self,
        path: &str,
        options: RequestOptions<'_>,
    ) -> Result<Answer, PdError> {
        let path = format!("/pd/api/v1{path}");
        accepted(self.http.get(self.endpoint, &path, named(options))?)
    }

    /// Sends a change, once.
    pub(crate) fn send(&self, change: &Change, timeout: Duration) -> Result<Answer, PdError> {
        let options = named(RequestOptions::new(timeout));
        accepted(self.http.send(self.endpoint, change, options)?)
    }
}

/// PD counts requests by the caller that they name.
fn named(options: RequestOptions<'_>) -> RequestOptions<'_> {
    options.header("X-Caller-ID", "operator")
}

/// Success has no other status than 200.
fn accepted(answer: Answer) -> Result<Answer, PdError> {
    if answer.status == 200 {
        return Ok(answer);
    }
    Err(PdError::of_answer(answer.status, &answer.body))
}

/// The JSON body of a whole answer.
pub(crate) fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, PdError> {
    answer
        .json()
        .map_err(|fault| PdError::foreign(answer.status, &fault.to_string()))
}
