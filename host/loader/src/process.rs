//! A worker as a process: started, watched, ended and reaped together with whatever it has started.

use std::{
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use tokio::sync::{oneshot, watch};

/// A running worker, or one that has ended. Dropping it kills its process group.
pub(super) struct Process {
    group: Group,
    ended: watch::Receiver<Option<ExitStatus>>,
}

/// The process group of a worker, for as long as its number is certain to be the worker's.
#[derive(Clone, Default)]
struct Group(Arc<Mutex<Option<Pid>>>);

impl Process {
    /// Starts the command in a process group of its own.
    ///
    /// A thread of its own starts it and stays with it to the end: the kernel's parent-death signal is sent when the
    /// *thread* that forked ends, and threads of a runtime come and go.
    pub(super) async fn spawn(mut command: Command) -> io::Result<Self> {
        command.process_group(0);
        let group = Group::default();
        let (started, has_started) = oneshot::channel();
        let (ended, has_ended) = watch::channel(None);
        let keeper = group.clone();
        thread::Builder::new()
            .name("worker-keeper".into())
            .stack_size(128 << 10)
            .spawn(move || keeper.keep(command, started, &ended))?;
        has_started.await.map_err(io::Error::other)??;
        Ok(Self {
            group,
            ended: has_ended,
        })
    }

    /// Kills it and whatever it has started. Does not wait.
    pub(super) fn kill(&self) {
        self.group.kill();
    }

    /// Its number, while it is certain to be its own.
    #[cfg(feature = "probe")]
    pub(super) fn pid(&self) -> Option<Pid> {
        *self.group.0.lock().ok()?
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for its end; `None` when the keeper has lost it.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.ended.wait_for(Option::is_some).await.ok()?;
        *status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Group {
    fn keep(
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
        // It holds our copies of the worker's ends of socket and pipe; without this we would never see them close.
        drop(command);
        self.set(Some(Pid::from_child(&child)));
        if started.send(Ok(())).is_err() {
            self.kill();
        }
        ended.send_replace(self.wait(child));
    }

    fn wait(&self, mut child: Child) -> Option<ExitStatus> {
        let pid = Pid::from_child(&child);
        // NOWAIT leaves it unreaped, so that its number, and its group's, cannot be given to another meanwhile.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
        self.kill();
        self.set(None);
        child.wait().ok()
    }

    fn set(&self, pid: Option<Pid>) {
        if let Ok(mut group) = self.0.lock() {
            *group = pid;
        }
    }

    fn kill(&self) {
        if let Ok(group) = self.0.lock()
            && let Some(pid) = *group
        {
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
        (Signal::SYS, "SIGSYS"),
    ];
    names
        .iter()
        .find(|(known, _)| known.as_raw() == signal)
        .map_or_else(String::new, |(_, name)| format!(" ({name})"))
}
