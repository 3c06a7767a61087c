//! Whether check judges correctly, and does nothing else.

use std::{thread, time::Duration};

use operator_loader::{Method, Payload};

use super::{
    check_report::{check_all, empty, judged, same, texts},
    configurations, fuzz, malformed_input,
};
use crate::{
    backends::Mode, case::Case, context::CaseContext, verdict::CaseResult, verdict::Stop,
    worker::method,
};

pub(super) const CASES: [Case; 15] = [
    Case {
        id: "check.deterministic",
        expects: "the same observation always gets the same report, also a second later and in another process",
        fix: "do not use the clock, random numbers or the order of a HashMap in check",
        run: deterministic,
    },
    Case {
        id: "check.pure-io",
        expects: "check sends no request, reads and writes nothing, and opens nothing",
        fix: "put what check needs into the observation",
        run: pure_io,
    },
    Case {
        id: "check.pure-state",
        expects: "a report does not depend on what was checked or observed before",
        fix: "keep no state in check; put what observe remembers into the observation",
        run: pure_state,
    },
    Case {
        id: "check.no-cross-instance-memory",
        expects: "a report does not depend on what another instance checked",
        fix: "keep state in the subject, not in statics",
        run: no_cross_instance_memory,
    },
    Case {
        id: "check.pure-config",
        expects: "a report does not depend on the configuration of the instance that checks",
        fix: "put the settings that check needs, such as thresholds, into the observation, and read them from there",
        run: configurations::same_verdict,
    },
    Case {
        id: "check.healthy-clean",
        expects: "each conformance/healthy/*.json gets a report without violation and without unknown",
        fix: "fix the invariant, or the observation if it is not healthy",
        run: healthy_clean,
    },
    Case {
        id: "check.detects",
        expects: "each declared invariant has a conformance/violations/<invariant>.json, and check finds it violated there",
        fix: "add the file, or fix the invariant",
        run: detects,
    },
    Case {
        id: "check.violation-shape",
        expects: "a report names only declared invariants, each at most once per resource, and gives a message or reason",
        fix: "use only declared names, and give every entry a message",
        run: violation_shape,
    },
    Case {
        id: "check.malformed",
        expects: "text that is not JSON is refused as invalid, or every invariant is unknown; no invariant holds",
        fix: "return ErrorKind::Invalid, or report every invariant as unknown",
        run: malformed_input::malformed,
    },
    Case {
        id: "check.wrong-shape",
        expects: "an observation without a field that an invariant needs leaves that invariant violated or unknown, never holding",
        fix: "make the field an Option, without #[serde(default)] for a healthy value, and report None as unknown",
        run: malformed_input::wrong_shape,
    },
    Case {
        id: "check.50-megabytes",
        expects: "an observation of 50 MB is judged or refused",
        fix: "do not copy the observation more than once",
        run: malformed_input::fifty_megabytes,
    },
    Case {
        id: "check.deep-nesting",
        expects: "an observation with 100,000 levels of nesting is judged or refused",
        fix: "parse with a recursion limit, as serde_json does",
        run: malformed_input::deep_nesting,
    },
    Case {
        id: "check.extreme-numbers",
        expects: "an observation with extreme numbers anywhere is judged or refused",
        fix: "use checked or saturating arithmetic, and check casts and divisions",
        run: malformed_input::extremes,
    },
    Case {
        id: "check.unicode",
        expects: "an observation with unusual Unicode text anywhere is judged or refused",
        fix: "do not slice strings at byte offsets",
        run: malformed_input::unicode,
    },
    Case {
        id: "check.fuzz",
        expects: "for any mutation of an observation, check returns a valid report or a typed error",
        fix: "repeat the run with the same --seed and --rounds, and fix the reported round",
        run: fuzz::check,
    },
];

/// The answers of a new process, each from a new instance.
fn fresh(context: &CaseContext, documents: &[String]) -> Result<Vec<Payload>, Stop> {
    let mut setup = context.set_up(Mode::Closed)?;
    let config = setup.backends.config.clone();
    let mut payload = Vec::new();
    for text in documents {
        setup.worker.create(0, &config)?;
        payload.push(setup.worker.check(0, text)?);
    }
    Ok(payload)
}

fn deterministic(context: &CaseContext) -> CaseResult {
    /// Two of them are longer than a second, so that a clock in seconds advances.
    const PAUSE: Duration = Duration::from_millis(550);
    let documents = texts(context)?;
    let first = fresh(context, &documents)?;
    for _ in 0..2 {
        thread::sleep(PAUSE);
        // Memory between checks is the finding of another case.
        let again = fresh(context, &documents)?;
        same(&first, &again, "the same observation, checked again,")?;
    }
    Ok(())
}

