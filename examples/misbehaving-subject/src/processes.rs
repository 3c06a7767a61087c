//! Faults by which a process or its children escape their end, or take more than their share.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{self, Command},
    thread,
    time::Duration,
};

use operator_plugin_api::{Error, ErrorKind};

const PR_SET_PDEATHSIG: i32 = 1;
const SCHED_FIFO: i32 = 1;

unsafe extern "C" {
    safe fn getpgid(pid: i32) -> i32;
    safe fn prctl(option: i32, value: usize) -> i32;
    safe fn sched_setscheduler(pid: i32, policy: i32, priority: &i32) -> i32;
    safe fn setpgid(pid: i32, group: i32) -> i32;
    safe fn setsid() -> i32;
}

fn result(returned: i32) -> io::Result<()> {
    if returned < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub fn leave_group() -> io::Result<()> {
    let parent = std::os::unix::process::parent_id().cast_signed();
    // A process can only join a group of its own session.
    result(setpgid(0, getpgid(parent)))
}

pub fn leave_session() -> io::Result<()> {
    result(setsid())
}

pub fn clear_death_signal() -> io::Result<()> {
    result(prctl(PR_SET_PDEATHSIG, 0))
}

pub fn realtime() -> io::Result<()> {
    result(sched_setscheduler(0, SCHED_FIFO, &1))
}

pub fn start_daemon(record_effect: impl Fn(&str)) -> Result<(), Error> {
    let mut command = Command::new("/bin/sleep");
    command.arg("3600");
    // SAFETY: `setsid` may be called between fork and exec.
    unsafe { command.pre_exec(|| leave_session()) };
    let child = command
        .spawn()
        .map_err(|error| Error::new(ErrorKind::Internal, format!("daemon: {error}")))?;
    record_effect(&format!("child {}", child.id()));
    Ok(())
}

pub fn fill_threads() {
    const SMALL: usize = 16 << 10;
    for _ in 0..2000 {
        let thread = thread::Builder::new().stack_size(SMALL);
        let started = thread.spawn(|| thread::sleep(Duration::from_secs(3600)));
        if let Err(error) = started {
            eprintln!("{} has no more threads: {error}", process::id());
            return;
        }
    }
}
