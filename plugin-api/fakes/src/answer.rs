//! Answering in the manner that was asked for.

use std::{
    io::{self, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::{Exchange, Manner, Protocol, Reads};

/// Between two bytes of a slow answer.
const DRIP: Duration = Duration::from_millis(100);
const PAGE: &str = "<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>";
/// Of an endless answer, at once.
const CHUNK: usize = 64 << 10;
/// Between two chunks: endless, but no load test of the machine.
const BETWEEN_CHUNKS: Duration = Duration::from_millis(2);

/// What is to be done after an answer.
pub(crate) enum Then {
    /// Read the next request.
    GoOn,
    /// Close the connection.
    Close,
    /// Keep it open and send nothing more.
    Hang,
}

pub(crate) fn answer(to: &mut TcpStream, asked: &Exchange, manner: Manner) -> io::Result<Then> {
    match manner {
        Manner::Stall => return Ok(Then::Hang),
        Manner::StallChanges(_) if asked.changes() == Some(true) => return Ok(Then::Hang),
        Manner::Endless => endless(to, asked.protocol)?,
        Manner::SlowDrip => drip(to, &whole(asked, Manner::Html))?,
        Manner::HalfBody => to.write_all(half(asked.protocol).as_bytes())?,
        Manner::Nonsense => {
            to.write_all(b"\x16\x03\x01\xff\xfe nothing of the kind\r\n\x00\x00")?;
        }
        manner => {
            to.write_all(&whole(asked, manner))?;
            return Ok(Then::GoOn);
        }
    }
    Ok(Then::Close)
}

/// A whole answer.
fn whole(asked: &Exchange, manner: Manner) -> Vec<u8> {
    let text = match asked.protocol {
        Protocol::Http => http(asked, manner),
        Protocol::Resp => resp(asked, manner).to_owned(),
        Protocol::Tcp => PAGE.to_owned(),
    };
    text.into_bytes()
}

fn http(asked: &Exchange, manner: Manner) -> String {
    let json = "application/json";
    let (status, kind, body) = match manner {
        Manner::Error500 => ("500 Internal Server Error", "text/plain", "it broke"),
        Manner::Refuse => ("401 Unauthorized", "text/plain", "who are you?"),
        Manner::Agree(reads) | Manner::StallChanges(reads) => {
            match (asked.changes() == Some(true), reads) {
                (true, _) | (_, Reads::EmptyObject) => ("200 OK", json, "{}"),
                (_, Reads::EmptyList) => ("200 OK", json, "[]"),
                (_, Reads::NotFound) => ("404 Not Found", json, "{}"),
            }
        }
        _ => ("200 OK", "text/html", PAGE),
    };
    let length = body.len();
    let body = if asked.line.starts_with("HEAD ") {
        ""
    } else {
        body
    };
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn resp(asked: &Exchange, manner: Manner) -> &'static str {
    match manner {
        Manner::Error500 => "-ERR it broke\r\n",
        Manner::Refuse => "-NOAUTH Authentication required.\r\n",
        Manner::Agree(_) | Manner::StallChanges(_) => match asked.line.split(' ').next() {
            Some("PING") => "+PONG\r\n",
            _ if asked.changes() == Some(true) => "+OK\r\n",
            Some("CLIENT" | "HELLO" | "SELECT" | "AUTH") => "+OK\r\n",
            _ => "$-1\r\n",
        },
        _ => "+<!DOCTYPE html><html></html>\r\n",
    }
}

fn half(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => {
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"half\": [1, 2"
        }
        Protocol::Resp => "$1000\r\nhalf of it",
        Protocol::Tcp => "half",
    }
}

fn endless(to: &mut TcpStream, protocol: Protocol) -> io::Result<()> {
    let head = match protocol {
        Protocol::Http => "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[0",
        Protocol::Resp => "*2000000000\r\n",
        Protocol::Tcp => "",
    };
    to.write_all(head.as_bytes())?;
    let piece = match protocol {
        Protocol::Http => ",0",
        Protocol::Resp => ":0\r\n",
        Protocol::Tcp => "0",
    };
    let chunk = piece.repeat(CHUNK / piece.len());
    loop {
        to.write_all(chunk.as_bytes())?;
        thread::sleep(BETWEEN_CHUNKS);
    }
}

fn drip(to: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        to.write_all(std::slice::from_ref(byte))?;
        thread::sleep(DRIP);
    }
    Ok(())
}
