//! The system calls of a watched worker, which the kernel shows to the process that judges the plugin before it makes them.
//!
//! The worker installs a seccomp filter, sends the filter's descriptor to the judging process and closes its own copy: all of
//! that before any of the plugin's code runs, so that the plugin can neither close it nor answer in its place. The judging
//! process reads what a call names, records what the sandbox does not permit, and lets the call go on. Landlock refuses it then,
//! or not; what landlock has no rule for, the listener refuses itself.
//!
//! So the record can be wrong where the sandbox is not: a plugin that changes a path between the listener's reading and the
//! kernel's is refused what the new path leads to, but it is the old one that was inspected.

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

use super::{
    attempts::{Attempt, Attempts},
    caller::Worker,
    granted::GrantedFiles,
    grants::Grants,
    inspect::Inspector,
    notify::{Notification, Notifications},
};

/// Answers the calls of a watched worker, on a thread of its own, until the worker has ended or this is dropped.
pub(super) struct Listener {
    attempts: Arc<Mutex<Attempts>>,
    thread: JoinHandle<()>,
    /// The thread ends when this is closed. Nobody waits for that: a file system that does not answer holds it up, too.
    _stop: io::PipeWriter,
}

impl Listener {
    /// Listens to the worker of this directory in `/proc`, with the descriptors that it sent.
    pub(super) fn start(
        descriptors: Vec<OwnedFd>,
        process: PathBuf,
        grants: &Grants,
        exec: bool,
    ) -> io::Result<Self> {
        let [filter, memory] = <[OwnedFd; 2]>::try_from(descriptors)
            .map_err(|_| io::Error::other("the worker sent no descriptors to listen with"))?;
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

    /// What was attempted and not permitted so far. An error once nobody listens any more, when something may be missing.
    pub(super) fn attempts(&self) -> io::Result<Vec<Attempt>> {
        if self.thread.is_finished() {
            return Err(io::Error::other(
                "nobody listens to the plugin's system calls any more",
            ));
        }
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(attempts.all())
    }
}

/// The next call; `None` when there will be none.
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
        // Without a call, it is the end of the last process that had the filter.
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
    // Else the thread's number may have become another's, and what was read is of no use.
    if !notifications.is_waiting(call) {
        return;
    }
    // Before the caller goes on, so that it is there for whoever asks when the caller is done.
    if let Some(attempt) = attempt {
        let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.add(attempt);
    }
    notifications.respond(call, response);
}
