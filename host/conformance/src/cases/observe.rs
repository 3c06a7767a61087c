//! Observing backends that are unreachable, slow or broken.

use std::time::{Duration, Instant};

use operator_loader::{Payload, ProbeResponse};
use operator_plugin_api::{CheckReport, ErrorKind, Observation, now_ms};
use operator_plugin_fakes::{Manner, Reads};
use serde_json::Value;

use crate::{
    backends::Mode, case::Case, context::CaseContext, context::DEADLINE, context::LENIENCE,
    context::READS, context::Setup, samples::validator, verdict::CaseResult, verdict::Status,
    verdict::Stop, worker, worker::document, worker::shown,
};

pub(super) const CASES: [Case; 11] = [
    Case {
        id: "observe.json-object",
        expects: "observe returns an observation as the API defines it",
        fix: "return Observation from observe, and let the SDK serialize it",
        run: json_object,
    },
    Case {
        id: "observe.schema",
        expects: "the data of an observation is valid for the schema in the descriptor",
        fix: "derive JsonSchema and Serialize for the same type",
        run: schema,
    },
    Case {
        id: "observe.size-cap",
        expects: "an observation has at most 8 MiB, no matter what the backends send",
        fix: "limit what is read from backends and what is listed",
        run: size_cap,
    },
    Case {
        id: "observe.deadline-refused",
        expects: "observe returns within its deadline while every backend refuses connections",
        fix: "do not retry for longer than the deadline",
        run: |context| deadline(context, Mode::Closed),
    },
    Case {
        id: "observe.deadline-black-hole",
        expects: "observe returns within its deadline while connection attempts get no answer",
        fix: "limit connecting by the time left until the deadline",
        run: |context| deadline(context, Mode::BlackHole),
    },
    Case {
        id: "observe.deadline-stall",
        expects: "observe returns within its deadline while every backend accepts connections and sends nothing",
        fix: "limit reading by the time left until the deadline",
        run: |context| deadline(context, Mode::As(Manner::Stall)),
    },
    Case {
        id: "observe.garbage-backend",
        expects: "errors, HTML, truncated and endless bodies end in errors or unknowns within the deadline, never in a clean report",
        fix: "check status, content type and length of every response, and report as unknown what was not read",
        run: garbage,
    },
    Case {
        id: "observe.recovers",
        expects: "after an outage the next observations connect to the backends again",
        fix: "do not keep a broken connection or a failure forever",
        run: recovers,
    },
    Case {
        id: "observe.no-stale",
        expects: "every observation is new: it queries the backends, and its time is within the call",
        fix: "cache nothing between observations, and set observed_at_ms at the end",
        run: no_stale,
    },
    Case {
        id: "observe.read-only",
        expects: "observe requests no change of the subject",
        fix: "use only requests that read",
        run: read_only,
    },
    Case {
        id: "observe.names-failed-source",
        expects: "an unreachable backend is named in sources with its error, or in the error of observe",
        fix: "add a Source with an error for every backend that did not answer",
        run: names_failed_source,
    },
];

/// Useless answers of a backend.
const GARBAGE: [Manner; 7] = [
    Manner::Error500,
    Manner::Html,
    Manner::HalfBody,
    Manner::Endless,
    Manner::SlowDrip,
    Manner::Nonsense,
    Manner::Refuse,
];

/// An observation, with the first answers of the backends that give one.
pub(super) fn some_observation(context: &CaseContext) -> Result<(Setup, String), Stop> {
    let mut setup = context.set_up(Mode::As(Manner::Agree(Reads::EmptyObject)))?;
    let mut manners: Vec<_> = READS.map(Manner::Agree).into();
    manners.extend([Manner::Error500, Manner::Html]);
    let mut last = String::new();
    for manner in manners {
        setup.backends.behave(manner);
        match setup.worker.observe(0, DEADLINE)?.payload {
            Payload::Text(text) => return Ok((setup, text)),
            Payload::TooLarge(bytes) => {
                let what = format!("it returned {bytes} bytes");
                return Err(Stop::blocked(&["observe.size-cap"], Status::Fail, what));
            }
            other => last = shown(&other),
        }
    }
    let why = format!("observe returns no observation with fake backends; it {last}");
    Err(Stop::skip(why))
}

