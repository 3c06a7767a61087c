//! Whether the plugin does without what is kept from it in a worker, and whether that is kept from it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use operator_config::granted;
use operator_loader::{Attempt, Payload, ProbeRequest, Trespass};
use operator_plugin_fakes::Manner;

use super::tour::itinerary;
use crate::{
    backends::Mode, bench::document, bench::invoke, case::Case, lab::Lab, lab::READS, lab::Ready,
    verdict::Ran, verdict::Stop,
};

pub(super) const CASES: [Case; 4] = [
    Case {
        id: "sandbox.read",
        expects: "it reads no file but the system's libraries and tables, its own, and those that its settings name",
        fix: "mark the setting that names the file with \"x-path\": \"read\", or do without the file",
        run: |lab| refused_nothing(lab, Trespass::Read),
    },
    Case {
        id: "sandbox.write",
        expects: "it writes nowhere but in its working directory and where its settings say",
        fix: "mark the setting that names the file with \"x-path\": \"write\", or write below the working directory",
        run: |lab| refused_nothing(lab, Trespass::Write),
    },
    Case {
        id: "sandbox.exec",
        expects: "it starts no program, unless its manifest asks for that",
        fix: "use a library instead, or ask for it: export_subject!(MySubject, exec = \"which program, and why\")",
        run: |lab| refused_nothing(lab, Trespass::Exec),
    },
    Case {
        id: "sandbox.calls",
        expects: "it leaves other processes, mounts, owners and modes of files, and the system's settings alone",
        fix: "leave processes and the system to the operator's people",
        run: |lab| refused_nothing(lab, Trespass::Call),
    },
];

/// What there is to start on every system.
const PROGRAM: &str = "/bin/sh";

fn refused_nothing(lab: &Lab, kind: Trespass) -> Ran {
    let mut ready = watched(lab)?;
    // Parameters that no schema tells, or a plugin without backends, leave nothing to call.
    let (calls, _) = ready.calls().unwrap_or_default();
    let calls: Result<Vec<_>, Stop> = calls.iter().map(|call| invoke(0, call)).collect();
    ready.bench.ask_together(calls?)?;
    for (_, ask) in itinerary(lab) {
        ready.bench.ask(ask)?;
    }
    let kept = ready.bench.ask(ProbeRequest::Attempts)?.payload;
    let mut attempts: Vec<Attempt> = document("attempts", kept)?;
    attempts.retain(|attempt| attempt.kind == kind && !is_granted(&ready, attempt));
    holds(lab, &mut ready, kind)?;
    if attempts.is_empty() {
        return Ok(());
    }
    let tried: Vec<_> = attempts.iter().map(words).collect();
    Err(Stop::fail(format!(
        "it tried {}, which the sandbox refused; with isolation = \"none\" nothing would refuse it",
        tried.join(" and ")
    )))
}

/// A configured instance in a worker that keeps what it is refused. Its backends answer.
fn watched(lab: &Lab) -> Result<Ready, Stop> {
    let mut bench = lab.start_watched()?;
    bench.load()?;
    let descriptor = bench.describe()?;
    let mode = Mode::As(Manner::Agree(READS[0]));
    let backends = lab.backends(&descriptor, mode)?;
    bench.create(0, &backends.config)?;
    Ok(Ready {
        bench,
        descriptor,
        backends,
    })
}

/// Whether a person who configures the plugin so grants this path.
fn is_granted(ready: &Ready, attempt: &Attempt) -> bool {
    let granted = granted(&ready.descriptor.config_schema, &ready.backends.config).widened();
    let covers = |paths: &[PathBuf]| {
        paths
            .iter()
            .any(|path| Path::new(&attempt.what).starts_with(path))
    };
    match attempt.kind {
        Trespass::Read => covers(&granted.read) || covers(&granted.write),
        Trespass::Write => covers(&granted.write),
        Trespass::Exec | Trespass::Call => false,
    }
}

fn words(attempt: &Attempt) -> String {
    let what = &attempt.what;
    match attempt.kind {
        Trespass::Read => format!("to read {what}"),
        Trespass::Write => format!("to write {what}"),
        Trespass::Exec => format!("to start {what}"),
        Trespass::Call => format!("the system call {what}"),
    }
}

/// That the plugin's process, with the plugin in it, is refused such a thing.
fn holds(lab: &Lab, ready: &mut Ready, kind: Trespass) -> Ran {
    let is_granted = lab.plugin()?.manifest.needs.exec.is_some();
    if kind == Trespass::Exec && is_granted {
        return Ok(());
    }
    let path = match kind {
        Trespass::Read | Trespass::Write => {
            let beyond = lab.order.dir.with_extension("beyond");
            fs::write(&beyond, "not the plugin's").map_err(Stop::error)?;
            beyond
        }
        Trespass::Exec | Trespass::Call => PROGRAM.into(),
    };
    match ready
        .bench
        .ask(ProbeRequest::Trespass { kind, path })?
        .payload
    {
        Payload::Error { .. } => Ok(()),
        _ => Err(Stop::error(
            "the sandbox of this machine does not hold: what it must refuse was done",
        )),
    }
}