fn pure_io(context: &CaseContext) -> CaseResult {
    const TIMES: u32 = 100;
    let documents = texts(context)?;
    let mut setup = context.set_up(Mode::As(operator_plugin_fakes::Manner::Error500))?;
    let asks: Vec<_> = documents
        .iter()
        .map(|text| method(0, Method::Check, text.as_str()))
        .collect();
    setup.worker.repeat(asks.clone(), 1)?;
    let process = setup.worker.process()?;
    let reached = setup.backends.reached();
    let before = (process.descriptors()?, process.transfers()?);
    setup.worker.repeat(asks, TIMES)?;
    let after = (process.descriptors()?, process.transfers()?);
    if setup.backends.reached() > reached {
        return Err(Stop::fail("it sent a request to a backend"));
    }
    if after.0 != before.0 {
        return Err(Stop::fail("it opened or closed descriptors"));
    }
    // The worker itself needs a few to receive the request and send the answer.
    if after.1 - before.1 >= u64::from(TIMES) {
        let transfers = after.1 - before.1;
        return Err(Stop::fail(format!(
            "{TIMES} rounds made {transfers} reads and writes"
        )));
    }
    Ok(())
}

fn pure_state(context: &CaseContext) -> CaseResult {
    let documents = texts(context)?;
    let expected = fresh(context, &documents)?;
    let mut setup = context.set_up(Mode::Closed)?;
    setup.worker.observe(0, crate::context::DEADLINE)?;
    check_all(&mut setup.worker, &documents)?;
    let backwards: Vec<_> = documents.iter().rev().cloned().collect();
    let mut payload = check_all(&mut setup.worker, &backwards)?;
    payload.reverse();
    same(
        &expected,
        &payload,
        "an observation that was checked after others",
    )
    .map_err(|stop| stop.attributed_to(&["check.deterministic", "check.no-cross-instance-memory"]))
}

fn no_cross_instance_memory(context: &CaseContext) -> CaseResult {
    let documents = texts(context)?;
    let mut expected = Vec::new();
    for text in &documents {
        // One process each: statics outlive instances.
        expected.extend(fresh(context, std::slice::from_ref(text))?);
    }
    let mut setup = context.set_up(Mode::Closed)?;
    let config = setup.backends.config.clone();
    let (mut payload, mut next) = (Vec::new(), 1);
    for text in &documents {
        setup.worker.create(next, &config)?;
        payload.push(setup.worker.check(next, text)?);
        next += 1;
    }
    same(
        &expected,
        &payload,
        "an observation that a new instance checked after others checked theirs",
    )
    .map_err(|stop| stop.attributed_to(&["check.deterministic"]))
}

fn healthy_clean(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    for (name, observation) in context.golden.healthy()? {
        let report = setup.worker.report(0, observation)?;
        let violated = report.violations.iter();
        let violated = violated.map(|v| format!("{} violated ({})", v.invariant, v.message));
        let unknown = report.unknown.iter();
        let unknown = unknown.map(|u| format!("{} unknown ({})", u.invariant, u.reason));
        let found: Vec<_> = violated.chain(unknown).collect();
        if !found.is_empty() {
            let what = format!("healthy/{name}.json: {:.300}", found.join("; "));
            return Err(Stop::fail(what));
        }
    }
    Ok(())
}

fn detects(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let fixtures = context.golden.violations()?;
    let mut faults = Vec::new();
    for invariant in &setup.descriptor.invariants {
        let name = &invariant.name;
        let Some(observation) = fixtures.get(name) else {
            faults.push(format!("violations/{name}.json does not exist"));
            continue;
        };
        let report = setup.worker.report(0, observation)?;
        if !report
            .violations
            .iter()
            .any(|violation| violation.invariant == *name)
        {
            faults.push(format!("violations/{name}.json does not violate {name}"));
        }
    }
    let declared = |name: &String| setup.descriptor.invariants.iter().any(|i| i.name == *name);
    let undeclared = fixtures.keys().filter(|name| !declared(name));
    faults.extend(
        undeclared
            .map(|name| format!("violations/{name}.json: {name} is not a declared invariant")),
    );
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Stop::fail(faults.join("; ")))
    }
}

fn violation_shape(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let mut documents: Vec<_> = context
        .golden
        .all()
        .map(|(name, document)| (name, document.to_string()))
        .collect();
    let observed = setup.worker.observe(0, crate::context::DEADLINE)?.payload;
    if let Payload::Text(text) = observed {
        documents.push(("its own observation".to_owned(), text));
    }
    documents.push((
        "an observation without data".to_owned(),
        empty().to_string(),
    ));
    for (name, text) in documents {
        let payload = setup.worker.check(0, &text)?;
        judged(&setup.descriptor, payload).map_err(|stop| of_shape(stop).about(&name))?;
    }
    Ok(())
}

/// An invalid report is the finding of this case; a panic is not.
fn of_shape(stop: Stop) -> Stop {
    match &stop {
        Stop::Blocked { by, .. } if by.iter().any(|id| id == "check.violation-shape") => {
            stop.attributed_here()
        }
        _ => stop,
    }
}
