//! Whether the plugin leaves its process alive and as it was. One tour through everything it offers, looked at from many
//! sides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use operator_plugin_api::ErrorKind;
use serde_json::json;

use crate::{
    conformance::{
        backends::Mode,
        bench::{self, Bench, method, shown},
        case::Case,
        lab::{DEADLINE, Lab, request},
        process::{Process, State},
        verdict::{Ran, Status, Stop},
    },
    loader::{Ask, CallError, Method, Said},
};

pub(super) const CASES: [Case; 10] = [
    Case {
        id: "robustness.panic",
        expects: "no call panics, whatever text it is given; an error is typed and has words",
        mend: "answer an Error in place of unwrap, indexing and arithmetic that can fail",
        run: panics,
    },
    Case {
        id: "robustness.panic-in-drop",
        expects: "dropping a subject does not panic",
        mend: "do not unwrap in Drop",
        run: panic_in_drop,
    },
    Case {
        id: "robustness.exit",
        expects: "no call ends the process or closes descriptors that are not the plugin's",
        mend: "remove process::exit, and what a library does in its place",
        run: |lab| ends_by(lab, "robustness.exit"),
    },
    Case {
        id: "robustness.segfault",
        expects: "no call is ended by a signal",
        mend: "look at raw pointers and at C libraries, under valgrind or a sanitizer",
        run: |lab| ends_by(lab, "robustness.segfault"),
    },
    Case {
        id: "robustness.stack-overflow",
        expects: "no call overflows its stack",
        mend: "bound every recursion",
        run: |lab| ends_by(lab, "robustness.stack-overflow"),
    },
    Case {
        id: "robustness.spin",
        expects: "no call computes without end",
        mend: "give every loop an end, and look at the deadline in it",
        run: |lab| ends_by(lab, "robustness.spin"),
    },
    Case {
        id: "robustness.lock",
        expects: "no call waits without end",
        mend: "never hold a lock over a call that takes it, and wait with a timeout",
        run: |lab| ends_by(lab, "robustness.lock"),
    },
    Case {
        id: "robustness.prints",
        expects: "one tour through all calls prints less than 64 KiB",
        mend: "print what helps a person, once, and not in every cycle",
        run: prints,
    },
    Case {
        id: "robustness.signal-handlers",
        expects: "no signal is caught, ignored or blocked that was not before",
        mend: "leave signals to the operator",
        run: signal_handlers,
    },
    Case {
        id: "robustness.process-state",
        expects: "working directory, umask and environment stay as they were",
        mend: "name files by absolute paths, and pass what is needed in the configuration",
        run: process_state,
    },
];

