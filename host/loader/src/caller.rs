//! A thread that waits for the answer to its system call: what its arguments point at, and where its paths begin.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::{Path, PathBuf},
};

use rustix::io::Errno;

/// The smallest page that any kernel has: it can be read as a whole or not at all. Bytes.
const PAGE: usize = 4096;
/// The longest path that a kernel takes, with the zero at its end. Bytes.
const MAX_PATH: usize = 4096;

/// Whose calls are watched.
pub(super) struct Worker {
    /// Its directory in `/proc`.
    pub(super) process: PathBuf,
    pub(super) memory: File,
}

/// The thread that made a call.
pub(super) struct Caller<'a> {
    worker: &'a Worker,
    /// Its directory in `/proc`.
    pub(super) thread: PathBuf,
    /// Its process's directory in `/proc`.
    pub(super) process: PathBuf,
}

impl<'a> Caller<'a> {
    /// The thread of this number, which exists as long as it waits.
    pub(super) fn new(worker: &'a Worker, thread: u32) -> io::Result<Self> {
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

    /// Whether it belongs to the worker itself and not to a process that the plugin has started.
    pub(super) fn is_worker(&self) -> bool {
        self.process == self.worker.process
    }

    /// The path at this address; `None` if it is longer than the kernel takes. What cannot be read from here fails in the call
    /// as it does for the kernel: so nothing is named from memory that only the caller sees.
    pub(super) fn path(&self, address: u64) -> Result<Option<PathBuf>, Errno> {
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

    /// Fills the buffer from this address on.
    pub(super) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let read = if self.is_worker() {
            self.worker.memory.read_exact_at(buffer, address)
        } else {
            let memory = File::open(self.process.join("mem"));
            memory.and_then(|memory| memory.read_exact_at(buffer, address))
        };
        read.map_err(|_| Errno::FAULT)
    }

    /// The directory that this descriptor is, or the working directory; `None` if there is no such descriptor.
    pub(super) fn directory(&self, descriptor: Option<i32>) -> Result<Option<PathBuf>, Errno> {
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

    /// The process that a descriptor of this number stands for.
    pub(super) fn process_of(&self, descriptor: i32) -> Option<i32> {
        let about = fs::read_to_string(self.thread.join(format!("fdinfo/{descriptor}"))).ok()?;
        field(&about, "Pid")?.parse().ok()
    }
}

/// Whether this process descends from the one of this number; `None` if there is none.
pub(super) fn descends(process: i32, from: i32) -> Option<bool> {
    let mut at = process;
    while at > 0 && at != from {
        let directory = Path::new("/proc").join(at.to_string());
        at = status(&directory, "PPid").ok()?.parse().ok()?;
    }
    Some(at == from && process != from)
}

/// A field of the status of a process or a thread.
fn status(directory: &Path, name: &str) -> io::Result<String> {
    let status = fs::read_to_string(directory.join("status"))?;
    field(&status, name).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn field(lines: &str, name: &str) -> Option<String> {
    let mut lines = lines.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}
