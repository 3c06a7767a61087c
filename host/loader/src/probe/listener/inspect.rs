//! Decides what a system call attempts, and whether the sandbox permits it.
//!
//! It opens and changes nothing: paths are resolved as the kernel does ([`super::path`]), and compared with the grants of the
//! sandbox. A call that fails without a sandbox, too, is not an attempt.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    process,
};

use libc::c_long;
use rustix::io::Errno;

use crate::{
    probe::{
        listener::{
            access::{Access, Flags},
            attempts::{attempt, shown},
            caller::{Caller, Worker, descends},
            effects::{Effect, Name, effects},
            granted::GrantedFiles,
            notify::{Notification, Response},
            path::{Start, Target},
        },
        messages::{Attempt, AttemptKind},
    },
    sandbox::system_calls::{is_leaving, is_sharing, refused_when_watched},
};

/// The response to a notification, and the attempt that is recorded.
pub(crate) type Verdict = (Response, Option<Attempt>);

/// Inspects the calls of one worker.
pub(crate) struct Inspector {
    worker: Worker,
    files: GrantedFiles,
    /// Whether the worker may start programs.
    exec: bool,
    effects: HashMap<c_long, Effect>,
    /// The names of the calls that are always refused.
    refused: HashMap<c_long, &'static str>,
}

impl Inspector {
    pub(crate) fn new(worker: Worker, files: GrantedFiles, exec: bool) -> io::Result<Self> {
        let refused = refused_when_watched(exec)?.into_iter();
        Ok(Self {
            worker,
            files,
            exec,
            effects: effects().collect(),
            refused: refused.map(|rule| (rule.call, rule.name)).collect(),
        })
    }

    /// Decides about one call. Its caller is blocked meanwhile.
    pub(crate) fn inspect(&self, notification: &Notification) -> Verdict {
        let Some(effect) = self.effects.get(&notification.call) else {
            return self.refuse(notification);
        };
        let Ok(caller) = Caller::new(&self.worker, notification.thread) else {
            return (Response::Fail(Errno::PERM), None);
        };
        // A program that the plugin may start is not the plugin.
        if self.exec && !caller.is_worker() {
            return (Response::Continue, None);
        }
        let inspection = Inspection {
            inspector: self,
            caller,
            arguments: notification.arguments,
        };
        let verdict = inspection.inspect(*effect);
        verdict.unwrap_or_else(|error| (Response::Fail(error), None))
    }

    fn refuse(&self, notification: &Notification) -> Verdict {
        let is_socket = notification.call == libc::SYS_socket;
        let response = Response::Fail(Errno::PERM);
        // The C library tries to connect to a cache daemon when it looks up hosts and users, and works without it.
        if is_socket && number(notification.arguments[0]) == libc::AF_UNIX {
            return (response, None);
        }
        let name = self.refused.get(&notification.call).unwrap_or(&"?");
        let kind = match notification.call {
            call if is_leaving(call) => AttemptKind::Outlive,
            call if is_sharing(call) => AttemptKind::Share,
            _ => AttemptKind::Call,
        };
        let attempt = attempt(kind, name, Vec::new());
        (response, Some(attempt))
    }
}

/// The inspection of one call.
struct Inspection<'a> {
    inspector: &'a Inspector,
    caller: Caller<'a>,
    arguments: [u64; 6],
}

/// A file that a call accesses.
struct AccessedFile {
    /// The path in the call, made absolute.
    path: PathBuf,
    target: Target,
    access: Access,
}

