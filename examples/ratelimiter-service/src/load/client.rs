//! A connection to one target, with one check in flight. It implements only the HTTP that a check needs.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How a check was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Allowed,
    /// Allowed without Redis.
    Degraded,
    Blocked,
    /// 503: Redis is unavailable, or the node is draining.
    Unavailable,
    /// Any other status.
    Unexpected,
}

/// The parts of a request that are the same for every check of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    authority: String,
    key_prefix: String,
    rest: String,
}

impl Template {
    pub(crate) fn new(
        authority: &str,
        key_prefix: &str,
        limit: Option<u64>,
        window_ms: Option<u64>,
    ) -> Self {
        let mut rest = String::new();
        for (name, number) in [("limit", limit), ("window_ms", window_ms)] {
            if let Some(number) = number {
                // Writing to a String cannot fail, here and below.
                let _ = write!(rest, ",\"{name}\":{number}");
            }
        }
        // The prefix is escaped once here, so that each request only copies it.
        let quoted = serde_json::Value::from(key_prefix).to_string();
        Self {
            authority: authority.to_owned(),
            key_prefix: quoted[..quoted.len() - 1].to_owned(),
            rest,
        }
    }

    fn render(&self, key: u32, into: &mut String) {
        into.clear();
        let digits = key.checked_ilog10().map_or(1, |log| 1 + log as usize);
        let length = "{\"key\":\"}".len() + self.key_prefix.len() + digits + self.rest.len();
        let Self {
            authority,
            key_prefix,
            rest,
        } = self;
        let _ = write!(
            into,
            "POST /check HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n\
             {{\"key\":{key_prefix}{key}\"{rest}}}"
        );
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    template: Template,
    request: String,
    received: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(template: Template) -> io::Result<Self> {
        let stream = TcpStream::connect(&template.authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            template,
            request: String::new(),
            received: Vec::with_capacity(1_024),
        })
    }

    /// Sends one check and waits for its reply. After an error the connection must not be used again.
    pub(crate) async fn check(&mut self, key: u32) -> io::Result<Reply> {
        self.template.render(key, &mut self.request);
        self.stream.write_all(self.request.as_bytes()).await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = parse(&self.received)? {
                return Ok(answer);
            }
        }
    }
}

/// The reply, once all of it has arrived.
fn parse(received: &[u8]) -> io::Result<Option<Reply>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(received).map_err(io::Error::other)?
    else {
        return Ok(None);
    };
    let find = |name: &str| {
        let mut headers = response.headers.iter();
        headers.find(|header| header.name.eq_ignore_ascii_case(name))
    };
    let length = find("content-length")
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let length: usize = length.ok_or_else(|| io::Error::other("a reply without a length"))?;
    if received.len() < head + length {
        return Ok(None);
    }
    Ok(Some(match response.code {
        Some(200) if find("x-ratelimit-degraded").is_some() => Reply::Degraded,
        Some(200) => Reply::Allowed,
        Some(429) => Reply::Blocked,
        Some(503) => Reply::Unavailable,
        _ => Reply::Unexpected,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_that_of_the_body() {
        for (prefix, key, limit) in [("load:", 0, None), ("a\"ü", 4_711, Some(5)), ("", 10, None)]
        {
            let mut request = String::new();
            Template::new("localhost:1", prefix, limit, None).render(key, &mut request);
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(
                head.ends_with(&format!("Content-Length: {}", body.len())),
                "{request}"
            );
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(json["key"], format!("{prefix}{key}"));
            assert_eq!(json["limit"].as_u64(), limit);
        }
    }

    #[test]
    fn a_reply_is_parsed_once_it_is_complete() {
        let whole = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parse(whole).unwrap(), Some(Reply::Blocked));
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]).unwrap(), None);
        }
    }

    #[test]
    fn degraded_replies_are_recognized() {
        let degraded =
            b"HTTP/1.1 200 OK\r\nX-RateLimit-Degraded: redis\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(parse(degraded).unwrap(), Some(Reply::Degraded));
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(parse(plain).unwrap(), Some(Reply::Allowed));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
