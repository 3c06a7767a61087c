//! Every manner, as a client meets it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use operator_plugin_fakes::{Fake, Manner, Protocol, Reads};

/// Long enough for a busy machine; only what stalls takes all of it.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn connect(fake: &Fake, timeout: Duration) -> std::io::Result<TcpStream> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, fake.port()));
    let stream = TcpStream::connect_timeout(&to, LONG.min(timeout))?;
    stream.set_read_timeout(Some(timeout))?;
    Ok(stream)
}

/// Sends a request and reads what comes, up to `most` bytes, or until nothing arrives within `timeout`.
fn ask(fake: &Fake, request: &str, most: u64, timeout: Duration) -> String {
    let mut stream = connect(fake, timeout).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.take(most).read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

const GET: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &str = "POST /level HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn a_closed_port_refuses_until_it_is_opened() {
    let fake = Fake::closed(Protocol::Http).unwrap();
    let error = connect(&fake, LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    fake.open(Manner::Error500).unwrap();
    assert!(ask(&fake, GET, 12, LONG).starts_with("HTTP/1.1 500"));
}

#[test]
fn a_black_hole_takes_no_connection_and_refuses_none() {
    let fake = Fake::black_hole().unwrap();
    let error = connect(&fake, SHORT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn http_is_answered_in_every_manner() {
    for (manner, most, begin) in [
        (Manner::Error500, 12, "HTTP/1.1 500"),
        (Manner::Refuse, 12, "HTTP/1.1 401"),
        (Manner::Html, 15, "HTTP/1.1 200 OK"),
        (Manner::HalfBody, 1_000_000, "HTTP/1.1 200 OK"),
        (Manner::Endless, 1_000_000, "HTTP/1.1 200 OK"),
        (Manner::SlowDrip, 3, "HTT"),
        (Manner::Nonsense, 1_000_000, "\u{16}\u{3}\u{1}"),
        (Manner::Agree(Reads::NotFound), 12, "HTTP/1.1 404"),
    ] {
        let fake = Fake::start(Protocol::Http, manner).unwrap();
        let answer = ask(&fake, GET, most, LONG);
        assert!(answer.starts_with(begin), "{manner:?}: {answer:.100}");
        assert_eq!(fake.exchanges()[0].line, "GET /health", "{manner:?}");
    }
}

#[test]
fn a_body_ends_too_early_or_never() {
    let fake = Fake::start(Protocol::Http, Manner::HalfBody).unwrap();
    assert!(ask(&fake, GET, 1_000_000, LONG).ends_with("[1, 2"));
    let fake = Fake::start(Protocol::Http, Manner::Endless).unwrap();
    assert_eq!(ask(&fake, GET, 1_000_000, LONG).len(), 1_000_000);
}

#[test]
fn what_stalls_says_nothing() {
    let fake = Fake::start(Protocol::Http, Manner::Stall).unwrap();
    assert_eq!(ask(&fake, GET, 1, SHORT), "");
    let manner = Manner::StallChanges(Reads::EmptyList);
    let fake = Fake::start(Protocol::Http, manner).unwrap();
    assert!(ask(&fake, GET, 200, SHORT).ends_with("[]"));
    assert_eq!(ask(&fake, POST, 1, SHORT), "");
    let recorded = fake.exchanges();
    assert_eq!(
        (recorded[1].line.as_str(), recorded[1].body.as_slice()),
        ("POST /level", b"{}".as_slice())
    );
}

#[test]
fn resp_is_spoken_well_enough() {
    let ping = "*1\r\n$4\r\nPING\r\n";
    for (manner, answer) in [
        (Manner::Agree(Reads::EmptyObject), "+PONG\r\n"),
        (Manner::Refuse, "-NOAUTH"),
        (Manner::Error500, "-ERR it"),
        (Manner::HalfBody, "$1000\r\n"),
        (Manner::Endless, "*200000"),
    ] {
        let fake = Fake::start(Protocol::Resp, manner).unwrap();
        assert_eq!(ask(&fake, ping, 7, LONG), answer, "{manner:?}");
        assert_eq!(fake.exchanges()[0].line, "PING");
    }
    let fake = Fake::start(Protocol::Resp, Manner::Stall).unwrap();
    assert_eq!(ask(&fake, ping, 1, SHORT), "");
}

#[test]
fn what_is_dropped_is_closed() {
    let fake = Fake::start(Protocol::Tcp, Manner::Stall).unwrap();
    let mut stream = connect(&fake, LONG).unwrap();
    stream.write_all(b"hello").unwrap();
    while fake.exchanges().is_empty() {
        std::thread::yield_now();
    }
    drop(fake);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
}
