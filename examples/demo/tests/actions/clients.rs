//! Clients that go to the next node when one takes no checks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::people::check;

/// Between two checks.
const PAUSE: Duration = Duration::from_millis(20);
/// A node that drains, or is without Redis.
const UNAVAILABLE: u16 = 503;

/// Checks one key for as long as it is held.
pub(crate) struct Client {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Asks the first of these nodes that answers.
    pub(crate) fn start(nodes: Vec<String>, key: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
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
            // What went wrong in it shows in the test itself.
            let _ = thread.join();
        }
    }
}
