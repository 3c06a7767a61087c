//! An HTTP client that returns in time, whatever the server does.

mod answer;
mod fault;

use std::{fmt, time::Duration};

use operator_plugin_api::ActionResult;
use serde_json::{Value, json};
use ureq::{
    Agent, AsSendBody,
    http::{Request, header, request::Builder},
};

pub use answer::Answer;
pub use fault::{Fault, UNRESOLVED_HOST};
pub use ureq::http::Method;

use crate::endpoint::Endpoint;

/// A connection within a data centre takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_BODY_BYTES: u64 = 4 << 20;

/// A request that changes something.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The method.
    pub method: Method,
    /// The path, with a slash in front and already encoded.
    pub path: String,
    /// The body, sent as JSON.
    pub body: Option<Value>,
}

impl Change {
    /// A request without a body.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
        }
    }

    /// Adds a body.
    #[must_use]
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The result of a dry run: what would be sent, and where.
    pub fn dry_run(&self, to: Option<&Endpoint>) -> ActionResult {
        let to = to.map(ToString::to_string).unwrap_or_default();
        let body = self.body.as_ref();
        let with = body.map(|body| format!(" with {body}")).unwrap_or_default();
        let (method, path) = (&self.method, &self.path);
        let message = format!("would send {method} {path}{with} to {to}; nothing was done");
        ActionResult::done(message).details(json!({
            "dry_run": true,
            "method": method.as_str(),
            "path": path,
            "body": body,
            "to": to,
        }))
    }
}

/// `METHOD path body`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        match &self.body {
            Some(body) => write!(f, " {body}"),
            None => Ok(()),
        }
    }
}

/// How one request is made. A plain [`Duration`] is a request with that timeout.
#[derive(Debug, Clone, Copy)]
pub struct RequestOptions<'a> {
    timeout: Duration,
    bearer_token: Option<&'a str>,
    header: Option<(&'static str, &'static str)>,
    max_body_bytes: Option<u64>,
}

impl<'a> RequestOptions<'a> {
    /// A request that ends within this time, from the name's resolution to the last byte of the answer.
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            bearer_token: None,
            header: None,
            max_body_bytes: None,
        }
    }

    /// Sends a bearer token, if there is one.
    #[must_use]
    pub fn bearer_token(mut self, token: Option<&'a str>) -> Self {
        self.bearer_token = token;
        self
    }

    /// Sends another header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    /// Reads at most this much of the body, and marks the answer as truncated if there is more.
    #[must_use]
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = Some(bytes);
        self
    }

    fn apply(&self, mut request: Builder) -> Builder {
        if let Some(token) = self.bearer_token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some((name, value)) = self.header {
            request = request.header(name, value);
        }
        request
    }
}

impl From<Duration> for RequestOptions<'_> {
    fn from(timeout: Duration) -> Self {
        Self::new(timeout)
    }
}

/// The HTTP client of a subject.
///
/// It follows no redirects and uses no proxy, since either would see the credentials. It keeps no connections, since one
/// that broke in between would make a healthy server appear unavailable.
pub struct Http {
    agent: Agent,
    connect_timeout: Duration,
    max_body_bytes: u64,
}

impl Http {
    /// A client that names itself to the server, as in `operator-tikv/1.0`.
    pub fn new(user_agent: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_idle_connections(0)
            .user_agent(user_agent)
            .build();
        Self {
            agent: config.new_agent(),
            connect_timeout: CONNECT_TIMEOUT,
            max_body_bytes: MAX_BODY_BYTES,
        }
    }

