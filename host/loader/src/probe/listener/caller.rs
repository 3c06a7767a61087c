//! The thread that made a system call: its memory, its directories and its process.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

/// The smallest page size. A page is readable as a whole or not at all. Bytes.
const PAGE: usize = 4096;
/// The limit of the kernel for a path, including the terminating zero. Bytes.
const MAX_PATH: usize = 4096;

/// The worker whose calls are recorded.
pub(crate) struct Worker {
    /// Its directory in `/proc`.
    pub(crate) process: PathBuf,
    pub(crate) memory: File,
}

/// A thread of the worker or of one of its descendants. It is blocked in its call.
pub(crate) struct Caller<'a> {
    worker: &'a Worker,
    /// Its directory in `/proc`.
    pub(crate) thread: PathBuf,
    /// Its process's directory in `/proc`.
    pub(crate) process: PathBuf,
}

impl<'a> Caller<'a> {
    /// The thread with this id.
    pub(crate) fn new(worker: &'a Worker, thread: u32) -> io::Result<Self> {
        let of_worker = worker.process.join(format!("task/{thread}"));
        let process = if of_worker.exists() {
            worker.process.clone()
        } else {
            let number = status(&Path::new("/proc").join(thread.to_string()), "Tgid")?;
            Path::new("/proc").join(number)
        };
        Ok(Self {
            worker,
            thread: process.join(format!("task/{thread}")),
            process,
        })
    }

    /// Whether the thread belongs to the worker and not to a process that the plugin has started.
    pub(crate) fn is_worker(&self) -> bool {
        self.process == self.worker.process
    }

    /// The path at this address; `None` if it exceeds the limit of the kernel.
    ///
    /// The error is the one with which the call must fail. There is memory that the caller can read and this process cannot
    /// (`memfd_secret`): a call that could continue with a path there would evade the inspection.
    pub(crate) fn path(&self, address: u64) -> Result<Option<PathBuf>, Errno> {
        let mut bytes = Vec::new();
        while bytes.len() < MAX_PATH {
            let next = address
                .checked_add(bytes.len() as u64)
                .ok_or(Errno::FAULT)?;
            let in_page = usize::try_from(next % PAGE as u64).unwrap_or_default();
            let mut rest = vec![0; PAGE - in_page];
            self.read(next, &mut rest)?;
            bytes.append(&mut rest);
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                bytes.truncate(end);
                return Ok((end < MAX_PATH).then(|| OsString::from_vec(bytes).into()));
            }
        }
        Ok(None)
    }

    /// Reads memory from this address on.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let read = if self.is_worker() {
            self.worker.memory.read_exact_at(buffer, address)
        } else {
            let memory = File::open(self.process.join("mem"));
            memory.and_then(|memory| memory.read_exact_at(buffer, address))
        };
        read.map_err(|_| Errno::FAULT)
    }

    /// The directory of this descriptor, or the working directory; `None` if the descriptor is not open.
    pub(crate) fn directory(&self, descriptor: Option<i32>) -> Result<Option<PathBuf>, Errno> {
        let link = match descriptor {
            None | Some(libc::AT_FDCWD) => self.thread.join("cwd"),
            Some(descriptor) => self.thread.join(format!("fd/{descriptor}")),
        };
        match fs::read_link(link) {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(Errno::ACCESS),
        }
    }

    /// The process to which this descriptor refers (a pidfd).
    pub(crate) fn process_of(&self, descriptor: i32) -> Option<i32> {
        let info = fs::read_to_string(self.thread.join(format!("fdinfo/{descriptor}"))).ok()?;
        field(&info, "Pid")?.parse().ok()
    }
}

/// Whether a process descends from another one; `None` if it does not exist.
pub(crate) fn descends(process: i32, from: i32) -> Option<bool> {
    let mut at = process;
    while at > 0 && at != from {
        let directory = Path::new("/proc").join(at.to_string());
        at = status(&directory, "PPid").ok()?.parse().ok()?;
    }
    Some(at == from && process != from)
}

/// A field of `/proc/PID/status`.
fn status(directory: &Path, name: &str) -> io::Result<String> {
    let status = fs::read_to_string(directory.join("status"))?;
    field(&status, name).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn field(lines: &str, name: &str) -> Option<String> {
    let mut lines = lines.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}
