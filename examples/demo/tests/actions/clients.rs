//! A client that moves to the next node when one is unavailable.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::commands::check;

/// Time between two checks.
const PAUSE: Duration = Duration::from_millis(20);
/// The node is draining, or has no Redis.
const UNAVAILABLE: u16 = 503;

/// Checks one key repeatedly until it is dropped.
pub(crate) struct Client {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Each check goes to the first of these nodes that is available.
    pub(crate) fn start(nodes: Vec<String>, key: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                nodes.iter().any(|node| check(node, key) != UNAVAILABLE);
                thread::park_timeout(PAUSE);
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A failure of the client shows in the assertions of the test.
            let _ = thread.join();
        }
    }
}
