//! The processes of cases: each is started, waited for, and ended with all its descendants.

use std::{
    collections::HashSet,
    env, fs,
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use operator_loader::how_it_ended;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::{
    process,
    protocol::{CaseInput, CaseOutput},
    verdict::{CaseResult, Status, Stop},
};

/// The hidden first argument by which the operator starts itself for a case.
pub(super) const ARGUMENT: &str = "__conformance-case";
/// The longest result that is read. Bytes.
const MAX_OUTPUT: u64 = 1 << 20;
/// Rounds of ending the descendants of a case. A process that forks faster than that is left to the next sweep.
const SWEEPS: u32 = 20;
/// How long a process that closed its socket may take to end by itself.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// The running cases. Any other child of the suite was left behind by a case, and is ended.
#[derive(Default)]
pub(super) struct ProcessPool(Mutex<HashSet<i32>>);

impl ProcessPool {
    /// Orphans of a dead case become children of this process, where [`sweep`] finds them, and not of process 1.
    pub(super) fn open() -> Self {
        #[cfg(target_os = "linux")]
        // Without it, only processes that leave their group on purpose outlive a case.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        Self::default()
    }

    /// Runs a case to its end, or to the end of its time.
    pub(super) fn run(&self, input: &CaseInput, timeout: Duration) -> CaseResult {
        match self.try_run(input, timeout) {
            Ok(ran) => ran,
            Err(error) => Err(Stop::error(format!("the case's process: {error}"))),
        }
    }

    fn try_run(&self, input: &CaseInput, timeout: Duration) -> io::Result<CaseResult> {
        let until = Instant::now() + timeout;
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut child = self.spawn(theirs)?;
        let output = ours
            .write_all(&serde_json::to_vec(input)?)
            .and_then(|()| ours.shutdown(std::net::Shutdown::Write))
            .and_then(|()| read(&mut ours, until));
        let ran = match output {
            Ok(output) if !output.is_empty() => verdict(&output),
            Err(error) if is_timeout(&error) => hung(timeout),
            _ => Self::death(&mut child),
        };
        self.end(&mut child)?;
        Ok(ran)
    }

    fn spawn(&self, socket: UnixStream) -> io::Result<Child> {
        let mut command = Command::new(program()?);
        command
            .arg0("operator")
            .arg(ARGUMENT)
            .arg(std::process::id().to_string())
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Held until the process id is known, so that no sweep takes the child for an orphan.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        known.insert(child.id().cast_signed());
        Ok(child)
    }

    /// How a process without a result ended. It runs no code of the plugin, so the plugin's worker ended it.
    fn death(child: &mut Child) -> CaseResult {
        let until = Instant::now() + LAST_MOMENTS;
        while Instant::now() < until {
            if let Ok(Some(status)) = child.try_wait() {
                let how = how_it_ended(status);
                return Err(Stop::Ended(
                    Status::Crash,
                    format!(
                        "the process that judges the plugin {how}; the plugin ended its parent"
                    ),
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Stop::error(
            "the case's process sent no result and did not end",
        ))
    }

    /// Ends the process and all its descendants, also those that left its process group.
    fn end(&self, child: &mut Child) -> io::Result<()> {
        let pid = child.id().cast_signed();
        for _ in 0..SWEEPS {
            let left = process::descendants(pid);
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(kill);
        }
        // Its process id is not used again before `wait`.
        if child.try_wait()?.is_none() {
            kill(pid);
            child.wait()?;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&pid);
        sweep(&known);
        Ok(())
    }
}

/// Ends the children of this process that are not cases.
fn sweep(known: &HashSet<i32>) {
    let me = std::process::id().cast_signed();
    for _ in 0..SWEEPS {
        let orphans: Vec<i32> = process::children_of(me)
            .into_iter()
            .filter(|child| !known.contains(child))
            .collect();
        if orphans.is_empty() {
            return;
        }
        for orphan in orphans {
            process::descendants(orphan).into_iter().for_each(kill);
            kill(orphan);
            let _ = waitpid(Pid::from_raw(orphan), WaitOptions::empty());
        }
    }
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn read(from: &mut UnixStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        from.set_read_timeout(Some(left))?;
        let length = from.read(&mut chunk)?;
        if length == 0 || output.len() as u64 > MAX_OUTPUT {
            return Ok(output);
        }
        output.extend_from_slice(&chunk[..length]);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

fn verdict(output: &[u8]) -> CaseResult {
    match serde_json::from_slice::<CaseOutput>(output) {
        Ok(output) => output.result,
        Err(error) => Err(Stop::error(format!(
            "the result of the case's process cannot be read: {error}"
        ))),
    }
}

fn hung(timeout: Duration) -> CaseResult {
    let timeout = humantime::format_duration(timeout);
    Err(Stop::Ended(
        Status::Hang,
        format!("the case did not end within {timeout} (see --timeout)"),
    ))
}

fn program() -> io::Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    if own.exists() {
        Ok(own.to_owned())
    } else {
        env::current_exe()
    }
}

/// A temporary directory, removed when this is dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("operator-conformance-{}", uuid::Uuid::now_v7());
        let path = env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path.canonicalize()?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
