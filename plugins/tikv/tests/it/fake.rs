//! A tiny HTTP server that answers what a test tells it to, well or badly.

use std::{
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
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Status and body.
    Body(u16, String),
    Raw(String),
    /// One byte every so often, for ever.
    Drip,
    /// Reads the request and never answers.
    Stall,
    /// Closes the connection in the middle.
    Half,
}

pub(crate) struct Request {
    /// `METHOD /path?query`
    pub(crate) line: String,
    pub(crate) body: String,
}

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A server; it hangs up on everyone once it is dropped or killed.
pub(crate) struct Fake {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    dead: Arc<AtomicBool>,
}

impl Fake {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let handler: Handler = Arc::new(handler);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let dead = Arc::new(AtomicBool::new(false));
        let died = Arc::clone(&dead);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if died.load(Ordering::Acquire) {
                    break;
                }
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                // A client that hangs up ends its own connection and nothing else.
                thread::spawn(move || serve(stream, &handler, &seen).ok());
            }
        });
        Self {
            port,
            requests,
            dead,
        }
    }

    /// Everything gets this.
    pub(crate) fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `METHOD /path?query body` of each request so far, in the order they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests that change something.
    pub(crate) fn changes(&self) -> Vec<String> {
        let mut requests = self.requests();
        requests.retain(|request| !request.starts_with("GET "));
        requests
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.dead.store(true, Ordering::Release);
        // Wakes the listener, which then closes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(stream: TcpStream, handler: &Handler, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
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
    let request = Request {
        line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let entry = format!("{} {}", request.line, request.body);
    seen.lock().unwrap().push(entry.trim_end().to_owned());
    answer(stream, handler(&request))
}

fn answer(mut stream: TcpStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Body(status, body) => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        }
        Reply::Raw(bytes) => stream.write_all(bytes.as_bytes()),
        Reply::Half => write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{{\"count\":"
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
