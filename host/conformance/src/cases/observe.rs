//! What observe makes of backends that are away, slow or mad.

use std::time::{Duration, Instant};

use operator_loader::{Payload, ProbeResponse};
use operator_plugin_api::{CheckReport, ErrorKind, Observation, now_ms};
use operator_plugin_fakes::{Manner, Reads};
use serde_json::Value;

use crate::{
    backends::Mode, bench, bench::document, bench::shown, case::Case, lab::DEADLINE, lab::LENIENCE,
    lab::Lab, lab::READS, lab::Ready, samples::validator, verdict::Ran, verdict::Status,
    verdict::Stop,
};

pub(super) const CASES: [Case; 11] = [
    Case {
        id: "observe.json-object",
        expects: "observe answers with an observation as the documents of the API define it",
        fix: "return Observation from observe, and let the SDK write it",
        run: json_object,
    },
    Case {
        id: "observe.schema",
        expects: "the data of an observation fits the schema that describe gives for it",
        fix: "derive JsonSchema and Serialize for the same type, and write nothing by hand",
        run: schema,
    },
    Case {
        id: "observe.size-cap",
        expects: "an observation has at most 8 MiB, whatever the backends send",
        fix: "bound what is read and what is listed",
        run: size_cap,
    },
    Case {
        id: "observe.deadline-refused",
        expects: "observe answers within its deadline while every backend refuses connections",
        fix: "do not retry for longer than the deadline",
        run: |lab| deadline(lab, Mode::Closed),
    },
    Case {
        id: "observe.deadline-black-hole",
        expects: "observe answers within its deadline while connection attempts are dropped",
        fix: "bound connecting by what is left of the deadline",
        run: |lab| deadline(lab, Mode::BlackHole),
    },
    Case {
        id: "observe.deadline-stall",
        expects: "observe answers within its deadline while every backend accepts and says nothing",
        fix: "bound reading by what is left of the deadline",
        run: |lab| deadline(lab, Mode::As(Manner::Stall)),
    },
    Case {
        id: "observe.garbage-backend",
        expects: "errors, HTML, half and endless bodies become named faults and unknowns, within the deadline and never a clean report",
        fix: "check status, content and length of every answer, and let check call unknown what was not read",
        run: garbage,
    },
    Case {
        id: "observe.recovers",
        expects: "after an outage the next observations ask the backends again",
        fix: "do not keep a broken connection or a failure for good",
        run: recovers,
    },
    Case {
        id: "observe.no-stale",
        expects: "every observation is made anew: it asks the backends and is dated within the call",
        fix: "cache nothing between observations, and take the time when it is complete",
        run: no_stale,
    },
    Case {
        id: "observe.read-only",
        expects: "observe asks for no change of the subject",
        fix: "use only requests that read",
        run: read_only,
    },
    Case {
        id: "observe.names-failed-source",
        expects: "a backend that is away is named in sources with its error, or in the error of observe",
        fix: "push a Source with an error for everything that did not answer",
        run: names_failed_source,
    },
];

/// Manners in which a backend answers without being of use.
const GARBAGE: [Manner; 7] = [
    Manner::Error500,
    Manner::Html,
    Manner::HalfBody,
    Manner::Endless,
    Manner::SlowDrip,
    Manner::Nonsense,
    Manner::Refuse,
];

/// An observation from whatever backends it takes to get one.
fn some_observation(lab: &Lab) -> Result<(Ready, String), Stop> {
    let mut ready = lab.ready(Mode::As(Manner::Agree(Reads::EmptyObject)))?;
    let mut manners: Vec<_> = READS.map(Manner::Agree).into();
    manners.extend([Manner::Error500, Manner::Html]);
    let mut last = String::new();
    for manner in manners {
        ready.backends.behave(manner);
        match ready.bench.observe(0, DEADLINE)?.payload {
            Payload::Text(text) => return Ok((ready, text)),
            Payload::TooLarge(bytes) => {
                let what = format!("it answered with {bytes} bytes");
                return Err(Stop::blocked(&["observe.size-cap"], Status::Fail, what));
            }
            other => last = shown(&other),
        }
    }
    let why = format!("observe gives no observation of fake backends; it {last}");
    Err(Stop::skip(why))
}