fn json_object(context: &CaseContext) -> CaseResult {
    let (_, text) = some_observation(context)?;
    let observation: Observation = document("observe", Payload::Text(text))?;
    if !observation.data.is_object() {
        return Err(Stop::fail("`data` of the observation is not an object"));
    }
    if observation.summary.contains(['\n', '\r']) {
        return Err(Stop::fail(
            "`summary` of the observation has more than one line",
        ));
    }
    if observation
        .sources
        .iter()
        .any(|source| source.name.trim().is_empty())
    {
        return Err(Stop::fail("a source has no name"));
    }
    Ok(())
}

fn schema(context: &CaseContext) -> CaseResult {
    let (setup, text) = some_observation(context)?;
    let observation: Observation = document("observe", Payload::Text(text))
        .map_err(|stop| stop.attributed_to(&["observe.json-object"]))?;
    let mut all = vec![("observe".to_owned(), observation.data)];
    let golden = context.golden.all();
    all.extend(golden.map(|(name, document)| (name, document["data"].clone())));
    let Some(validator) = validator(&setup.descriptor.observation_schema) else {
        return Err(Stop::blocked(
            &["describe.valid"],
            Status::Fail,
            "it has no schema",
        ));
    };
    for (name, data) in all {
        if let Err(error) = validator.validate(&data) {
            let at = error.instance_path().to_string();
            return Err(Stop::fail(format!("data of {name} at {at:?}: {error}")));
        }
    }
    Ok(())
}

fn size_cap(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::As(Manner::Endless))?;
    for manner in [Manner::Endless, Manner::Agree(Reads::EmptyObject)] {
        setup.backends.behave(manner);
        if let Payload::TooLarge(bytes) = setup.worker.observe(0, DEADLINE)?.payload {
            return Err(Stop::fail(format!("an observation has {bytes} bytes")));
        }
    }
    Ok(())
}

/// That an answer came within its deadline.
fn in_time(answer: &ProbeResponse) -> CaseResult {
    let took = Duration::from_micros(answer.took_us);
    if took <= DEADLINE + LENIENCE {
        return Ok(());
    }
    let (took, limit) = (took.as_millis(), DEADLINE.as_millis());
    Err(Stop::fail(format!(
        "it took {took} ms, its deadline was {limit} ms"
    )))
}

fn deadline(context: &CaseContext, mode: Mode) -> CaseResult {
    let mut setup = context.set_up_with_backends(mode)?;
    let answer = setup.worker.observe(0, DEADLINE).map_err(of_own_hang)?;
    in_time(&answer)?;
    of_subject_kind(&answer.payload)
}

/// A call that does not return is the finding of this case.
fn of_own_hang(stop: Stop) -> Stop {
    match stop {
        Stop::Blocked {
            status: Status::Hang,
            ..
        } => stop.attributed_here(),
        other => other,
    }
}

/// An error must have a kind that names the subject as the cause, not the plugin or its configuration.
fn of_subject_kind(payload: &Payload) -> CaseResult {
    match payload.error_kind() {
        Some(ErrorKind::Panic) => Err(Stop::blocked(
            &["robustness.panic"],
            Status::Fail,
            shown(payload),
        )),
        Some(ErrorKind::Internal | ErrorKind::Config | ErrorKind::Invalid) => {
            Err(Stop::fail(format!("it {}", shown(payload))))
        }
        _ => Ok(()),
    }
}

fn garbage(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::As(Manner::Stall))?;
    let mut held = Vec::new();
    let mut asks = Vec::new();
    for (instance, manner) in (1..).zip(GARBAGE) {
        let backends = context.backends(&setup.descriptor, Mode::As(manner))?;
        setup.worker.create(instance, &backends.config)?;
        asks.push(worker::observe(instance, DEADLINE));
        held.push(backends);
    }
    // At the same time: each may take the whole deadline.
    let answers = setup.worker.ask_together(asks).map_err(of_own_hang)?;
    for (manner, answer) in GARBAGE.iter().zip(answers) {
        let about = |stop: Stop| stop.about(&format!("{manner:?}"));
        in_time(&answer).map_err(about)?;
        of_subject_kind(&answer.payload).map_err(about)?;
        not_clean(&mut setup, answer.payload).map_err(about)?;
    }
    Ok(())
}

