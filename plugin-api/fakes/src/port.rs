//! Ports of the loopback device, in states that the standard library does not offer.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;
/// How long a connection to a full port is tried before it counts as full.
const FULL_AFTER: Duration = Duration::from_millis(100);
/// More than any kernel keeps in a queue of length 0.
const MOST_FILLERS: usize = 8;

/// A port that is ours. Connections to it are refused until it listens.
#[derive(Debug)]
pub(crate) struct Port {
    socket: OwnedFd,
    pub(crate) number: u16,
}

impl Port {
    pub(crate) fn reserve() -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let bound = SocketAddr::try_from(getsockname(&socket)?)?;
        Ok(Self {
            number: bound.port(),
            socket,
        })
    }

    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        listen(&self.socket, BACKLOG)?;
        Ok(TcpListener::from(self.socket.try_clone()?))
    }

    /// Fills the queue of a port that nobody accepts from, so that the kernel drops every further attempt to connect.
    /// Full as long as what is given back lives.
    pub(crate) fn fill(&self) -> io::Result<Vec<TcpStream>> {
        listen(&self.socket, 0)?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.number));
        let mut held = Vec::new();
        while held.len() < MOST_FILLERS {
            match TcpStream::connect_timeout(&to, FULL_AFTER) {
                Ok(stream) => held.push(stream),
                Err(_) => return Ok(held),
            }
        }
        Err(io::Error::other(
            "this system has no black hole: it takes every connection",
        ))
    }
}
