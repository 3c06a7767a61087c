//! HTTP requests that end in time, whatever the other side does.

use std::{
    io::{ErrorKind as Io, Read},
    time::Duration,
};

use serde_json::Value;
use ureq::{
    Agent, Body,
    http::{Method, Request, Response, header},
};

use crate::endpoint::Endpoint;

/// The largest body that is read whole. The largest honest one, 5,000 stores of 1.3 KiB, is smaller.
pub(crate) const MAX_BODY_BYTES: u64 = 16 << 20;

/// What is said where a name leads to no address, as that of a container that is gone.
const NO_SUCH_HOST: &str = "the host's name leads nowhere: no such host, or its container is gone";

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection came about, so the other side saw nothing of the request.
    NotSent(String),
    /// The request may have been seen, but no whole answer came.
    NoAnswer(String),
    /// What came is no HTTP.
    Garbage(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NotSent(why) | Self::NoAnswer(why) | Self::Garbage(why)) = self;
        f.write_str(why)
    }
}

/// An answer, whatever it says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The other side's clock, by its `Date` header. Milliseconds since the Unix epoch, whole seconds.
    pub(crate) date_ms: Option<i64>,
    pub(crate) body: Vec<u8>,
    /// Whether the body went on after what is here.
    pub(crate) truncated: bool,
}

/// A request that changes something.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
}

/// The one HTTP client of a subject.
pub(crate) struct Http {
    agent: Agent,
}

impl Http {
    pub(crate) fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A proxy of the environment is none of the cluster's, and would see credentials.
            .proxy(None)
            // A kept connection that died in between would make a healthy PD look down.
            .max_idle_connections(0)
            .user_agent(concat!("operator-tikv/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.new_agent(),
        }
    }

    /// Reads at most `most` bytes of the answer's body.
    pub(crate) fn get(
        &self,
        endpoint: &Endpoint,
        path: &str,
        timeout: Duration,
        most: u64,
    ) -> Result<Answer, Fault> {
        let request = Request::get(endpoint.at(path)).header("X-Caller-ID", "operator");
        self.run(request.body(()), timeout, most)
    }

    pub(crate) fn get_with_token(
        &self,
        endpoint: &Endpoint,
        path: &str,
        token: Option<&str>,
        timeout: Duration,
    ) -> Result<Answer, Fault> {
        let mut request = Request::get(endpoint.at(path));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.run(request.body(()), timeout, MAX_BODY_BYTES)
    }

    pub(crate) fn send(
        &self,
        endpoint: &Endpoint,
        change: &Change,
        timeout: Duration,
    ) -> Result<Answer, Fault> {
        let request = Request::builder()
            .method(&change.method)
            .uri(endpoint.at(&change.path))
            .header("X-Caller-ID", "operator");
        match &change.body {
            Some(body) => {
                let request = request
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(body.to_string());
                self.run(request, timeout, MAX_BODY_BYTES)
            }
            None => self.run(request.body(()), timeout, MAX_BODY_BYTES),
        }
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        request: Result<Request<B>, ureq::http::Error>,
        timeout: Duration,
        most: u64,
    ) -> Result<Answer, Fault> {
        if timeout.is_zero() {
            return Err(Fault::NotSent("there was no time left to ask".into()));
        }
        let request =
            request.map_err(|_| Fault::NotSent("the request cannot be written".into()))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_connect(Some(timeout.min(CONNECT)))
            .timeout_global(Some(timeout))
            .build();
        read(
            self.agent.run(request).map_err(|error| fault(&error))?,
            most,
        )
    }
}

/// A connection within a data centre takes milliseconds; one that takes longer is taken for none.
const CONNECT: Duration = Duration::from_millis(900);

fn read(mut response: Response<Body>, most: u64) -> Result<Answer, Fault> {
    let date = response.headers().get(header::DATE);
    let date_ms = date.and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
    let mut body = Vec::new();
    let mut reader = response.body_mut().as_reader().take(most + 1);
    reader.read_to_end(&mut body).map_err(|error| {
        Fault::NoAnswer(format!("the answer broke off: {}", words(error.kind())))
    })?;
    let truncated = body.len() as u64 > most;
    body.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Ok(Answer {
        status: response.status().as_u16(),
        date_ms: date_ms.map(|zoned| zoned.timestamp().as_millisecond()),
        body,
        truncated,
    })
}

/// ureq's own messages can repeat a URL, so they are replaced by words of ours.
fn fault(error: &ureq::Error) -> Fault {
    use ureq::{Error, Timeout};
    match error {
        Error::HostNotFound => Fault::NotSent(NO_SUCH_HOST.into()),
        Error::ConnectionFailed => Fault::NotSent("no connection".into()),
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Fault::NotSent("no connection in time".into())
        }
        Error::Timeout(_) => Fault::NoAnswer("no answer in time".into()),
        Error::Io(io) if is_of_resolver(io) => Fault::NotSent(NO_SUCH_HOST.into()),
        Error::Io(io) => match io.kind() {
            kind @ (Io::ConnectionRefused
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::AddrNotAvailable) => Fault::NotSent(words(kind)),
            kind => Fault::NoAnswer(words(kind)),
        },
        Error::Protocol(_) => Fault::Garbage("the answer is no HTTP".into()),
        _ => Fault::NoAnswer("the request failed".into()),
    }
}

/// What the system's resolver says has no kind that could be matched; the standard library puts these words before it.
fn is_of_resolver(error: &std::io::Error) -> bool {
    let text = error.to_string();
    text.starts_with("failed to lookup address information")
}

fn words(kind: Io) -> String {
    match kind {
        Io::ConnectionRefused => "connection refused".into(),
        Io::HostUnreachable | Io::NetworkUnreachable | Io::AddrNotAvailable => {
            "not reachable".into()
        }
        Io::ConnectionReset | Io::UnexpectedEof | Io::BrokenPipe => {
            "the connection broke off".into()
        }
        Io::TimedOut | Io::WouldBlock => "no answer in time".into(),
        kind => format!("the connection failed: {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_a_host_without_an_address_nothing_is_sent() {
        let endpoint = Endpoint::of_member("http://no-such-host.invalid:2379").unwrap();
        let answer = Http::new().get(&endpoint, "/", Duration::from_secs(5), 1);
        assert_eq!(answer.unwrap_err(), Fault::NotSent(NO_SUCH_HOST.into()));
    }
}
