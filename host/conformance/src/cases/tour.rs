//! One tour through everything that a plugin offers, and how it can end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use operator_loader::{CallError, Method, Payload, ProbeRequest};
use serde_json::json;

use crate::{
    backends::Mode, bench, bench::Bench, bench::method, bench::shown, lab::DEADLINE, lab::Lab,
    lab::request, process::Process, process::State, verdict::Status, verdict::Stop,
};

/// Of a process that may have hung.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What a tour came to.
pub(super) struct Tour {
    /// What each call answered.
    pub(super) payload: Vec<(&'static str, Payload)>,
    pub(super) before: State,
    pub(super) after: State,
    pub(super) environment_before: String,
    pub(super) environment_after: String,
    pub(super) printed: u64,
}

/// How a tour ended before its end.
pub(super) enum End {
    /// The process ended, as this case finds.
    Died(&'static str, String),
    /// A call did not come back, as this case finds.
    Late(&'static str, String),
    /// Something that is not the tour's business.
    Other(Stop),
}

impl End {
    /// For the case that is there for this kind of end, its own finding; for any other, that one's.
    pub(super) fn seen_by(self, case: &str) -> Stop {
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
pub(super) fn itinerary(lab: &Lab) -> Vec<(&'static str, ProbeRequest)> {
    let golden = lab.golden.any().cloned();
    let observation = golden.unwrap_or_else(|_| json!({"observed_at_ms": 0, "data": {}}));
    let unknown = serde_json::to_string(&request("no_such_action", json!({}))).unwrap_or_default();
    let extension = |id: &str, payload: &str| ProbeRequest::Extension {
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
        let create = ProbeRequest::Create {
            module,
            instance,
            config,
        };
        asks.push(("create", create));
    }
    asks.push(("drop", ProbeRequest::Drop { instance: 0 }));
    asks
}

pub(super) fn tour(lab: &Lab) -> Result<Tour, End> {
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
    let mut payload = Vec::new();
    for (call, ask) in itinerary(lab) {
        payload.push((call, step(&mut bench, process, call, ask)?));
    }
    let environment = step(
        &mut bench,
        process,
        "a last look",
        ProbeRequest::Environment,
    )?;
    Ok(Tour {
        payload,
        before,
        after: process.state().map_err(End::Other)?,
        environment_before,
        environment_after: match environment {
            Payload::Text(text) => text,
            other => shown(&other),
        },
        printed: bench.probe.printed().1,
    })
}

fn step(
    bench: &mut Bench,
    process: Process,
    call: &'static str,
    ask: ProbeRequest,
) -> Result<Payload, End> {
    let watch = Watch::start(process);
    let error = match bench.probe.ask(ask, bench.call) {
        Ok(answer) => return Ok(answer.payload),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bench::DEATHS, bench::HANGS};

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
