//! One fake backend.

use std::{
    collections::HashMap,
    io::{self, BufReader},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    Exchange, Manner, Protocol,
    answer::{Then, answer},
    port::Port,
    read::request,
};

/// A backend on a port of its own of the loopback device. It ends when it is dropped.
#[derive(Debug)]
pub struct Fake {
    port: Port,
    shared: Arc<Shared>,
    /// What fills the queue of a black hole.
    fillers: Vec<TcpStream>,
}

#[derive(Debug)]
struct Shared {
    protocol: Protocol,
    manner: Mutex<Manner>,
    exchanges: Mutex<Vec<Exchange>>,
    /// The open connections, by their number.
    open: Mutex<HashMap<usize, TcpStream>>,
    connections: AtomicUsize,
    is_listening: AtomicBool,
    has_ended: AtomicBool,
}

impl Fake {
    /// Listens, and behaves in this manner.
    pub fn start(protocol: Protocol, manner: Manner) -> io::Result<Self> {
        let fake = Self::closed(protocol)?;
        fake.open(manner)?;
        Ok(fake)
    }

    /// A port that refuses connections, and that nobody else gets, until [`Fake::open`].
    pub fn closed(protocol: Protocol) -> io::Result<Self> {
        let shared = Shared {
            protocol,
            manner: Mutex::new(Manner::Stall),
            exchanges: Mutex::default(),
            open: Mutex::default(),
            connections: AtomicUsize::new(0),
            is_listening: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        };
        Ok(Self {
            port: Port::reserve()?,
            shared: Arc::new(shared),
            fillers: Vec::new(),
        })
    }

    /// A port at which attempts to connect are neither taken nor refused, as behind a firewall that drops.
    pub fn black_hole() -> io::Result<Self> {
        let mut fake = Self::closed(Protocol::Tcp)?;
        fake.fillers = fake.port.fill()?;
        Ok(fake)
    }

    /// Opens a closed port.
    pub fn open(&self, manner: Manner) -> io::Result<()> {
        self.behave(manner);
        let listener = self.port.listen()?;
        self.shared.is_listening.store(true, Ordering::Release);
        let shared = Arc::clone(&self.shared);
        thread::Builder::new()
            .name("fake".into())
            .spawn(move || accept(&listener, &shared))?;
        Ok(())
    }

    /// Behaves in another manner from the next request on.
    pub fn behave(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// `SCHEME://127.0.0.1:PORT`.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port.number)
    }

    /// Every request so far, in the order in which they were understood.
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.shared.exchanges).clone()
    }

    /// How many connections were made so far; a black hole and a closed port see none.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Forgets what was recorded.
    pub fn forget(&self) {
        lock(&self.shared.exchanges).clear();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Release);
        self.fillers.clear();
        for (_, stream) in lock(&self.shared.open).drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if self.shared.is_listening.load(Ordering::Acquire) {
            // Wakes the thread that accepts, so that it sees the end.
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.has_ended.load(Ordering::Acquire) {
            return;
        }
        let number = shared.connections.fetch_add(1, Ordering::AcqRel);
        let Ok(held) = stream.try_clone() else {
            continue;
        };
        lock(&shared.open).insert(number, held);
        let shared = Arc::clone(shared);
        // Without a thread for it, the connection is dropped: one more way to misbehave.
        let _ = thread::Builder::new()
            .name("fake-connection".into())
            .spawn(move || {
                serve(stream, &shared);
                lock(&shared.open).remove(&number);
            });
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let Ok(reading) = stream.try_clone() else {
        return;
    };
    let mut reading = BufReader::new(reading);
    while let Ok(Some(asked)) = request(shared.protocol, &mut reading) {
        lock(&shared.exchanges).push(asked.clone());
        let manner = *lock(&shared.manner);
        match answer(&mut stream, &asked, manner) {
            Ok(Then::GoOn) => {}
            Ok(Then::Hang) => hang(&mut reading),
            Ok(Then::Close) | Err(_) => break,
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Until the other side, or the end of the fake, closes the connection.
fn hang(reading: &mut BufReader<TcpStream>) {
    let _ = io::copy(reading, &mut io::sink());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
