//! The process between the operator and a worker that may start programs: what descends from the worker ends with it.
//!
//! Programs can leave the worker's process group, and nothing tells them when the operator is killed. The keeper runs none of the
//! plugin's code. The kernel makes it the parent of every descendant whose own parent has ended, so that none can leave it.

use std::{
    fs,
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getpid, kill_process,
        pidfd_open, pidfd_send_signal, set_child_subreaper, setrlimit, wait,
    },
    stdio::{dup2_stdin, dup2_stdout},
};

use crate::worker::program::{LOWEST_FD, WORKER, program};

/// Starts the worker with this process's standard input and standard error, and ends as it ends, after all that descends from it.
///
/// Standard output is the leash: once the operator has closed its end of it, or has ended, the worker is killed.
pub(crate) fn keep() -> io::Result<ExitCode> {
    set_child_subreaper(Some(getpid()))?;
    let mut leash = fs::File::from(fcntl_dupfd_cloexec(io::stdout(), LOWEST_FD)?);
    dup2_stdout(io::stderr())?;
    let child = Command::new(program()?)
        .arg0("operator")
        .args([WORKER, &std::process::id().to_string()])
        .process_group(0)
        .spawn()?;
    let worker = Pid::from_child(&child);
    // The worker alone holds the socket, so that the operator notices when it closes.
    dup2_stdin(fs::File::open("/dev/null")?)?;
    let descriptor = pidfd_open(worker, PidfdFlags::empty());
    thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(move || {
            let _ = leash.read_to_end(&mut Vec::new());
            // A kernel without pidfds: the number is reused after the worker was reaped, which ends this process soon.
            let _ = match descriptor {
                Ok(worker) => pidfd_send_signal(worker, Signal::KILL),
                Err(_) => kill_process(worker, Signal::KILL),
            };
        })?;
    let status = wait_for(worker)?;
    end_children();
    Ok(end_like(status))
}

/// Waits for the worker. Reaps what it left behind meanwhile.
fn wait_for(worker: Pid) -> io::Result<WaitStatus> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == worker => return Ok(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Ends all descendants. The children of one that ends become children of this process.
fn end_children() {
    loop {
        for child in children() {
            let _ = kill_process(child, Signal::KILL);
        }
        if matches!(wait(WaitOptions::empty()), Err(Errno::CHILD)) {
            return;
        }
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    }
}

/// The children of this process. Nobody else reaps them, so that their numbers are not reused.
fn children() -> Vec<Pid> {
    let me = getpid();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number| parent_of(*number) == Some(me))
        .filter_map(Pid::from_raw)
        .collect()
}

fn parent_of(process: i32) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?;
    Pid::from_raw(parent.parse().ok()?)
}

/// Ends this process in the same way, so that the operator sees how the worker ended.
fn end_like(status: WaitStatus) -> ExitCode {
    const ATTEMPTS: usize = 20;
    if let Some(code) = status.exit_status() {
        return u8::try_from(code).unwrap_or(u8::MAX).into();
    }
    let number = status.terminating_signal().unwrap_or_default();
    if let Some(signal) = Signal::from_named_raw(number) {
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, none);
        // The standard library catches the first of some signals.
        for _ in 0..ATTEMPTS {
            let _ = kill_process(getpid(), signal);
            thread::sleep(Duration::from_millis(1));
        }
    }
    u8::try_from(128 + number).unwrap_or(u8::MAX).into()
}
