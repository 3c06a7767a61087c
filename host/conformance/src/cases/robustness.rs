//! Whether the plugin leaves its process alive and as it was. One tour through everything it offers, looked at from many
//! sides.

use operator_loader::Payload;
use operator_plugin_api::ErrorKind;

use super::tour::{Tour, tour};
use crate::{
    backends::Mode, bench::shown, case::Case, lab::DEADLINE, lab::Lab, verdict::Ran,
    verdict::Status, verdict::Stop,
};

pub(super) const CASES: [Case; 10] = [
    Case {
        id: "robustness.panic",
        expects: "no call panics, whatever text it is given; an error is typed and has words",
        fix: "answer an Error in place of unwrap, indexing and arithmetic that can fail",
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
        expects: "no call ends the process or closes descriptors that are not the plugin's",
        fix: "remove process::exit, and what a library does in its place",
        run: |lab| ends_by(lab, "robustness.exit"),
    },
    Case {
        id: "robustness.segfault",
        expects: "no call is ended by a signal",
        fix: "look at raw pointers and at C libraries, under valgrind or a sanitizer",
        run: |lab| ends_by(lab, "robustness.segfault"),
    },
    Case {
        id: "robustness.stack-overflow",
        expects: "no call overflows its stack",
        fix: "bound every recursion",
        run: |lab| ends_by(lab, "robustness.stack-overflow"),
    },
    Case {
        id: "robustness.spin",
        expects: "no call computes without end",
        fix: "give every loop an end, and look at the deadline in it",
        run: |lab| ends_by(lab, "robustness.spin"),
    },
    Case {
        id: "robustness.lock",
        expects: "no call waits without end",
        fix: "never hold a lock over a call that takes it, and wait with a timeout",
        run: |lab| ends_by(lab, "robustness.lock"),
    },
    Case {
        id: "robustness.prints",
        expects: "one tour through all calls prints less than 64 KiB",
        fix: "print what helps a person, once, and not in every cycle",
        run: prints,
    },
    Case {
        id: "robustness.signal-handlers",
        expects: "no signal is caught, ignored or blocked that was not before",
        fix: "leave signals to the operator",
        run: signal_handlers,
    },
    Case {
        id: "robustness.process-state",
        expects: "working directory, umask and environment stay as they were",
        fix: "name files by absolute paths, and pass what is needed in the configuration",
        run: process_state,
    },
];

/// More than a plugin has to say in one tour. Bytes.
const MOST_PRINTED: u64 = 64 << 10;

fn ends_by(lab: &Lab, case: &str) -> Ran {
    tour(lab).map(drop).map_err(|end| end.seen_by(case))
}

/// A tour to its end; what ended it early is the business of others.
fn whole_tour(lab: &Lab) -> Result<Tour, Stop> {
    tour(lab).map_err(|end| end.seen_by(""))
}

fn panics(lab: &Lab) -> Ran {
    let tour = whole_tour(lab)?;
    for (call, payload) in tour.payload {
        let wrong = |what: &str| Err(Stop::fail(format!("{call} {what}")));
        if payload.error_kind() == Some(ErrorKind::Panic) {
            return wrong(&shown(&payload));
        }
        match &payload {
            Payload::Nothing(_) => return wrong(&shown(&payload)),
            Payload::Error { message, .. } if message.trim().is_empty() => {
                return wrong("failed without a word");
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

fn panic_in_drop(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    ready.bench.observe(0, DEADLINE)?;
    let (before, _) = ready.bench.probe.printed();
    let payload = ready.bench.drop_instance(0).map_err(|stop| match stop {
        Stop::Blocked {
            status: Status::Crash,
            ..
        } => stop.of_this(),
        other => other,
    })?;
    if let Payload::Nothing(why) = payload.payload {
        return Err(Stop::fail(why));
    }
    let (_, printed) = ready.bench.probe.close(DEADLINE);
    let after = printed.get(before.len()..).unwrap_or_default();
    match after.lines().find(|line| line.contains("panicked")) {
        Some(line) => Err(Stop::fail(format!("it printed: {line:.200}"))),
        None => Ok(()),
    }
}

fn prints(lab: &Lab) -> Ran {
    let tour = whole_tour(lab)?;
    if tour.printed > MOST_PRINTED {
        return Err(Stop::fail(format!("it printed {} bytes", tour.printed)));
    }
    Ok(())
}

fn signal_handlers(lab: &Lab) -> Ran {
    let tour = whole_tour(lab)?;
    for (name, before) in &tour.before.signals {
        let after = &tour.after.signals[name];
        if before != after {
            return Err(Stop::fail(format!("{name} was {before} and is {after}")));
        }
    }
    Ok(())
}

fn process_state(lab: &Lab) -> Ran {
    let tour = whole_tour(lab)?;
    if tour.before.cwd != tour.after.cwd {
        let to = tour.after.cwd.display();
        return Err(Stop::fail(format!(
            "it changed its working directory to {to}"
        )));
    }
    if tour.before.umask != tour.after.umask {
        let (before, after) = (tour.before.umask, tour.after.umask);
        return Err(Stop::fail(format!("the umask was {before} and is {after}")));
    }
    if tour.environment_before != tour.environment_after {
        return Err(Stop::fail("it changed the environment"));
    }
    Ok(())
}