fn json_object(lab: &Lab) -> Ran {
    let (_, text) = some_observation(lab)?;
    let observation: Observation = document("observe", Payload::Text(text))?;
    if !observation.data.is_object() {
        return Err(Stop::fail("`data` of the observation is no object"));
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

fn schema(lab: &Lab) -> Ran {
    let (ready, text) = some_observation(lab)?;
    let observation: Observation = document("observe", Payload::Text(text))
        .map_err(|stop| stop.of_another(&["observe.json-object"]))?;
    let mut all = vec![("observe".to_owned(), observation.data)];
    let golden = lab.golden.all();
    all.extend(golden.map(|(name, document)| (name, document["data"].clone())));
    let Some(validator) = validator(&ready.descriptor.observation_schema) else {
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

fn size_cap(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::As(Manner::Endless))?;
    for manner in [Manner::Endless, Manner::Agree(Reads::EmptyObject)] {
        ready.backends.behave(manner);
        if let Payload::TooLarge(bytes) = ready.bench.observe(0, DEADLINE)?.payload {
            return Err(Stop::fail(format!("an observation has {bytes} bytes")));
        }
    }
    Ok(())
}

/// How far past its deadline an answer came.
fn in_time(answer: &ProbeResponse) -> Ran {
    let took = Duration::from_micros(answer.took_us);
    if took <= DEADLINE + LENIENCE {
        return Ok(());
    }
    let (took, told) = (took.as_millis(), DEADLINE.as_millis());
    Err(Stop::fail(format!(
        "it took {took} ms, its deadline was {told} ms"
    )))
}

fn deadline(lab: &Lab, mode: Mode) -> Ran {
    let mut ready = lab.ready_with_backends(mode)?;
    let answer = ready.bench.observe(0, DEADLINE).map_err(of_own_hang)?;
    in_time(&answer)?;
    of_honest_kind(&answer.payload)
}

/// A call that does not come back from a backend of this case is this case's finding.
fn of_own_hang(stop: Stop) -> Stop {
    match stop {
        Stop::Blocked {
            status: Status::Hang,
            ..
        } => stop.of_this(),
        other => other,
    }
}

/// An error says that the subject is at fault, not the plugin or its configuration.
fn of_honest_kind(payload: &Payload) -> Ran {
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

fn garbage(lab: &Lab) -> Ran {
    let mut ready = lab.ready_with_backends(Mode::As(Manner::Stall))?;
    let mut held = Vec::new();
    let mut asks = Vec::new();
    for (instance, manner) in (1..).zip(GARBAGE) {
        let backends = lab.backends(&ready.descriptor, Mode::As(manner))?;
        ready.bench.create(instance, &backends.config)?;
        asks.push(bench::observe(instance, DEADLINE));
        held.push(backends);
    }
    // At once: each may take the whole deadline.
    let answers = ready.bench.ask_together(asks).map_err(of_own_hang)?;
    for (manner, answer) in GARBAGE.iter().zip(answers) {
        let about = |stop: Stop| stop.about(&format!("{manner:?}"));
        in_time(&answer).map_err(about)?;
        of_honest_kind(&answer.payload).map_err(about)?;
        not_clean(&mut ready, answer.payload).map_err(about)?;
    }
    Ok(())
}

/// What was seen of backends that gave nothing is never healthy.
fn not_clean(ready: &mut Ready, payload: Payload) -> Ran {
    let Payload::Text(text) = payload else {
        return Ok(());
    };
    let payload = ready.bench.check(0, &text)?;
    let report: CheckReport =
        document("check", payload).map_err(|stop| stop.of_another(&["check.violation-shape"]))?;
    if report.violations.is_empty() && report.unknown.is_empty() {
        return Err(Stop::fail("check calls what was not seen healthy"));
    }
    Ok(())
}

fn recovers(lab: &Lab) -> Ran {
    let mut ready = lab.ready_with_backends(Mode::Closed)?;
    ready.bench.observe(0, DEADLINE)?;
    ready.backends.open(Manner::Error500).map_err(Stop::error)?;
    let until = Instant::now() + 2 * DEADLINE;
    loop {
        ready.bench.observe(0, DEADLINE)?;
        let asked = |fake: &operator_plugin_fakes::Fake| fake.connections() > 0;
        if ready.backends.fakes.iter().any(|(_, fake)| asked(fake)) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Stop::fail("after an outage it asked no backend again"));
        }
    }
}

fn no_stale(lab: &Lab) -> Ran {
    /// Of two clocks in one machine.
    const SKEW_MS: i64 = 50;
    let mut ready = lab.ready_with_backends(Mode::As(Manner::Error500))?;
    for manner in [Manner::Error500, Manner::Html, Manner::Error500] {
        ready.backends.behave(manner);
        let (reached, begun) = (ready.backends.reached(), now_ms());
        let payload = ready.bench.observe(0, DEADLINE)?.payload;
        let ended = now_ms();
        if ready.backends.reached() == reached {
            return Err(Stop::fail(
                "an observation was made without asking any backend",
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

fn read_only(lab: &Lab) -> Ran {
    let mut ready = lab.ready_with_backends(Mode::As(Manner::Error500))?;
    let mut manners: Vec<_> = READS.map(Manner::Agree).into();
    manners.extend([Manner::Error500, Manner::Html, Manner::Refuse]);
    for manner in manners {
        ready.backends.behave(manner);
        ready.bench.observe(0, DEADLINE)?;
    }
    match ready.backends.changes().first() {
        Some(change) => Err(Stop::fail(format!(
            "observe asked for `{:.200}`",
            change.line
        ))),
        None => Ok(()),
    }
}

fn names_failed_source(lab: &Lab) -> Ran {
    let mut ready = lab.ready_with_backends(Mode::Closed)?;
    match ready.bench.observe(0, DEADLINE)?.payload {
        Payload::Text(text) => {
            let observation: Observation = document("observe", Payload::Text(text))
                .map_err(|stop| stop.of_another(&["observe.json-object"]))?;
            let failed = observation
                .sources
                .iter()
                .filter_map(|source| source.error.as_ref());
            let failed: Vec<_> = failed.collect();
            if failed.is_empty() {
                return Err(Stop::fail(
                    "every backend was away, and no source has an error",
                ));
            }
            if failed.iter().any(|error| error.trim().is_empty()) {
                return Err(Stop::fail("a source failed without a word"));
            }
            let well = observation.sources.len() - failed.len();
            if well > 0 && failed.len() < ready.backends.fakes.len() {
                return Err(Stop::fail(format!(
                    "every backend was away, and {well} source(s) have no error"
                )));
            }
            Ok(())
        }
        Payload::Error { message, .. } if message.trim().is_empty() => {
            Err(Stop::fail("it failed without a word"))
        }
        _ => Ok(()),
    }
}
