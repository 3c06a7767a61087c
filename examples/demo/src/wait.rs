//! Waiting for conditions.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};

use crate::Process;

/// How long a server may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Polls until `probe` returns a value, for at most `patience`.
pub fn until<T>(patience: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("timed out after {patience:?}: {what}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until a server is ready; if it ends instead, the error describes how.
pub fn until_ready(server: &mut Option<Process>, mut answers: impl FnMut() -> bool) -> Result<()> {
    let ready = until(PATIENCE, "the server is ready", || {
        let death = server.as_mut().and_then(Process::death);
        match death {
            Some(death) => Some(Err(anyhow!(death))),
            None => answers().then_some(Ok(())),
        }
    });
    ready?
}

/// A free loopback port.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
