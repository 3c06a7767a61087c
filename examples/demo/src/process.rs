//! A child process that is killed when its value is dropped.

use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::wait;

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// A child in its own process group, so that ctrl-C in a terminal reaches only the parent.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command; its output goes to `folder/NAME.log`.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}: {}", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its process id, for `kill`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The name that it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Sends a signal to its group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process id")?;
        kill_process_group(pid, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        if !self.has_ended() {
            self.signal(Signal::KILL)?;
        }
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM, then SIGKILL if it does not end in time; returns its exit status.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        if !self.has_ended() {
            // A stopped process does not handle SIGTERM.
            self.signal(Signal::CONT)?;
            self.signal(Signal::TERM)?;
            let ended = wait::until(GRACE, "the process ends", || self.has_ended().then_some(()));
            if ended.is_err() {
                self.signal(Signal::KILL)?;
            }
        }
        Ok(self.child.wait()?)
    }

    /// Describes how it ended, if it has.
    pub fn death(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let how = match status.signal() {
            Some(signal) => format!("was ended by signal {signal}"),
            None => format!("ended with {status}"),
        };
        Some(format!("{} {how}: {}", self.name, self.log().trim_end()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
