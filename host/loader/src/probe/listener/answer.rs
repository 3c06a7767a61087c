//! Answers notifications and records attempts.

use std::{
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use crate::{
    probe::{
        listener::{
            attempts::Attempts,
            caller::Worker,
            granted::GrantedFiles,
            inspect::Inspector,
            notify::{Notification, Notifications},
        },
        messages::Attempt,
    },
    sandbox::grants::Grants,
};

/// A thread that answers the notifications of one worker, until the worker has ended or this is dropped.
pub(crate) struct Listener {
    attempts: Arc<Mutex<Attempts>>,
    thread: JoinHandle<()>,
    /// Closing it ends the thread. Nothing waits for the thread, because a file system that does not respond can block it.
    _stop: io::PipeWriter,
}

impl Listener {
    /// Starts the thread with the descriptors that the worker sent. `process` is the worker's directory in `/proc`.
    pub(crate) fn start(
        descriptors: Vec<OwnedFd>,
        process: PathBuf,
        grants: &Grants,
        exec: bool,
    ) -> io::Result<Self> {
        let [filter, memory] = <[OwnedFd; 2]>::try_from(descriptors)
            .map_err(|_| io::Error::other("the worker sent no descriptors"))?;
        let worker = Worker {
            process,
            memory: memory.into(),
        };
        let inspector = Inspector::new(worker, GrantedFiles::find(grants), exec)?;
        let (stopped, stop) = io::pipe()?;
        let attempts = Arc::<Mutex<Attempts>>::default();
        let recorded = Arc::clone(&attempts);
        let notifications = Notifications::from(filter);
        let thread = thread::Builder::new()
            .name("listener".into())
            .spawn(move || {
                while let Some(call) = next(&notifications, &stopped) {
                    answer(&notifications, &call, &inspector, &recorded);
                }
            })?;
        Ok(Self {
            attempts,
            thread,
            _stop: stop,
        })
    }

    /// The attempts so far. An error once the thread has ended, because attempts may be missing.
    pub(crate) fn attempts(&self) -> io::Result<Vec<Attempt>> {
        if self.thread.is_finished() {
            return Err(io::Error::other(
                "the plugin's system calls are no longer recorded",
            ));
        }
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(attempts.all())
    }
}

/// Waits for the next notification; `None` if there will be none.
fn next(notifications: &Notifications, stopped: &io::PipeReader) -> Option<Notification> {
    loop {
        let mut ready = [
            PollFd::new(notifications, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return None,
            Ok(_) => {}
        }
        let is_stopped = !ready[1].revents().is_empty();
        // A hang-up without input means that the last process with the filter has ended.
        if is_stopped || !ready[0].revents().contains(PollFlags::IN) {
            return None;
        }
        if let Some(call) = notifications.receive().ok()? {
            return Some(call);
        }
    }
}

fn answer(
    notifications: &Notifications,
    call: &Notification,
    inspector: &Inspector,
    recorded: &Mutex<Attempts>,
) {
    let (response, attempt) = inspector.inspect(call);
    // If the caller is gone, its thread id may belong to another thread, and what was read is meaningless.
    if !notifications.is_waiting(call) {
        return;
    }
    // Before the response, so that the attempt is recorded when the caller's own call returns.
    if let Some(attempt) = attempt {
        let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.add(attempt);
    }
    notifications.respond(call, response);
}