/// More than a plugin has to say in one tour. Bytes.
const MOST_PRINTED: u64 = 64 << 10;
/// Of a process that may have hung.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What a tour came to.
struct Tour {
    /// What each call answered.
    said: Vec<(&'static str, Said)>,
    before: State,
    after: State,
    environment_before: String,
    environment_after: String,
    printed: u64,
}

/// How a tour ended before its end.
enum End {
    /// The process ended, as this case finds.
    Died(&'static str, String),
    /// A call did not come back, as this case finds.
    Late(&'static str, String),
    /// Something that is not the tour's business.
    Other(Stop),
}

impl End {
    /// For the case that is there for this kind of end, its own finding; for any other, that one's.
    fn seen_by(self, case: &str) -> Stop {
        let (owner, status, what) = match self {
            Self::Died(owner, what) => (owner, Status::Crash, what),
            Self::Late(owner, what) => (owner, Status::Hang, what),
            Self::Other(stop) => return stop,
        };
        if owner == case {
            Stop::Ended(status, what)
        } else {
            Stop::blocked(&[owner], status, what)
        }
    }
}

/// Everything that a plugin is asked on one day, and some that it is never asked.
fn itinerary(lab: &Lab) -> Vec<(&'static str, Ask)> {
    let golden = lab.golden.any().cloned();
    let observation = golden.unwrap_or_else(|_| json!({"observed_at_ms": 0, "data": {}}));
    let unknown = serde_json::to_string(&request("no_such_action", json!({}))).unwrap_or_default();
    let extension = |id: &str, payload: &str| Ask::Extension {
        instance: 0,
        id: id.into(),
        payload: payload.into(),
    };
    let mut asks = vec![
        ("observe", bench::observe(0, DEADLINE)),
        ("check", method(0, Method::Check, observation.to_string())),
        ("list_actions", method(0, Method::ListActions, "")),
        ("invoke", method(0, Method::Invoke, unknown)),
        ("extension", extension("conformance.unknown", "{}")),
        ("extension", extension("", "")),
    ];
    for text in [
        "",
        "nonsense",
        "null",
        "[]",
        "{}",
        "\u{0}",
        "{\"deadline_ms\":-1}",
    ] {
        asks.push(("observe", method(0, Method::Observe, text)));
        asks.push(("check", method(0, Method::Check, text)));
        asks.push(("invoke", method(0, Method::Invoke, text)));
        asks.push(("extension", extension("conformance.unknown", text)));
        let config = text.into();
        let (module, instance) = (0, 1);
        let create = Ask::Create {
            module,
            instance,
            config,
        };
        asks.push(("create", create));
    }
    asks.push(("drop", Ask::Drop { instance: 0 }));
    asks
}

fn tour(lab: &Lab) -> Result<Tour, End> {
    let mut bench = lab.start().map_err(End::Other)?;
    let process = bench.process().map_err(End::Other)?;
    let environment_before = bench.environment().map_err(End::Other)?;
    let before = process.state().map_err(End::Other)?;
    bench.load().map_err(End::Other)?;
    let descriptor = bench.describe().map_err(End::Other)?;
    let backends = lab
        .backends(&descriptor, Mode::Closed)
        .map_err(End::Other)?;
    bench.create(0, &backends.config).map_err(End::Other)?;
    let mut said = Vec::new();
    for (call, ask) in itinerary(lab) {
        said.push((call, step(&mut bench, process, call, ask)?));
    }
    let environment = step(&mut bench, process, "a last look", Ask::Environment)?;
    Ok(Tour {
        said,
        before,
        after: process.state().map_err(End::Other)?,
        environment_before,
        environment_after: match environment {
            Said::Text(text) => text,
            other => shown(&other),
        },
        printed: bench.probe.printed().1,
    })
}

fn step(bench: &mut Bench, process: Process, call: &'static str, ask: Ask) -> Result<Said, End> {
    let watch = Watch::start(process);
    let error = match bench.probe.ask(ask, bench.call) {
        Ok(answer) => return Ok(answer.said),
        Err(error) => error,
    };
    Err(match error {
        CallError::Died { how, .. } => {
            let (printed, _) = bench.probe.printed();
            died(call, &how, &printed)
        }
        CallError::Deadline { .. } => {
            let limit = humantime::format_duration(bench.call);
            let (owner, verb) = if watch.was_computing() {
                ("robustness.spin", "computed")
            } else {
                ("robustness.lock", "waited")
            };
            End::Late(owner, format!("{call} {verb} for more than {limit}"))
        }
        other => {
            let what = format!("in {call}: {other}");
            End::Other(Stop::blocked(&["robustness.exit"], Status::Fail, what))
        }
    })
}

fn died(call: &str, how: &str, printed: &str) -> End {
    let owner = if printed.contains("overflowed its stack") {
        "robustness.stack-overflow"
    } else if how.contains("signal") {
        "robustness.segfault"
    } else {
        "robustness.exit"
    };
    End::Died(owner, format!("in {call} the plugin's process {how}"))
}

/// Watches from a thread of its own whether a process computes: once it has ended, nobody can tell.
struct Watch {
    /// How often it was looked at, and how often it computed.
    looks: Arc<(AtomicU64, AtomicU64)>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    fn start(process: Process) -> Self {
        let watch = Self {
            looks: Arc::default(),
            is_over: Arc::default(),
        };
        let (looks, is_over) = (Arc::clone(&watch.looks), Arc::clone(&watch.is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::Acquire) {
                thread::sleep(BETWEEN_LOOKS);
                let Ok(is_computing) = process.is_computing() else {
                    return;
                };
                looks.0.fetch_add(1, Ordering::AcqRel);
                looks.1.fetch_add(u64::from(is_computing), Ordering::AcqRel);
            }
        });
        watch
    }

    /// Whether it computed most of the time.
    fn was_computing(&self) -> bool {
        2 * self.looks.1.load(Ordering::Acquire) > self.looks.0.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

fn ends_by(lab: &Lab, case: &str) -> Ran {
    tour(lab).map(drop).map_err(|end| end.seen_by(case))
}

/// A tour to its end; what ended it early is the business of others.
fn whole_tour(lab: &Lab) -> Result<Tour, Stop> {
    tour(lab).map_err(|end| end.seen_by(""))
}

fn panics(lab: &Lab) -> Ran {
    let tour = whole_tour(lab)?;
    for (call, said) in tour.said {
        let wrong = |what: &str| Err(Stop::fail(format!("{call} {what}")));
        if said.error_kind() == Some(ErrorKind::Panic) {
            return wrong(&shown(&said));
        }
        match &said {
            Said::Nothing(_) => return wrong(&shown(&said)),
            Said::Error { message, .. } if message.trim().is_empty() => {
                return wrong("failed without a word");
            }
            Said::Error { kind, .. } if ErrorKind::from_name(kind).as_str() != kind => {
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
    let said = ready.bench.drop_instance(0).map_err(|stop| match stop {
        Stop::Blocked {
            status: Status::Crash,
            ..
        } => stop.of_this(),
        other => other,
    })?;
    if let Said::Nothing(why) = said.said {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::bench::{DEATHS, HANGS};

    #[test]
    fn an_end_is_told_by_its_own_case() {
        let owner = |how: &str, printed: &str| match died("observe", how, printed) {
            End::Died(owner, _) => owner,
            _ => "",
        };
        let all = [
            owner("exited with status 3", ""),
            owner("was killed by signal 11 (SIGSEGV)", ""),
            owner(
                "was killed by signal 6",
                "thread 'main' has overflowed its stack",
            ),
        ];
        assert_eq!(all, DEATHS);
        let late = || End::Late(HANGS[0], "late".into());
        assert!(matches!(
            late().seen_by(HANGS[0]),
            Stop::Ended(Status::Hang, _)
        ));
        assert!(matches!(late().seen_by(HANGS[1]), Stop::Blocked { .. }));
    }
}
