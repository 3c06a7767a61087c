//! HTTP requests that end in time, whatever the other side does.

use std::{io::ErrorKind as Io, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::{
    Agent,
    http::{Method, Request},
};

use crate::endpoint::Endpoint;

/// The largest body that is read. The largest honest one, a node's metrics with 1,000 keys of 512 bytes, is far smaller.
const MAX_BODY_BYTES: u64 = 4 << 20;

/// How much of another program's own message is repeated.
const MAX_MESSAGE_CHARS: usize = 200;

/// What is said where a name leads to no address, as that of a container that is gone.
pub(crate) const NO_SUCH_HOST: &str =
    "the host's name leads nowhere: no such host, or its container is gone";

/// Why there is no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection came about, so the other side saw nothing of the request.
    NotSent(String),
    /// The request may have been seen, but no whole answer came in time.
    TimedOut(String),
    /// The request may have been seen, but the connection broke off before a whole answer came.
    NoAnswer(String),
    /// An answer came, and it says no.
    Status(u16, String),
    /// An answer came, and it is not what was asked for.
    Garbage(String),
}

impl Fault {
    /// For programs to tell apart.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "not_sent",
            Self::TimedOut(_) => "timed_out",
            Self::NoAnswer(_) => "no_answer",
            Self::Status(..) => "status",
            Self::Garbage(_) => "garbage",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(why) | Self::TimedOut(why) | Self::NoAnswer(why) | Self::Garbage(why) => {
                f.write_str(why)
            }
            Self::Status(status, message) if message.is_empty() => write!(f, "answered {status}"),
            Self::Status(status, message) => write!(f, "answered {status}: {message}"),
        }
    }
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// The body of an answer of 2xx.
    pub(crate) fn ok<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        if !(200..300).contains(&self.status) {
            return Err(Fault::Status(self.status, self.message()));
        }
        self.json()
    }

    /// The body, whatever the status.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Fault::Garbage(format!(
                "answered {} with no such JSON: {error}",
                self.status
            ))
        })
    }

    pub(crate) fn text(&self) -> Result<&str, Fault> {
        if self.status != 200 {
            return Err(Fault::Status(self.status, self.message()));
        }
        std::str::from_utf8(&self.body).map_err(|_| Fault::Garbage("answered with no text".into()))
    }

    /// The other side's own words, where they are JSON of either form: `{"error":{"message"}}` or `{"error"|"detail"}`.
    fn message(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let words = body
            .pointer("/error/message")
            .or(body.get("error"))
            .or(body.get("detail"));
        let words = words.and_then(Value::as_str).unwrap_or_default();
        words
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_MESSAGE_CHARS)
            .collect()
    }
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
            // A proxy of the environment is none of the cluster's, and would see the token.
            .proxy(None)
            // A kept connection that died in between would make a healthy node look down.
            .max_idle_connections(0)
            .user_agent(concat!("operator-ratelimiter/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.new_agent(),
        }
    }

    pub(crate) fn get(
        &self,
        endpoint: &Endpoint,
        path: &str,
        timeout: Duration,
    ) -> Result<Answer, Fault> {
        let request = Request::get(endpoint.at(path)).body(());
        self.run(request.map_err(|_| bad_request())?, timeout, timeout)
    }

    pub(crate) fn send(
        &self,
        endpoint: &Endpoint,
        change: &Change,
        token: Option<&str>,
        connect: Duration,
        timeout: Duration,
    ) -> Result<Answer, Fault> {
        let mut request = Request::builder()
            .method(&change.method)
            .uri(endpoint.at(&change.path));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        match &change.body {
            Some(body) => {
                let request = request
                    .header("Content-Type", "application/json")
                    .body(body.to_string());
                self.run(request.map_err(|_| bad_request())?, connect, timeout)
            }
            None => self.run(
                request.body(()).map_err(|_| bad_request())?,
                connect,
                timeout,
            ),
        }
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        request: Request<B>,
        connect: Duration,
        timeout: Duration,
    ) -> Result<Answer, Fault> {
        if timeout.is_zero() {
            return Err(Fault::NotSent("there was no time left to ask".into()));
        }
        let request = self
            .agent
            .configure_request(request)
            .timeout_connect(Some(connect))
            .timeout_global(Some(timeout))
            .build();
        let mut response = self.agent.run(request).map_err(|error| fault(&error))?;
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_BODY_BYTES)
            .read_to_vec();
        Ok(Answer {
            status: response.status().as_u16(),
            body: body.map_err(|error| broken_body(&error))?,
        })
    }
}

fn bad_request() -> Fault {
    Fault::NotSent("the request cannot be written".into())
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
        Error::Timeout(_) => Fault::TimedOut("no answer in time".into()),
        Error::Io(io) if is_of_resolver(io) => Fault::NotSent(NO_SUCH_HOST.into()),
        Error::Io(io) => match io.kind() {
            Io::ConnectionRefused => Fault::NotSent("connection refused".into()),
            Io::HostUnreachable | Io::NetworkUnreachable | Io::AddrNotAvailable => {
                Fault::NotSent("not reachable".into())
            }
            Io::ConnectionReset | Io::UnexpectedEof | Io::BrokenPipe => {
                Fault::NoAnswer("the connection broke off".into())
            }
            Io::TimedOut | Io::WouldBlock => Fault::TimedOut("no answer in time".into()),
            kind => Fault::NoAnswer(format!("the connection failed: {kind}")),
        },
        Error::BodyExceedsLimit(_) => Fault::Garbage("the answer is too large".into()),
        Error::Protocol(_) => Fault::Garbage("the answer is no HTTP".into()),
        _ => Fault::NoAnswer("the request failed".into()),
    }
}

/// What the system's resolver says has no kind that could be matched; the standard library puts these words before it.
fn is_of_resolver(error: &std::io::Error) -> bool {
    error
        .to_string()
        .starts_with("failed to lookup address information")
}

fn broken_body(error: &ureq::Error) -> Fault {
    match fault(error) {
        Fault::TimedOut(why) => Fault::TimedOut(format!("the answer broke off: {why}")),
        Fault::NotSent(why) | Fault::NoAnswer(why) => {
            Fault::NoAnswer(format!("the answer broke off: {why}"))
        }
        fault => fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(url: &str) -> Fault {
        let endpoint = Endpoint::parse(url).unwrap();
        let answer = Http::new().get(&endpoint, "/", Duration::from_secs(20));
        answer.map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_name_that_leads_nowhere_is_told_as_such() {
        // Longer than a label may be, so no resolver has to ask anybody.
        let fault = get(&format!("http://{}.invalid:1", "a".repeat(64)));
        assert_eq!(fault, Fault::NotSent(NO_SUCH_HOST.into()));
    }

    #[test]
    fn not_sent_and_timed_out_are_told_apart() {
        assert_eq!(get("http://127.0.0.1:1").code(), "not_sent");
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let endpoint = Endpoint::parse(&url).unwrap();
        let answer = Http::new().get(&endpoint, "/", Duration::from_millis(200));
        assert_eq!(answer.map(|_| ()).unwrap_err().code(), "timed_out");
    }
}
