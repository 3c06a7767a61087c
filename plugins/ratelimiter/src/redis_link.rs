//! One connection to Redis that ends in time, whatever Redis does.
//!
//! The client of the `redis` crate bounds each read, so a server that drips its answer byte by byte holds it for as long
//! as it likes. Here the crate encodes and decodes, and every read and write gets what is left of one deadline.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::mpsc,
    time::Duration,
};

use operator_plugin_api::Deadline;
use operator_plugin_kit::http::UNRESOLVED_HOST;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, Parser, Pipeline, Value};

/// The most that is read for one pipeline of answers: far above 5,000 counts, far below what would hurt.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Why Redis could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RedisFault {
    /// It cannot be reached, does not answer in time, or reports that it cannot serve.
    Unavailable(String),
    /// It serves, but not this plugin: wrong password, missing permission.
    Refused(String),
}

impl RedisFault {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unavailable(why) | Self::Refused(why) => why.clone(),
        }
    }
}

/// A connection that ends at its deadline.
pub(crate) struct RedisLink {
    socket: Bounded,
    parser: Parser,
}

/// A socket of which all reads and writes share a deadline and a number of bytes.
struct Bounded {
    stream: TcpStream,
    deadline: Deadline,
    bytes_left: usize,
}

impl Bounded {
    fn time_left(&self) -> io::Result<Duration> {
        let left = self.deadline.remaining();
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(left)
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.time_left()?))?;
        let read = self.stream.read(buffer)?;
        self.bytes_left = self
            .bytes_left
            .checked_sub(read)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(read)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.time_left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl RedisLink {
    /// Connects, authenticates where the URL holds a password, and selects the database.
    pub(crate) fn connect(info: &ConnectionInfo, deadline: Deadline) -> Result<Self, RedisFault> {
        let stream = connect(info, deadline).map_err(|error| unavailable(&error))?;
        let mut link = Self {
            socket: Bounded {
                stream,
                deadline,
                bytes_left: MAX_ANSWER_BYTES,
            },
            parser: Parser::new(),
        };
        link.prepare(info)?;
        Ok(link)
    }

    fn prepare(&mut self, info: &ConnectionInfo) -> Result<(), RedisFault> {
        let settings = info.redis_settings();
        let mut setup = Pipeline::new();
        if let Some(password) = settings.password() {
            let auth = setup.cmd("AUTH");
            if let Some(user) = settings.username() {
                auth.arg(user);
            }
            auth.arg(password);
        }
        if settings.db() != 0 {
            setup.cmd("SELECT").arg(settings.db());
        }
        for answer in self.run(&setup)? {
            served(answer)?;
        }
        Ok(())
    }

    /// Gives the connection another deadline.
    pub(crate) fn extend(&mut self, deadline: Deadline) {
        self.socket.deadline = deadline;
    }

    /// Runs one command; an error that Redis answers is a fault.
    pub(crate) fn ask(&mut self, command: &Cmd) -> Result<Value, RedisFault> {
        let mut pipeline = Pipeline::new();
        pipeline.add_command(command.clone());
        let answer = self.run(&pipeline)?.pop();
        served(answer.unwrap_or_default())
    }

    /// Runs all commands in one round trip. Errors that Redis answers stay in their places as [`Value::ServerError`].
    pub(crate) fn run(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisFault> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        self.socket.bytes_left = MAX_ANSWER_BYTES;
        let sent = self.socket.write_all(&pipeline.get_packed_pipeline());
        sent.map_err(|error| unavailable(&error))?;
        (0..pipeline.len()).map(|_| self.read_value()).collect()
    }

    fn read_value(&mut self) -> Result<Value, RedisFault> {
        self.parser.parse_value(&mut self.socket).map_err(|error| {
            let why = if self.socket.deadline.remaining().is_zero() || error.is_timeout() {
                "no answer in time"
            } else if error.is_io_error() || error.is_unrecoverable_error() {
                "the connection broke"
            } else {
                "the answer is not Redis's protocol"
            };
            RedisFault::Unavailable(why.into())
        })
    }
}

/// An answer that is an error becomes a fault. Only its code is repeated: the text can hold what was sent.
fn served(answer: Value) -> Result<Value, RedisFault> {
    let Value::ServerError(error) = answer else {
        return Ok(answer);
    };
    let code = error.code().to_owned();
    Err(match code.as_str() {
        "NOAUTH" => RedisFault::Refused(format!("answered {code}: it asks for a password")),
        "WRONGPASS" => RedisFault::Refused(format!(
            "answered {code}: it does not accept the user and the password"
        )),
        "NOPERM" => RedisFault::Refused(format!(
            "answered {code}: the user lacks a right that the plugin needs"
        )),
        "ERR" => RedisFault::Refused(format!("answered {code}")),
        _ => RedisFault::Unavailable(format!("answered {code}")),
    })
}

/// In a pipeline, an error of one key stays in its place; a right that is missing fails all of it.
pub(crate) fn allowed(answer: Value) -> Result<Value, RedisFault> {
    match &answer {
        Value::ServerError(error) if ["NOPERM", "NOAUTH"].contains(&error.code()) => served(answer),
        _ => Ok(answer),
    }
}

fn unavailable(error: &io::Error) -> RedisFault {
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".into(),
        io::ErrorKind::NotFound => UNRESOLVED_HOST.into(),
        kind => kind.to_string(),
    };
    RedisFault::Unavailable(why)
}

fn connect(info: &ConnectionInfo, deadline: Deadline) -> io::Result<TcpStream> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in resolve(host, *port, deadline)? {
        let left = deadline.remaining();
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The system's resolver has no deadline, so it runs on its own thread, which is abandoned when the time is up.
fn resolve(host: &str, port: u16, deadline: Deadline) -> io::Result<Vec<SocketAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (found, answer) = mpsc::channel();
    let host = host.to_owned();
    std::thread::Builder::new().spawn(move || {
        let addresses = (host.as_str(), port).to_socket_addrs();
        // The receiver is gone when the deadline has passed.
        let _ = found.send(addresses.map(Vec::from_iter));
    })?;
    match answer.recv_timeout(deadline.remaining()) {
        Ok(addresses) => addresses.map_err(|_| io::ErrorKind::NotFound.into()),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
