//! A case's process, seen from the suite: started, waited for, and ended with all that descends from it.

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
    order::{Order, Told},
    process,
    verdict::{Ran, Status, Stop},
};

/// The hidden first argument by which the operator starts itself for a case.
pub(super) const ARGUMENT: &str = "__conformance-case";
/// The longest verdict that is read. Bytes.
const MAX_TOLD: u64 = 1 << 20;
/// Rounds of ending what descends from a case: whatever starts processes as fast as they are ended is left to the next.
const SWEEPS: u32 = 20;
/// How long a process whose verdict is there may take to end by itself.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// The suite's children. Nothing else is a child of it for long: what a case left behind is ended.
#[derive(Default)]
pub(super) struct Nursery(Mutex<HashSet<i32>>);

impl Nursery {
    /// What a dead case leaves behind comes to this process, where it is found, and not to the system's first process.
    pub(super) fn open() -> Self {
        #[cfg(target_os = "linux")]
        // Without it only what leaves its process group on purpose outlives a case.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        Self::default()
    }

    /// Runs a case to its end, or to the end of its time.
    pub(super) fn run(&self, order: &Order, timeout: Duration) -> Ran {
        match self.try_run(order, timeout) {
            Ok(ran) => ran,
            Err(error) => Err(Stop::error(format!("the case's process: {error}"))),
        }
    }

    fn try_run(&self, order: &Order, timeout: Duration) -> io::Result<Ran> {
        let until = Instant::now() + timeout;
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut child = self.spawn(theirs)?;
        let told = ours
            .write_all(&serde_json::to_vec(order)?)
            .and_then(|()| ours.shutdown(std::net::Shutdown::Write))
            .and_then(|()| read(&mut ours, until));
        let ran = match told {
            Ok(told) if !told.is_empty() => verdict(&told),
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
        // Held until its number is known, so that no sweep takes it for a stray.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn()?;
        known.insert(child.id().cast_signed());
        Ok(child)
    }

    /// How a process without a verdict ended. It runs nothing of the plugin, so something else ended it.
    fn death(child: &mut Child) -> Ran {
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
            "the case's process gave no verdict and did not end",
        ))
    }

    /// Ends the process and whatever descends from it, wherever that has gone.
    fn end(&self, child: &mut Child) -> io::Result<()> {
        let pid = child.id().cast_signed();
        for _ in 0..SWEEPS {
            let left = process::descendants(pid);
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(kill);
        }
        // Until it is waited for, its number is its own.
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

/// Ends our children that are no cases: they were left behind by one.
fn sweep(known: &HashSet<i32>) {
    let me = std::process::id().cast_signed();
    for _ in 0..SWEEPS {
        let strays: Vec<i32> = process::children_of(me)
            .into_iter()
            .filter(|child| !known.contains(child))
            .collect();
        if strays.is_empty() {
            return;
        }
        for stray in strays {
            process::descendants(stray).into_iter().for_each(kill);
            kill(stray);
            let _ = waitpid(Pid::from_raw(stray), WaitOptions::empty());
        }
    }
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn read(from: &mut UnixStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut told = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        from.set_read_timeout(Some(left))?;
        let length = from.read(&mut chunk)?;
        if length == 0 || told.len() as u64 > MAX_TOLD {
            return Ok(told);
        }
        told.extend_from_slice(&chunk[..length]);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
    )
}

fn verdict(told: &[u8]) -> Ran {
    match serde_json::from_slice::<Told>(told) {
        Ok(told) => told.ran,
        Err(error) => Err(Stop::error(format!(
            "the case's process sent no verdict: {error}"
        ))),
    }
}

fn hung(timeout: Duration) -> Ran {
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

/// A directory of the suite's own, which is gone with it.
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