impl Inspection<'_> {
    fn inspect(&self, effect: Effect) -> Result<Verdict, Errno> {
        let attempt = match effect {
            Effect::Start(name) => return self.start(name),
            Effect::Signal(process, signal) => self.signal(number(self.arguments[process]), signal),
            Effect::SignalByDescriptor(descriptor, signal) => {
                let process = self.caller.process_of(number(self.arguments[descriptor]));
                process.and_then(|process| self.signal(process, signal))
            }
            file_access => self.file_access(file_access)?,
        };
        Ok((Response::Continue, attempt))
    }

    fn start(&self, name: Name) -> Result<Verdict, Errno> {
        if self.inspector.exec {
            return Ok((Response::Continue, None));
        }
        let path = self.caller.path(self.arguments[name.path])?;
        let path = path.unwrap_or_default();
        let program = if path.as_os_str().is_empty() {
            "a program in memory".into()
        } else {
            let directory = self.directory(name, &path)?;
            directory.unwrap_or_default().join(path)
        };
        let attempt = attempt(AttemptKind::Exec, &shown(&program), Vec::new());
        Ok((Response::Fail(Errno::PERM), Some(attempt)))
    }

    /// The sandbox permits signals to the worker and its descendants. All of them descend from this process, which adopts those
    /// whose parents have ended.
    fn signal(&self, process: i32, signal: usize) -> Option<Attempt> {
        let me = process::id().cast_signed();
        let is_refused = match process {
            // The caller's process group.
            0 => false,
            // Every process.
            -1 => true,
            // A negative number is a process group, whose id is that of its first process.
            process => !descends(process.saturating_abs(), me)?,
        };
        let signal = number(self.arguments[signal]);
        let what = format!("signal {signal} to process {process}");
        is_refused.then(|| attempt(AttemptKind::Call, &what, Vec::new()))
    }

    fn file_access(&self, effect: Effect) -> Result<Option<Attempt>, Errno> {
        let root = Path::new("/");
        match effect {
            Effect::Open(name, flags) => self.open(name, Flags::new(self.arguments[flags]), root),
            Effect::OpenHow(name, how) => self.open_how(name, how),
            Effect::Create(name) => self.open(name, Flags::OF_CREAT, root),
            Effect::Truncate(name) => self.access(&[(name, true, Access::Change)], root),
            Effect::Remove(name) => self.access(&[(name, false, Access::Remove)], root),
            Effect::Make(name) => self.access(&[(name, false, Access::Make)], root),
            Effect::MakeNode(name, mode) => {
                let access = Access::making(self.arguments[mode]);
                self.access(&[(name, false, access)], root)
            }
            Effect::Link(from, to, flags) => {
                let follow = self.flag(flags, libc::AT_SYMLINK_FOLLOW.cast_unsigned());
                let accesses = [(to, false, Access::Make), (from, follow, Access::Remove)];
                self.access(&accesses, root)
            }
            Effect::Rename(from, to, flags) => {
                let to_access = if self.flag(flags, libc::RENAME_NOREPLACE) {
                    Access::Make
                } else {
                    Access::Replace
                };
                let accesses = [(to, false, to_access), (from, false, Access::Remove)];
                self.access(&accesses, root)
            }
            Effect::Start(_) | Effect::Signal(..) | Effect::SignalByDescriptor(..) => Ok(None),
        }
    }

    /// Whether the flags at this position include this one.
    fn flag(&self, flags: Option<usize>, flag: u32) -> bool {
        flags.is_some_and(|flags| self.arguments[flags] & u64::from(flag) != 0)
    }

    fn open(&self, name: Name, flags: Flags, root: &Path) -> Result<Option<Attempt>, Errno> {
        self.access(&[(name, flags.follow(), Access::Open(flags))], root)
    }

    fn open_how(&self, name: Name, how: usize) -> Result<Option<Attempt>, Errno> {
        // `struct open_how`: the flags, the mode, and how the path is resolved.
        let mut fields = [0; 24];
        self.caller.read(self.arguments[how], &mut fields)?;
        let field = |at: usize| {
            let bytes = fields[at..].first_chunk().copied().unwrap_or_default();
            u64::from_ne_bytes(bytes)
        };
        let flags = Flags::new(field(0));
        if field(16) & libc::RESOLVE_IN_ROOT == 0 {
            return self.open(name, flags, "/".as_ref());
        }
        match self.directory(name, ".".as_ref())? {
            Some(root) => self.open(name, flags, &root),
            None => Ok(None),
        }
    }

    /// The attempt of a call that accesses these files. Each comes with whether a symbolic link at the end of its path is
    /// followed.
    fn access(
        &self,
        accesses: &[(Name, bool, Access)],
        root: &Path,
    ) -> Result<Option<Attempt>, Errno> {
        let mut files = Vec::new();
        for (name, follow, access) in accesses {
            match self.accessed_file(*name, *follow, *access, root)? {
                Some(file) if !file.access.fails_anyway(&file.target) => files.push(file),
                _ => return Ok(None),
            }
        }
        let refused: Vec<_> = files
            .iter()
            .filter_map(|file| file.access.refused(&file.target, &self.inspector.files))
            .map(Path::to_owned)
            .collect();
        let Some(first) = files.first().filter(|_| !refused.is_empty()) else {
            return Ok(None);
        };
        let texts: Vec<_> = files.iter().map(AccessedFile::text).collect();
        let what = texts.join(" from ");
        Ok(Some(attempt(first.access.kind(), &what, refused)))
    }

    /// The file that these arguments name; `None` if the call fails because of them.
    fn accessed_file(
        &self,
        name: Name,
        follow: bool,
        access: Access,
        root: &Path,
    ) -> Result<Option<AccessedFile>, Errno> {
        let Some(path) = self.caller.path(self.arguments[name.path])? else {
            return Ok(None);
        };
        let Some(directory) = self.directory(name, &path)? else {
            return Ok(None);
        };
        let start = Start {
            directory: &directory,
            root,
            process: &self.caller.process,
            thread: &self.caller.thread,
        };
        Ok(Some(AccessedFile {
            target: start.resolve(&path, follow),
            path: directory.join(path),
            access,
        }))
    }

    /// The directory from which a path is resolved; `None` if there is none.
    fn directory(&self, name: Name, path: &Path) -> Result<Option<PathBuf>, Errno> {
        if path.is_absolute() {
            return Ok(Some("/".into()));
        }
        let descriptor = name.directory.map(|at| number(self.arguments[at]));
        self.caller.directory(descriptor)
    }
}

impl AccessedFile {
    /// Its path, followed by the resolved path if that differs.
    fn text(&self) -> String {
        let path = shown(&self.path);
        match self.target.path() {
            Some(file) if file != self.path => format!("{path} ({})", shown(file)),
            _ => path,
        }
    }
}

/// The lower half of an argument: the kernel ignores the upper half of an `int`.
fn number(argument: u64) -> i32 {
    let low = u32::try_from(argument & u64::from(u32::MAX)).unwrap_or_default();
    low.cast_signed()
}
