//! A worker's process: started, waited for, and killed together with its children.

use std::{
    io::{self, PipeWriter},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid},
};
use tokio::sync::{oneshot, watch};

/// A running worker, or one that has ended. Dropping it kills it.
pub(crate) struct Process {
    handle: Handle,
    ended: watch::Receiver<Option<ExitStatus>>,
}

/// What a worker is killed by.
#[derive(Clone)]
struct Handle(Arc<Mutex<Means>>);

struct Means {
    /// The process, until it is reaped: before that, its number and its group's cannot be reused.
    pid: Option<Pid>,
    /// Of a keeper, which kills the worker and all that descends from it once this is closed.
    leash: Option<PipeWriter>,
    is_kept: bool,
}

impl Process {
    /// Starts the command in a new process group. A keeper is started with the operator's end of its leash.
    ///
    /// A dedicated thread starts it and waits until it ends: the kernel sends the parent-death signal when the *thread* that
    /// forked ends, and the threads of a runtime can end at any time.
    pub(crate) async fn spawn(mut command: Command, leash: Option<PipeWriter>) -> io::Result<Self> {
        command.process_group(0);
        let handle = Handle(Arc::new(Mutex::new(Means {
            pid: None,
            is_kept: leash.is_some(),
            leash,
        })));
        let (started, has_started) = oneshot::channel();
        let (ended, has_ended) = watch::channel(None);
        let waiter = handle.clone();
        thread::Builder::new()
            .name("worker-waiter".into())
            .stack_size(128 << 10)
            .spawn(move || waiter.run(command, started, &ended))?;
        has_started.await.map_err(io::Error::other)??;
        Ok(Self {
            handle,
            ended: has_ended,
        })
    }

    /// Kills it, with its process group or by its keeper. Does not wait: it has ended only once [`Process::ended`] says so.
    pub(crate) fn kill(&self) {
        self.handle.kill();
    }

    /// Its process id; `None` once it has ended.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.handle.0.lock().ok()?.pid
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits until it ends; `None` when its exit status is unknown.
    pub(crate) async fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.ended.wait_for(Option::is_some).await.ok()?;
        *status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Handle {
    fn run(
        &self,
        mut command: Command,
        started: oneshot::Sender<io::Result<()>>,
        ended: &watch::Sender<Option<ExitStatus>>,
    ) {
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        // It holds our copies of the worker's ends of socket and pipe, which we would otherwise never see close.
        drop(command);
        self.set(Some(Pid::from_child(&child)));
        if started.send(Ok(())).is_err() {
            self.kill();
        }
        ended.send_replace(self.wait(child));
    }

    fn wait(&self, mut child: Child) -> Option<ExitStatus> {
        let pid = Pid::from_child(&child);
        // NOWAIT does not reap it: until then, its process id and its group's cannot be reused.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
        let _ = kill_process_group(pid, Signal::KILL);
        self.set(None);
        child.wait().ok()
    }

    fn set(&self, pid: Option<Pid>) {
        if let Ok(mut means) = self.0.lock() {
            means.pid = pid;
        }
    }

    fn kill(&self) {
        let Ok(mut means) = self.0.lock() else {
            return;
        };
        if means.is_kept {
            means.leash = None;
        } else if let Some(pid) = means.pid {
            // Itself as well: where the kernel has no seccomp, it can have left its group.
            let _ = kill_process(pid, Signal::KILL);
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// `exited with status 1`, `was killed by signal 11 (SIGSEGV)`.
pub fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}{}", signal_name(signal)),
        (None, None) => "ended".into(),
    }
}

fn signal_name(signal: i32) -> String {
    let names = [
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ, a file above the limit"),
        (Signal::SYS, "SIGSYS"),
    ];
    names
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map_or_else(String::new, |(_, name)| format!(" ({name})"))
}
