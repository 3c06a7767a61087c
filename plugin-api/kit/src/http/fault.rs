//! Why a request got no usable answer.

use std::{
    fmt,
    io::{self, ErrorKind as Io},
};

/// The message where a host name has no address, as that of a container that is gone.
pub const UNRESOLVED_HOST: &str =
    "the host name does not resolve: there is no such host, or its container is gone";

/// Why there is no usable answer. The variants differ in whether the request may have had an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There was no connection: the server saw nothing of the request.
    NotSent(String),
    /// The server may have seen the request, but did not answer in time.
    TimedOut(String),
    /// The server may have seen the request, but the connection broke before the whole answer came.
    NoAnswer(String),
    /// The server answered with a status of failure, and with this message.
    Status(u16, String),
    /// The server answered, but not as expected.
    Garbage(String),
    /// The server answered with less than it was asked for, and why.
    Partial(String),
}

impl Fault {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "not_sent",
            Self::TimedOut(_) => "timed_out",
            Self::NoAnswer(_) => "no_answer",
            Self::Status(..) => "status",
            Self::Garbage(_) => "garbage",
            Self::Partial(_) => "partial",
        }
    }

    /// ureq's own messages can repeat a URL, and with it a password, so they are replaced.
    pub(super) fn of(error: &ureq::Error) -> Self {
        use ureq::{Error, Timeout};
        match error {
            Error::HostNotFound => Self::NotSent(UNRESOLVED_HOST.into()),
            Error::ConnectionFailed => Self::NotSent("no connection".into()),
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                Self::NotSent("no connection in time".into())
            }
            Error::Timeout(_) => Self::TimedOut("no answer in time".into()),
            Error::Io(error) => Self::of_io(error),
            Error::Protocol(_) => Self::Garbage("the answer is not HTTP".into()),
            _ => Self::NoAnswer("the request failed".into()),
        }
    }

    fn of_io(error: &io::Error) -> Self {
        if is_of_resolver(error) {
            return Self::NotSent(UNRESOLVED_HOST.into());
        }
        match error.kind() {
            Io::ConnectionRefused => Self::NotSent("connection refused".into()),
            Io::HostUnreachable | Io::NetworkUnreachable | Io::AddrNotAvailable => {
                Self::NotSent("not reachable".into())
            }
            Io::ConnectionReset | Io::UnexpectedEof | Io::BrokenPipe => {
                Self::NoAnswer("the connection broke".into())
            }
            Io::TimedOut | Io::WouldBlock => Self::TimedOut("no answer in time".into()),
            kind => Self::NoAnswer(format!("the connection failed: {kind}")),
        }
    }

    /// While the body is read, everything was sent.
    pub(super) fn of_body(error: &io::Error) -> Self {
        let incomplete = |why| format!("the answer is incomplete: {why}");
        match Self::of_io(error) {
            Self::TimedOut(why) => Self::TimedOut(incomplete(why)),
            Self::NotSent(why) | Self::NoAnswer(why) => Self::NoAnswer(incomplete(why)),
            fault => fault,
        }
    }
}

/// Errors of the system's resolver have no kind of their own; the standard library puts these words in front of them.
fn is_of_resolver(error: &io::Error) -> bool {
    error
        .to_string()
        .starts_with("failed to lookup address information")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) | Self::TimedOut(why) | Self::NoAnswer(why) | Self::Garbage(why) => {
                f.write_str(why)
            }
            Self::Partial(why) => write!(f, "the answer is not the whole: {why}"),
            Self::Status(status, message) if message.is_empty() => write!(f, "answered {status}"),
            Self::Status(status, message) => write!(f, "answered {status}: {message}"),
        }
    }
}

impl std::error::Error for Fault {}
