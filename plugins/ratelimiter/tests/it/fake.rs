//! A tiny HTTP server that answers what a test tells it to, well or badly.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How a request is answered.
#[derive(Clone)]
pub(crate) enum Reply {
    Json(u16, String),
    Raw(String),
    /// One byte every so often, for ever.
    Drip,
    /// Reads the request and never answers.
    Stall,
    /// Closes the connection in the middle.
    Half,
}

type Requests = Arc<Mutex<Vec<String>>>;

pub(crate) struct Fake {
    pub(crate) port: u16,
    /// `METHOD path body`, in the order they came.
    pub(crate) requests: Requests,
    dead: Arc<AtomicBool>,
}

impl Fake {
    /// `replies` by `METHOD path`; everything else is answered with `other`.
    pub(crate) fn start(replies: &[(&str, Reply)], other: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let replies: HashMap<String, Reply> = replies
            .iter()
            .map(|(line, reply)| ((*line).to_owned(), reply.clone()))
            .collect();
        let replies = Arc::new((replies, other));
        let requests = Requests::default();
        let seen = Arc::clone(&requests);
        let dead = Arc::new(AtomicBool::new(false));
        let died = Arc::clone(&dead);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if died.load(Ordering::Acquire) {
                    continue;
                }
                let (replies, seen) = (Arc::clone(&replies), Arc::clone(&seen));
                // A client that hangs up ends its own connection and nothing else.
                thread::spawn(move || serve(stream, &replies.0, &replies.1, &seen).ok());
            }
        });
        Self {
            port,
            requests,
            dead,
        }
    }

    /// Hangs up on everyone from now on.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Release);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn serve(
    stream: TcpStream,
    replies: &HashMap<String, Reply>,
    other: &Reply,
    seen: &Requests,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1");
    let entry = format!("{line} {}", String::from_utf8_lossy(&body));
    seen.lock().unwrap().push(entry.trim_end().to_owned());
    answer(stream, replies.get(line).unwrap_or(other))
}

fn answer(mut stream: TcpStream, reply: &Reply) -> std::io::Result<()> {
    match reply {
        Reply::Json(status, body) => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        }
        Reply::Raw(bytes) => stream.write_all(bytes.as_bytes()),
        Reply::Half => write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{{\"nodes\":["
        ),
        Reply::Stall => loop {
            thread::park_timeout(Duration::from_mins(1));
        },
        Reply::Drip => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                thread::park_timeout(Duration::from_millis(20));
            }
        }
    }
}
