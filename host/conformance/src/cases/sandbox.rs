//! Whether the plugin works without what the sandbox refuses, and whether the sandbox refuses it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use operator_config::granted;
use operator_loader::{Attempt, AttemptKind, Payload, ProbeRequest};
use operator_plugin_fakes::Manner;

use super::smoke_run::requests;
use crate::{
    backends::Mode,
    case::Case,
    context::{CaseContext, READS, Setup},
    verdict::{CaseResult, Stop},
    worker::invoke,
};

pub(super) const CASES: [Case; 6] = [
    Case {
        id: "sandbox.read",
        expects: "it reads no file but the system's libraries and tables, its own, and those that its settings name",
        fix: "mark the setting that names the file with \"x-path\": \"read\", or do without the file",
        run: |context| refused_nothing(context, AttemptKind::Read),
    },
    Case {
        id: "sandbox.write",
        expects: "it writes only in its working directory and to the paths in its settings",
        fix: "mark the setting that names the file with \"x-path\": \"write\", or write below the working directory",
        run: |context| refused_nothing(context, AttemptKind::Write),
    },
    Case {
        id: "sandbox.exec",
        expects: "it starts no program, unless its manifest asks for that",
        fix: "use a library instead, or ask for it: export_subject!(MySubject, exec = \"which program, and why\")",
        run: |context| refused_nothing(context, AttemptKind::Exec),
    },
    Case {
        id: "sandbox.outlive",
        expects: "it stays in the process group, and keeps the signal, by which the operator ends it",
        fix: "leave process groups, sessions, users and PR_SET_PDEATHSIG alone: the operator must be able to end it at any time",
        run: |context| refused_nothing(context, AttemptKind::Outlive),
    },
    Case {
        id: "sandbox.share",
        expects: "it creates no memory, queue or socket that outlives it or that other processes can reach",
        fix: "use memory of its own and files below the working directory instead of shared memory and message queues; between threads, use a stream pair (UnixStream::pair)",
        run: |context| refused_nothing(context, AttemptKind::Share),
    },
    Case {
        id: "sandbox.calls",
        expects: "it leaves other processes, mounts, owners and modes of files, and the system's settings alone",
        fix: "leave processes and the system to the operator's people",
        run: |context| refused_nothing(context, AttemptKind::Call),
    },
];

/// The number of attempts that a message names.
const MAX_NAMED: usize = 5;
/// What there is to start on every system.
const PROGRAM: &str = "/bin/sh";

fn refused_nothing(context: &CaseContext, kind: AttemptKind) -> CaseResult {
    let mut setup = watched(context)?;
    // Parameters that cannot be derived from a schema, or a plugin without backends, leave nothing to call.
    let (calls, _) = setup.calls().unwrap_or_default();
    let calls: Result<Vec<_>, Stop> = calls.iter().map(|call| invoke(0, call)).collect();
    setup.worker.ask_together(calls?)?;
    for (_, ask) in requests(context) {
        setup.worker.ask(ask)?;
    }
    let mut attempts = setup.worker.probe.attempts().map_err(Stop::error)?;
    attempts.retain(|attempt| attempt.kind == kind && !is_granted(&setup, attempt));
    holds(context, &mut setup, kind)?;
    if attempts.is_empty() {
        return Ok(());
    }
    let mut tried: Vec<_> = attempts.iter().take(MAX_NAMED).map(words).collect();
    if attempts.len() > MAX_NAMED {
        tried.push(format!("{} more", attempts.len() - MAX_NAMED));
    }
    Err(Stop::fail(format!(
        "it tried {}, which the sandbox refused; with isolation = \"none\" nothing would refuse it",
        tried.join(" and ")
    )))
}

/// A configured instance in a worker that keeps what it is refused. Its backends answer.
fn watched(context: &CaseContext) -> Result<Setup, Stop> {
    let mut worker = context.start_watched()?;
    worker.load()?;
    let descriptor = worker.describe()?;
    let mode = Mode::As(Manner::Agree(READS[0]));
    let backends = context.backends(&descriptor, mode)?;
    worker.create(0, &backends.config)?;
    Ok(Setup {
        worker,
        descriptor,
        backends,
    })
}

/// Whether a person who configures the plugin so grants this path.
fn is_granted(setup: &Setup, attempt: &Attempt) -> bool {
    let granted = granted(&setup.descriptor.config_schema, &setup.backends.config).widened();
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let covers = |paths: &[PathBuf], file: &Path| {
        let mut paths = paths.iter().map(real);
        paths.any(|path| file.starts_with(path))
    };
    let mut files = attempt.files.iter();
    match attempt.kind {
        AttemptKind::Read => {
            files.all(|file| covers(&granted.read, file) || covers(&granted.write, file))
        }
        AttemptKind::Write => files.all(|file| covers(&granted.write, file)),
        AttemptKind::Exec | AttemptKind::Outlive | AttemptKind::Share | AttemptKind::Call => false,
    }
}

fn words(attempt: &Attempt) -> String {
    let what = &attempt.what;
    match attempt.kind {
        AttemptKind::Read => format!("to read {what}"),
        AttemptKind::Write => format!("to write {what}"),
        AttemptKind::Exec => format!("to start {what}"),
        AttemptKind::Outlive | AttemptKind::Share | AttemptKind::Call => {
            format!("the system call {what}")
        }
    }
}

/// That the plugin's process, with the plugin in it, is refused such a thing.
fn holds(context: &CaseContext, setup: &mut Setup, kind: AttemptKind) -> CaseResult {
    let is_granted = context.plugin()?.manifest.needs.exec.is_some();
    if kind == AttemptKind::Exec && is_granted {
        return Ok(());
    }
    let path = match kind {
        AttemptKind::Read | AttemptKind::Write => {
            let beyond = context.input.dir.with_extension("beyond");
            fs::write(&beyond, "not the plugin's").map_err(Stop::error)?;
            beyond
        }
        AttemptKind::Exec | AttemptKind::Outlive | AttemptKind::Share | AttemptKind::Call => {
            PROGRAM.into()
        }
    };
    match setup
        .worker
        .ask(ProbeRequest::Attempt { kind, path })?
        .payload
    {
        Payload::Error { .. } => Ok(()),
        _ => Err(Stop::error(
            "the sandbox of this machine does not hold: what it must refuse was done",
        )),
    }
}
