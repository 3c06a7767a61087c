//! A small HTTP server that answers as a test wants, well or badly.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Between two bytes of a slow answer.
const DRIP: Duration = Duration::from_millis(20);

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A status and a body.
    Body(u16, String),
    /// These bytes, whatever they are.
    Raw(String),
    /// A body that never ends, one byte at a time.
    Drip,
    /// Nothing: the request is read and never answered.
    Stall,
    /// Half a body; then the connection is closed.
    Half,
}

impl Reply {
    /// Every way in which an HTTP server can be broken, with its name.
    pub fn broken() -> Vec<(&'static str, Self)> {
        let html =
            "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>";
        vec![
            ("500", Self::Body(500, "{\"oops\":1}".into())),
            ("html", Self::Raw(html.into())),
            ("not http", Self::Raw("hello\r\n\r\n".into())),
            ("half a body", Self::Half),
            ("stall", Self::Stall),
            ("drip", Self::Drip),
            ("null", Self::Body(200, "null".into())),
        ]
    }
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `METHOD /path?query`
    pub line: String,
    /// The body as text.
    pub body: String,
}

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A server on a port of its own. It refuses connections once it is stopped or dropped.
pub struct Fake {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

impl Fake {
    /// Answers every request with the result of the function.
    pub fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let fake = Self {
            port,
            requests: Arc::default(),
            stopped: Arc::default(),
        };
        let handler: Handler = Arc::new(handler);
        let (requests, stopped) = (Arc::clone(&fake.requests), Arc::clone(&fake.stopped));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let (handler, requests) = (Arc::clone(&handler), Arc::clone(&requests));
                // A client that hangs up ends its own connection and nothing else.
                thread::spawn(move || serve(stream, &handler, &requests).ok());
            }
        });
        fake
    }

    /// Answers every request the same.
    pub fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone())
    }

    /// Answers by `METHOD /path?query`, and every other request with `other`.
    pub fn with_replies(replies: &[(&str, Reply)], other: Reply) -> Self {
        let replies = replies.iter().cloned();
        let replies: HashMap<String, Reply> = replies
            .map(|(line, reply)| (line.to_owned(), reply))
            .collect();
        Self::start(move |request| replies.get(&request.line).unwrap_or(&other).clone())
    }

    /// The port of the loopback device.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `METHOD /path?query body` of each request so far, in the order in which they came.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no handler panicked").clone()
    }

    /// The requests that are not a GET.
    pub fn changes(&self) -> Vec<String> {
        let mut requests = self.requests();
        requests.retain(|request| !request.starts_with("GET "));
        requests
    }

    /// Refuses connections from now on.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the listener, which then closes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(stream: TcpStream, handler: &Handler, requests: &Mutex<Vec<String>>) -> io::Result<()> {
    let request = read(&mut BufReader::new(stream.try_clone()?))?;
    let entry = format!("{} {}", request.line, request.body);
    let mut all = requests.lock().expect("no handler panicked");
    all.push(entry.trim_end().to_owned());
    drop(all);
    answer(stream, handler(&request))
}

fn read(from: &mut impl BufRead) -> io::Result<Request> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        from.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Request {
        line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn answer(mut stream: TcpStream, reply: Reply) -> io::Result<()> {
    match reply {
        Reply::Body(status, body) => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        }
        Reply::Raw(bytes) => stream.write_all(bytes.as_bytes()),
        Reply::Half => write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{{\"count\":["
        ),
        Reply::Stall => loop {
            thread::park_timeout(Duration::from_mins(1));
        },
        Reply::Drip => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                thread::park_timeout(DRIP);
            }
        }
    }
}