/// An observation without data from any backend must not get a clean report.
fn not_clean(setup: &mut Setup, payload: Payload) -> CaseResult {
    let Payload::Text(text) = payload else {
        return Ok(());
    };
    let payload = setup.worker.check(0, &text)?;
    let report: CheckReport = document("check", payload)
        .map_err(|stop| stop.attributed_to(&["check.violation-shape"]))?;
    if report.violations.is_empty() && report.unknown.is_empty() {
        return Err(Stop::fail(
            "check returned a clean report for an observation without data from any backend",
        ));
    }
    Ok(())
}

fn recovers(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::Closed)?;
    setup.worker.observe(0, DEADLINE)?;
    setup.backends.open(Manner::Error500).map_err(Stop::error)?;
    let until = Instant::now() + 2 * DEADLINE;
    loop {
        setup.worker.observe(0, DEADLINE)?;
        let asked = |fake: &operator_plugin_fakes::Fake| fake.connections() > 0;
        if setup.backends.fakes.iter().any(|(_, fake)| asked(fake)) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Stop::fail(
                "after an outage it connected to no backend again",
            ));
        }
    }
}

fn no_stale(context: &CaseContext) -> CaseResult {
    /// Between two clocks of one machine.
    const SKEW_MS: i64 = 50;
    let mut setup = context.set_up_with_backends(Mode::As(Manner::Error500))?;
    for manner in [Manner::Error500, Manner::Html, Manner::Error500] {
        setup.backends.behave(manner);
        let (reached, begun) = (setup.backends.reached(), now_ms());
        let payload = setup.worker.observe(0, DEADLINE)?.payload;
        let ended = now_ms();
        if setup.backends.reached() == reached {
            return Err(Stop::fail(
                "an observation was made without a request to any backend",
            ));
        }
        let Payload::Text(text) = payload else {
            continue;
        };
        let observation: Value = serde_json::from_str(&text).unwrap_or_default();
        let Some(at) = observation["observed_at_ms"].as_i64() else {
            let what = "an observation has no observed_at_ms";
            return Err(Stop::blocked(&["observe.json-object"], Status::Fail, what));
        };
        if !(begun - SKEW_MS..=ended + SKEW_MS).contains(&at) {
            let what = format!("observed_at_ms is {at}; the call ran from {begun} to {ended}");
            return Err(Stop::fail(what));
        }
    }
    Ok(())
}

fn read_only(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::As(Manner::Error500))?;
    let mut manners: Vec<_> = READS.map(Manner::Agree).into();
    manners.extend([Manner::Error500, Manner::Html, Manner::Refuse]);
    for manner in manners {
        setup.backends.behave(manner);
        setup.worker.observe(0, DEADLINE)?;
    }
    match setup.backends.changes().first() {
        Some(change) => Err(Stop::fail(format!("observe sent `{:.200}`", change.line))),
        None => Ok(()),
    }
}

fn names_failed_source(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up_with_backends(Mode::Closed)?;
    match setup.worker.observe(0, DEADLINE)?.payload {
        Payload::Text(text) => {
            let observation: Observation = document("observe", Payload::Text(text))
                .map_err(|stop| stop.attributed_to(&["observe.json-object"]))?;
            let failed = observation
                .sources
                .iter()
                .filter_map(|source| source.error.as_ref());
            let failed: Vec<_> = failed.collect();
            if failed.is_empty() {
                return Err(Stop::fail(
                    "every backend was unreachable, and no source has an error",
                ));
            }
            if failed.iter().any(|error| error.trim().is_empty()) {
                return Err(Stop::fail("a source has an empty error"));
            }
            let well = observation.sources.len() - failed.len();
            if well > 0 && failed.len() < setup.backends.fakes.len() {
                return Err(Stop::fail(format!(
                    "every backend was unreachable, and {well} source(s) have no error"
                )));
            }
            Ok(())
        }
        Payload::Error { message, .. } if message.trim().is_empty() => {
            Err(Stop::fail("it failed with an empty message"))
        }
        _ => Ok(()),
    }
}
