//! What a system call of a watched worker attempts, and whether the sandbox permits it.
//!
//! Nothing is opened or changed to find out: paths are followed as the kernel would ([`super::path`]) and compared with the
//! grants from which the sandbox was made. A call that fails for another reason than the sandbox attempts nothing.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    process,
};

use libc::c_long;
use rustix::io::Errno;

use super::{
    access::{Access, Flags},
    attempts::{Attempt, shown},
    caller::{Caller, Worker, descends},
    confine::refused_when_watched,
    effects::{Effect, Name, effects},
    granted::GrantedFiles,
    notify::{Notification, Response},
    path::{Start, Target},
    probe::Trespass,
};

/// What the kernel is answered, and what is recorded.
pub(super) type Inspected = (Response, Option<Attempt>);

/// Inspects the calls of one worker.
pub(super) struct Inspector {
    worker: Worker,
    files: GrantedFiles,
    /// Whether it may start programs.
    exec: bool,
    effects: HashMap<c_long, Effect>,
    /// The calls that are refused whatever they name.
    refused: HashMap<c_long, &'static str>,
}

impl Inspector {
    pub(super) fn new(worker: Worker, files: GrantedFiles, exec: bool) -> io::Result<Self> {
        let refused = refused_when_watched(exec)?.into_iter();
        Ok(Self {
            worker,
            files,
            exec,
            effects: effects().collect(),
            refused: refused.map(|one| (one.call, one.name)).collect(),
        })
    }

    /// Decides about one call. Its caller waits meanwhile.
    pub(super) fn inspect(&self, notification: &Notification) -> Inspected {
        let Some(effect) = self.effects.get(&notification.call) else {
            return self.refuse(notification);
        };
        let Ok(caller) = Caller::new(&self.worker, notification.thread) else {
            return (Response::Fail(Errno::PERM), None);
        };
        // What a program does that the plugin may start is that program's business.
        if self.exec && !caller.is_worker() {
            return (Response::Continue, None);
        }
        let inspection = Inspection {
            inspector: self,
            caller,
            arguments: notification.arguments,
        };
        let inspected = inspection.inspect(*effect);
        inspected.unwrap_or_else(|error| (Response::Fail(error), None))
    }

    fn refuse(&self, notification: &Notification) -> Inspected {
        let is_socket = notification.call == libc::SYS_socket;
        let response = Response::Fail(Errno::PERM);
        // The C library asks for a cache daemon by itself when it looks up names and people, and does without.
        if is_socket && number(notification.arguments[0]) == libc::AF_UNIX {
            return (response, None);
        }
        let name = self.refused.get(&notification.call).unwrap_or(&"?");
        let attempt = Attempt::new(Trespass::Call, name, Vec::new());
        (response, Some(attempt))
    }
}

/// One call that is inspected.
struct Inspection<'a> {
    inspector: &'a Inspector,
    caller: Caller<'a>,
    arguments: [u64; 6],
}

/// A file that a call names.
struct Named {
    /// As the caller wrote it, but absolute.
    path: PathBuf,
    target: Target,
    access: Access,
}

impl Inspection<'_> {
    fn inspect(&self, effect: Effect) -> Result<Inspected, Errno> {
        let attempt = match effect {
            Effect::Start(name) => return self.start(name),
            Effect::Signal(process, signal) => self.signal(number(self.arguments[process]), signal),
            Effect::SignalByDescriptor(descriptor, signal) => {
                let process = self.caller.process_of(number(self.arguments[descriptor]));
                process.and_then(|process| self.signal(process, signal))
            }
            on_files => self.on_files(on_files)?,
        };
        Ok((Response::Continue, attempt))
    }

    fn start(&self, name: Name) -> Result<Inspected, Errno> {
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
        let attempt = Attempt::new(Trespass::Exec, &shown(&program), Vec::new());
        Ok((Response::Fail(Errno::PERM), Some(attempt)))
    }

    /// A signal to what descends from this process, and so from the worker or from what the worker has left to this process, is
    /// not refused.
    fn signal(&self, process: i32, signal: usize) -> Option<Attempt> {
        let me = process::id().cast_signed();
        let is_refused = match process {
            // Its own group.
            0 => false,
            // Every process.
            -1 => true,
            // A group has the number of the process that began it.
            process => !descends(process.saturating_abs(), me)?,
        };
        let signal = number(self.arguments[signal]);
        let what = format!("signal {signal} to process {process}");
        is_refused.then(|| Attempt::new(Trespass::Call, &what, Vec::new()))
    }

    fn on_files(&self, effect: Effect) -> Result<Option<Attempt>, Errno> {
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

    /// Whether this flag is among the flags at this position.
    fn flag(&self, flags: Option<usize>, flag: u32) -> bool {
        flags.is_some_and(|flags| self.arguments[flags] & u64::from(flag) != 0)
    }

    fn open(&self, name: Name, flags: Flags, root: &Path) -> Result<Option<Attempt>, Errno> {
        self.access(&[(name, flags.follow(), Access::Open(flags))], root)
    }

    fn open_how(&self, name: Name, how: usize) -> Result<Option<Attempt>, Errno> {
        // The flags, the mode, and how the path is followed.
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

    /// What comes of access to several files at once, each with whether a last symbolic link is followed.
    fn access(
        &self,
        wanted: &[(Name, bool, Access)],
        root: &Path,
    ) -> Result<Option<Attempt>, Errno> {
        let mut files = Vec::new();
        for (name, follow, access) in wanted {
            match self.named(*name, *follow, *access, root)? {
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
        let texts: Vec<_> = files.iter().map(Named::text).collect();
        Ok(Some(Attempt::new(
            first.access.kind(),
            &texts.join(" from "),
            refused,
        )))
    }

    /// The file that these arguments name; `None` where they name none.
    fn named(
        &self,
        name: Name,
        follow: bool,
        access: Access,
        root: &Path,
    ) -> Result<Option<Named>, Errno> {
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
        Ok(Some(Named {
            target: start.resolve(&path, follow),
            path: directory.join(path),
            access,
        }))
    }

    /// Where a path begins; `None` if that is not there.
    fn directory(&self, name: Name, path: &Path) -> Result<Option<PathBuf>, Errno> {
        if path.is_absolute() {
            return Ok(Some("/".into()));
        }
        let descriptor = name.directory.map(|at| number(self.arguments[at]));
        self.caller.directory(descriptor)
    }
}

impl Named {
    /// Its path, and where that leads if it is elsewhere.
    fn text(&self) -> String {
        let path = shown(&self.path);
        match self.target.path() {
            Some(file) if file != self.path => format!("{path} ({})", shown(file)),
            _ => path,
        }
    }
}

/// The lower half of an argument, which is all that the kernel reads of a number.
fn number(argument: u64) -> i32 {
    let low = u32::try_from(argument & u64::from(u32::MAX)).unwrap_or_default();
    low.cast_signed()
}
