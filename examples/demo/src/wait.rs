//! Waiting for a state.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};

use crate::Process;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until there is something, for no longer than `patience`.
pub fn until<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {patience:?} in vain: {what}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until a server answers; if it ends instead, says why.
pub fn answering(server: &mut Option<Process>, mut answers: impl FnMut() -> bool) -> Result<()> {
    let ready = until(PATIENCE, "the server answers", || {
        let death = server.as_mut().and_then(Process::death);
        match death {
            Some(death) => Some(Err(anyhow!(death))),
            None => answers().then_some(Ok(())),
        }
    });
    ready?
}

/// A loopback port that nobody listens on.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
