//! How a running daemon is asked to end.

use tokio::sync::watch;

/// Asks a daemon to end. Cheap to clone; clones ask the same daemon.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::channel(false).0)
    }
}

impl Stop {
    /// Lets the cycles and the calls under way finish. Whether this was asked before.
    pub fn request(&self) -> bool {
        self.0.send_replace(true)
    }

    pub(crate) fn listen(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}
