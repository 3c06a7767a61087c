//! Backends that misbehave on purpose, and record what they were asked.
//!
//! A plugin meets every one of these in its life: a closed port, a black hole, a server that accepts and stalls, answers
//! 500 or HTML, half a body, an endless or a dripping one. `operator conformance` points plugins at them; a plugin's own
//! tests can do the same:
//!
//! ```
//! use operator_plugin_fakes::{Fake, Manner, Protocol};
//!
//! let fake = Fake::start(Protocol::Http, Manner::Error500).expect("a free port");
//! let answer = ask(&fake.url("http"));
//! assert!(answer.starts_with("HTTP/1.1 500"));
//! assert_eq!(fake.exchanges()[0].line, "GET /health");
//! # fn ask(url: &str) -> String {
//! #     use std::io::{Read, Write};
//! #     let mut stream = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
//! #     stream.write_all(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
//! #     let mut status = [0; 12];
//! #     stream.read_exact(&mut status).unwrap();
//! #     String::from_utf8_lossy(&status).into_owned()
//! # }
//! ```
//!
//! Everything blocks, runs on threads of its own, listens on loopback, and ends when the [`Fake`] is dropped.

mod answer;
mod exchange;
mod fake;
mod port;
mod read;

pub use exchange::Exchange;
pub use fake::Fake;

/// What a fake speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// The protocol of Redis: commands as arrays of bulk strings.
    Resp,
    /// Bytes of an unknown meaning.
    Tcp,
}

impl Protocol {
    /// What is spoken behind a URL of this scheme. TLS is not spoken: to a client of it every answer is garbage.
    pub fn of_scheme(scheme: &str) -> Self {
        match scheme {
            "http" | "https" => Self::Http,
            "redis" | "rediss" | "valkey" => Self::Resp,
            _ => Self::Tcp,
        }
    }
}

/// How a fake treats its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Reads and never answers.
    Stall,
    /// Answers that it has failed: status 500, `-ERR`.
    Error500,
    /// Answers with a web page, as a proxy or a captive portal does.
    Html,
    /// Promises more than it sends, and closes.
    HalfBody,
    /// Sends without end, as fast as it is read.
    Endless,
    /// Sends an answer at a byte a tenth of a second.
    SlowDrip,
    /// Answers with bytes that are not of its protocol.
    Nonsense,
    /// Lets nobody in: status 401, `-NOAUTH`.
    Refuse,
    /// Answers every read in this way, and accepts every change.
    Agree(Reads),
    /// Answers every read in this way, and stalls at every change.
    StallChanges(Reads),
}

/// How an agreeable fake answers a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// `{}`; to a RESP client, nothing.
    EmptyObject,
    /// `[]`; to a RESP client, nothing.
    EmptyList,
    /// Status 404; to a RESP client, nothing.
    NotFound,
}