    /// The part of every timeout that connecting may take; 1 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The largest body that is read, unless a request overrides it; 4 MiB by default.
    #[must_use]
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Reads `path` of the endpoint.
    pub fn get<'a>(
        &self,
        endpoint: &Endpoint,
        path: &str,
        options: impl Into<RequestOptions<'a>>,
    ) -> Result<Answer, Fault> {
        let options = options.into();
        let request = options.apply(Request::get(endpoint.at(path)));
        self.run(request.body(()), &options)
    }

    /// Sends a change, once.
    pub fn send<'a>(
        &self,
        endpoint: &Endpoint,
        change: &Change,
        options: impl Into<RequestOptions<'a>>,
    ) -> Result<Answer, Fault> {
        let options = options.into();
        let request = Request::builder()
            .method(&change.method)
            .uri(endpoint.at(&change.path));
        let request = options.apply(request);
        match &change.body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                self.run(request.body(body.to_string()), &options)
            }
            None => self.run(request.body(()), &options),
        }
    }

    fn run<B: AsSendBody>(
        &self,
        request: Result<Request<B>, ureq::http::Error>,
        options: &RequestOptions<'_>,
    ) -> Result<Answer, Fault> {
        if options.timeout.is_zero() {
            return Err(Fault::NotSent(
                "no time was left to send the request".into(),
            ));
        }
        let request = request.map_err(|_| Fault::NotSent("the request is not valid".into()))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_connect(Some(self.connect_timeout.min(options.timeout)))
            .timeout_global(Some(options.timeout))
            .build();
        let response = self.agent.run(request);
        let response = response.map_err(|error| Fault::of(&error))?;
        Answer::read(
            response,
            options.max_body_bytes.unwrap_or(self.max_body_bytes),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::testing::fake::{Fake, Reply};

    fn get(url: &str, timeout: Duration) -> Result<Answer, Fault> {
        let endpoint = Endpoint::parse(url).unwrap();
        Http::new("test").get(&endpoint, "/", timeout)
    }

    #[test]
    fn to_a_host_without_an_address_nothing_is_sent() {
        // A label longer than DNS allows, so that no resolver sends a query.
        let url = format!("http://{}.invalid:1", "a".repeat(64));
        let fault = get(&url, Duration::from_secs(20)).unwrap_err();
        assert_eq!(fault, Fault::NotSent(UNRESOLVED_HOST.into()));
    }

    #[test]
    fn whether_a_request_was_sent_is_known() {
        let second = Duration::from_secs(1);
        assert_eq!(
            get("http://127.0.0.1:1", second).unwrap_err().code(),
            "not_sent"
        );
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let fault = get(&url, Duration::from_millis(200)).unwrap_err();
        assert_eq!(fault.code(), "timed_out");
        assert_eq!(get(&url, Duration::ZERO).unwrap_err().code(), "not_sent");
        let half = Fake::always(Reply::Half);
        assert_eq!(get(&half.url(), second).unwrap_err().code(), "no_answer");
        let other = Fake::always(Reply::Raw("hello\r\n\r\n".into()));
        assert_eq!(get(&other.url(), second).unwrap_err().code(), "garbage");
    }

    #[test]
    fn a_body_that_is_too_large_is_truncated_and_cannot_be_parsed() {
        let fake = Fake::always(Reply::Body(200, "[1,2,3]".into()));
        let endpoint = Endpoint::parse(&fake.url()).unwrap();
        let options = RequestOptions::new(Duration::from_secs(5)).max_body_bytes(3);
        let answer = Http::new("test").get(&endpoint, "/", options).unwrap();
        assert_eq!(
            (answer.body.as_slice(), answer.truncated),
            (&b"[1,"[..], true)
        );
        assert_eq!(answer.json::<Value>().unwrap_err().code(), "garbage");
    }

    #[test]
    fn a_change_is_sent_with_its_token_and_its_body() {
        let fake = Fake::always(Reply::Body(200, "{}".into()));
        let endpoint = Endpoint::parse(&fake.url()).unwrap();
        let change = Change::new(Method::POST, "/x").body(json!({"a": 1}));
        let options = RequestOptions::new(Duration::from_secs(5)).bearer_token(Some("t"));
        Http::new("test").send(&endpoint, &change, options).unwrap();
        assert_eq!(fake.requests(), [r#"POST /x {"a":1}"#]);
        assert_eq!(change.to_string(), fake.requests()[0]);
        let dry = change.dry_run(Some(&endpoint));
        assert!(dry.message.contains("would send POST /x with"), "{dry:?}");
    }
}
