//! One smoke run through all calls of a plugin, and how it can end.

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
    backends::Mode, context::CaseContext, context::DEADLINE, context::request, process::Process,
    process::State, verdict::Status, verdict::Stop, worker, worker::Worker, worker::method,
    worker::shown,
};

/// Between two samples of a process that may hang.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// A smoke run that reached its end.
pub(super) struct SmokeRun {
    /// What each call answered.
    pub(super) payload: Vec<(&'static str, Payload)>,
    pub(super) before: State,
    pub(super) after: State,
    pub(super) environment_before: String,
    pub(super) environment_after: String,
    pub(super) printed: u64,
}

/// Why a smoke run ended early.
pub(super) enum End {
    /// The process ended. With the case that tests for it.
    Died(&'static str, String),
    /// A call did not return. With the case that tests for it.
    Late(&'static str, String),
    /// Any other reason.
    Other(Stop),
}

impl End {
    /// A finding of `case` if it tests for this kind of end, otherwise attributed to the case that does.
    pub(super) fn for_case(self, case: &str) -> Stop {
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

/// Every kind of call, with valid and invalid input.
pub(super) fn requests(context: &CaseContext) -> Vec<(&'static str, ProbeRequest)> {
    let golden = context.golden.any().cloned();
    let observation = golden.unwrap_or_else(|_| json!({"observed_at_ms": 0, "data": {}}));
    let unknown = serde_json::to_string(&request("no_such_action", json!({}))).unwrap_or_default();
    let extension = |id: &str, payload: &str| ProbeRequest::Extension {
        instance: 0,
        id: id.into(),
        payload: payload.into(),
    };
    let mut asks = vec![
        ("observe", worker::observe(0, DEADLINE)),
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

pub(super) fn smoke_run(context: &CaseContext) -> Result<SmokeRun, End> {
    let mut worker = context.start().map_err(End::Other)?;
    let process = worker.process().map_err(End::Other)?;
    let environment_before = worker.environment().map_err(End::Other)?;
    let before = process.state().map_err(End::Other)?;
    worker.load().map_err(End::Other)?;
    let descriptor = worker.describe().map_err(End::Other)?;
    let backends = context
        .backends(&descriptor, Mode::Closed)
        .map_err(End::Other)?;
    worker.create(0, &backends.config).map_err(End::Other)?;
    let mut payload = Vec::new();
    for (call, ask) in requests(context) {
        payload.push((call, step(&mut worker, process, call, ask)?));
    }
    let environment = step(
        &mut worker,
        process,
        "the last call",
        ProbeRequest::Environment,
    )?;
    Ok(SmokeRun {
        payload,
        before,
        after: process.state().map_err(End::Other)?,
        environment_before,
        environment_after: match environment {
            Payload::Text(text) => text,
            other => shown(&other),
        },
        printed: worker.probe.printed().1,
    })
}

fn step(
    worker: &mut Worker,
    process: Process,
    call: &'static str,
    ask: ProbeRequest,
) -> Result<Payload, End> {
    let watch = Watch::start(process);
    let error = match worker.probe.call(ask, worker.call) {
        Ok(answer) => return Ok(answer.payload),
        Err(error) => error,
    };
    Err(match error {
        CallError::Died { how, .. } => {
            let (printed, _) = worker.probe.printed();
            died(call, &how, &printed)
        }
        CallError::Deadline { .. } => {
            let limit = humantime::format_duration(worker.call);
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

/// Samples on another thread whether a process computes: after its end this cannot be read.
struct Watch {
    /// The number of samples, and of those in which it computed.
    samples: Arc<(AtomicU64, AtomicU64)>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    fn start(process: Process) -> Self {
        let watch = Self {
            samples: Arc::default(),
            is_over: Arc::default(),
        };
        let (samples, is_over) = (Arc::clone(&watch.samples), Arc::clone(&watch.is_over));
        thread::spawn(move || {
            while !is_over.load(Ordering::Acquire) {
                thread::sleep(SAMPLE_INTERVAL);
                let Ok(is_computing) = process.is_computing() else {
                    return;
                };
                samples.0.fetch_add(1, Ordering::AcqRel);
                samples
                    .1
                    .fetch_add(u64::from(is_computing), Ordering::AcqRel);
            }
        });
        watch
    }

    /// Whether it computed most of the time.
    fn was_computing(&self) -> bool {
        2 * self.samples.1.load(Ordering::Acquire) > self.samples.0.load(Ordering::Acquire)
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
    use crate::{worker::DEATHS, worker::HANGS};

    #[test]
    fn an_end_is_attributed_to_its_case() {
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
            late().for_case(HANGS[0]),
            Stop::Ended(Status::Hang, _)
        ));
        assert!(matches!(late().for_case(HANGS[1]), Stop::Blocked { .. }));
    }
}
