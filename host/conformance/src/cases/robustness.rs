//! Whether the plugin leaves its process alive and unchanged. Each case examines one aspect of the same smoke run.

use operator_loader::Payload;
use operator_plugin_api::ErrorKind;

use super::smoke_run::{SmokeRun, smoke_run};
use crate::{
    backends::Mode, case::Case, context::CaseContext, context::DEADLINE, verdict::CaseResult,
    verdict::Status, verdict::Stop, worker::shown,
};

pub(super) const CASES: [Case; 10] = [
    Case {
        id: "robustness.panic",
        expects: "no call panics for any input, and every error has a kind and a message",
        fix: "return an Error instead of unwrap, indexing, or arithmetic that can overflow",
        run: panics,
    },
    Case {
        id: "robustness.panic-in-drop",
        expects: "dropping a subject does not panic",
        fix: "do not unwrap in Drop",
        run: panic_in_drop,
    },
    Case {
        id: "robustness.exit",
        expects: "no call ends the process or closes descriptors that the plugin does not own",
        fix: "remove process::exit, also from libraries",
        run: |context| ends_by(context, "robustness.exit"),
    },
    Case {
        id: "robustness.segfault",
        expects: "no call ends the process by a signal",
        fix: "check raw pointers and C libraries with valgrind or a sanitizer",
        run: |context| ends_by(context, "robustness.segfault"),
    },
    Case {
        id: "robustness.stack-overflow",
        expects: "no call overflows its stack",
        fix: "limit every recursion",
        run: |context| ends_by(context, "robustness.stack-overflow"),
    },
    Case {
        id: "robustness.spin",
        expects: "no call computes forever",
        fix: "end every loop, and check the deadline in it",
        run: |context| ends_by(context, "robustness.spin"),
    },
    Case {
        id: "robustness.lock",
        expects: "no call waits forever",
        fix: "never hold a lock during a call that takes it, and wait with a timeout",
        run: |context| ends_by(context, "robustness.lock"),
    },
    Case {
        id: "robustness.prints",
        expects: "one smoke run through all calls prints at most 64 KiB",
        fix: "print only what helps a person, and not in every cycle",
        run: prints,
    },
    Case {
        id: "robustness.signal-handlers",
        expects: "no call changes which signals are caught, ignored or blocked",
        fix: "do not change signal handlers or masks",
        run: signal_handlers,
    },
    Case {
        id: "robustness.process-state",
        expects: "the working directory, the umask and the environment stay unchanged",
        fix: "use absolute paths, and take settings from the configuration",
        run: process_state,
    },
];

/// The limit of what a plugin may print in one run. Bytes.
const MOST_PRINTED: u64 = 64 << 10;

fn ends_by(context: &CaseContext, case: &str) -> CaseResult {
    smoke_run(context)
        .map(drop)
        .map_err(|end| end.for_case(case))
}

/// A run to its end; what ended it early is the business of others.
fn whole_run(context: &CaseContext) -> Result<SmokeRun, Stop> {
    smoke_run(context).map_err(|end| end.for_case(""))
}

fn panics(context: &CaseContext) -> CaseResult {
    let run = whole_run(context)?;
    for (call, payload) in run.payload {
        let wrong = |what: &str| Err(Stop::fail(format!("{call} {what}")));
        if payload.error_kind() == Some(ErrorKind::Panic) {
            return wrong(&shown(&payload));
        }
        match &payload {
            Payload::Nothing(_) => return wrong(&shown(&payload)),
            Payload::Error { message, .. } if message.trim().is_empty() => {
                return wrong("failed with an empty message");
            }
            Payload::Error { kind, .. } if ErrorKind::from_name(kind).as_str() != kind => {
                return wrong(&format!(
                    "failed with an error of the unknown kind {kind:?}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn panic_in_drop(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    setup.worker.observe(0, DEADLINE)?;
    let (before, _) = setup.worker.probe.printed();
    let payload = setup.worker.drop_instance(0).map_err(|stop| match stop {
        Stop::Blocked {
            status: Status::Crash,
            ..
        } => stop.attributed_here(),
        other => other,
    })?;
    if let Payload::Nothing(why) = payload.payload {
        return Err(Stop::fail(why));
    }
    let (_, printed) = setup.worker.probe.close(DEADLINE);
    let after = printed.get(before.len()..).unwrap_or_default();
    match after.lines().find(|line| line.contains("panicked")) {
        Some(line) => Err(Stop::fail(format!("it printed: {line:.200}"))),
        None => Ok(()),
    }
}

fn prints(context: &CaseContext) -> CaseResult {
    let run = whole_run(context)?;
    if run.printed > MOST_PRINTED {
        return Err(Stop::fail(format!("it printed {} bytes", run.printed)));
    }
    Ok(())
}

fn signal_handlers(context: &CaseContext) -> CaseResult {
    let run = whole_run(context)?;
    for (name, before) in &run.before.signals {
        let after = &run.after.signals[name];
        if before != after {
            return Err(Stop::fail(format!("{name} was {before} and is {after}")));
        }
    }
    Ok(())
}

fn process_state(context: &CaseContext) -> CaseResult {
    let run = whole_run(context)?;
    if run.before.cwd != run.after.cwd {
        let to = run.after.cwd.display();
        return Err(Stop::fail(format!(
            "it changed its working directory to {to}"
        )));
    }
    if run.before.umask != run.after.umask {
        let (before, after) = (run.before.umask, run.after.umask);
        return Err(Stop::fail(format!("the umask was {before} and is {after}")));
    }
    if run.environment_before != run.environment_after {
        return Err(Stop::fail("it changed the environment"));
    }
    Ok(())
}
