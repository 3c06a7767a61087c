//! Whether check judges, and only judges.

use std::{collections::HashSet, thread, time::Duration};

use operator_plugin_api::{CheckReport, Descriptor, ErrorKind};

use super::{
    configurations, fuzz,
    strange::{self, empty},
};
use crate::{
    conformance::{
        backends::Mode,
        bench::{Bench, document, method, shown},
        case::Case,
        lab::Lab,
        verdict::{Ran, Stop},
    },
    loader::{Method, Said},
};

pub(super) const CASES: [Case; 15] = [
    Case {
        id: "check.deterministic",
        expects: "the same observation always gets the same report, a second later and in another process too",
        mend: "use neither clock nor chance nor the order of a HashMap in check",
        run: deterministic,
    },
    Case {
        id: "check.pure-io",
        expects: "check asks no backend, reads and writes nothing, and opens nothing",
        mend: "put what check needs into the observation",
        run: pure_io,
    },
    Case {
        id: "check.pure-state",
        expects: "a report does not depend on what was checked or observed before",
        mend: "keep no memory in check; what observe remembers goes into the observation",
        run: pure_state,
    },
    Case {
        id: "check.no-cross-instance-memory",
        expects: "a report does not depend on what another instance has seen",
        mend: "keep state in the subject, not in statics",
        run: no_cross_instance_memory,
    },
    Case {
        id: "check.pure-config",
        expects: "a report does not depend on the configuration of the instance that checks",
        mend: "put the settings that check needs, such as thresholds, into the observation, and read them from there",
        run: configurations::same_verdict,
    },
    Case {
        id: "check.healthy-clean",
        expects: "each conformance/healthy/*.json gets a report without violation and without unknown",
        mend: "mend the invariant, or the observation if it is not a healthy one",
        run: healthy_clean,
    },
    Case {
        id: "check.detects",
        expects: "each declared invariant has a conformance/violations/<invariant>.json, and check finds it violated there",
        mend: "add the file, or mend the invariant",
        run: detects,
    },
    Case {
        id: "check.violation-shape",
        expects: "a report names declared invariants only, each once for a resource, in one line with a reason",
        mend: "build reports of declared names, and give every entry a message",
        run: violation_shape,
    },
    Case {
        id: "check.malformed",
        expects: "what is no JSON is refused as invalid, or all of it is unknown; never a clean report",
        mend: "answer ErrorKind::Invalid, or call every invariant unknown",
        run: strange::malformed,
    },
    Case {
        id: "check.wrong-shape",
        expects: "an observation without a field that an invariant needs leaves that invariant violated or unknown, never holding",
        mend: "make the field an Option, without #[serde(default)] for a healthy value, and report None as unknown",
        run: strange::wrong_shape,
    },
    Case {
        id: "check.50-megabytes",
        expects: "an observation of 50 MB is judged or refused",
        mend: "do not copy the observation more than once",
        run: strange::fifty_megabytes,
    },
    Case {
        id: "check.deep-nesting",
        expects: "an observation of a hundred thousand levels is judged or refused",
        mend: "parse with a limit of recursion, as serde_json has",
        run: strange::deep_nesting,
    },
    Case {
        id: "check.extreme-numbers",
        expects: "extreme numbers anywhere in an observation are judged or refused",
        mend: "use checked or saturating arithmetic, and beware of casts and of dividing by zero",
        run: strange::extremes,
    },
    Case {
        id: "check.unicode",
        expects: "odd texts anywhere in an observation are judged or refused",
        mend: "do not cut texts at bytes, and put them together with care",
        run: strange::unicode,
    },
    Case {
        id: "check.fuzz",
        expects: "whatever becomes of an observation, check answers with a report that can be used or with a typed error",
        mend: "run the same --seed and --rounds again, and mend what the round shows",
        run: fuzz::check,
    },
];

/// Documents that are asked about at once.
const BATCH: usize = 16;

/// The answers to many observations, in their order.
pub(super) fn check_all(bench: &mut Bench, documents: &[String]) -> Result<Vec<Said>, Stop> {
    let mut said = Vec::new();
    for batch in documents.chunks(BATCH) {
        let asks = batch
            .iter()
            .map(|text| method(0, Method::Check, text.as_str()));
        let answers = bench.repeat(asks.collect(), 1)?;
        said.extend(answers.into_iter().map(|answer| answer.said));
    }
    Ok(said)
}

/// The report, if it is one that can be used; none for an honest refusal.
pub(super) fn judged(descriptor: &Descriptor, said: Said) -> Result<Option<CheckReport>, Stop> {
    match said.error_kind() {
        Some(ErrorKind::Panic | ErrorKind::Internal) | None => {
            let report: CheckReport = document("check", said)?;
            in_shape(descriptor, &report)
                .map_err(|stop| stop.of_another(&["check.violation-shape"]))?;
            Ok(Some(report))
        }
        Some(_) => Ok(None),
    }
}

fn in_shape(descriptor: &Descriptor, report: &CheckReport) -> Ran {
    let declared: HashSet<_> = descriptor
        .invariants
        .iter()
        .map(|i| i.name.as_str())
        .collect();
    let violated = report.violations.iter();
    let violated = violated.map(|v| (&v.invariant, &v.resource, &v.message));
    let unknown = report.unknown.iter();
    let unknown = unknown.map(|u| (&u.invariant, &u.resource, &u.reason));
    let mut seen = HashSet::new();
    for (invariant, resource, words) in violated.chain(unknown) {
        let of = match resource {
            Some(resource) => format!("{invariant} of {resource:.60?}"),
            None => invariant.clone(),
        };
        if !declared.contains(invariant.as_str()) {
            return Err(Stop::fail(format!(
                "it reports {of}, which is not declared"
            )));
        }
        if !seen.insert((invariant, resource)) {
            return Err(Stop::fail(format!("it reports {of} twice")));
        }
        if words.trim().is_empty() {
            return Err(Stop::fail(format!("it reports {of} without a word")));
        }
    }
    Ok(())
}

pub(super) fn texts(lab: &Lab) -> Result<Vec<String>, Stop> {
    let all: Vec<_> = lab
        .golden
        .all()
        .map(|(_, document)| document.to_string())
        .collect();
    if all.is_empty() {
        lab.golden.healthy()?;
    }
    Ok(all)
}

/// The answers of a process that has seen nothing else, each by an instance of its own.
fn fresh(lab: &Lab, documents: &[String]) -> Result<Vec<Said>, Stop> {
    let mut ready = lab.ready(Mode::Closed)?;
    let config = ready.backends.config.clone();
    let mut said = Vec::new();
    for text in documents {
        ready.bench.create(0, &config)?;
        said.push(ready.bench.check(0, text)?);
    }
    Ok(said)
}

fn deterministic(lab: &Lab) -> Ran {
    /// Long enough for a clock that counts seconds to go on, over all rounds.
    const PAUSE: Duration = Duration::from_millis(550);
    let documents = texts(lab)?;
    let first = fresh(lab, &documents)?;
    for _ in 0..2 {
        thread::sleep(PAUSE);
        // A process that has seen other things is another case's matter.
        let again = fresh(lab, &documents)?;
        same(&first, &again, "the same observation, checked again,")?;
    }
    Ok(())
}

pub(super) fn same(one: &[Said], other: &[Said], what: &str) -> Ran {
    match one.iter().zip(other).find(|(one, other)| one != other) {
        None => Ok(()),
        Some((one, other)) => Err(Stop::fail(format!(
            "{what} got another report: {:.150} and {:.150}",
            shown(one),
            shown(other)
        ))),
    }
}

fn pure_io(lab: &Lab) -> Ran {
    const TIMES: u32 = 100;
    let documents = texts(lab)?;
    let mut ready = lab.ready(Mode::As(operator_plugin_fakes::Manner::Error500))?;
    let asks: Vec<_> = documents
        .iter()
        .map(|text| method(0, Method::Check, text.as_str()))
        .collect();
    ready.bench.repeat(asks.clone(), 1)?;
    let process = ready.bench.process()?;
    let reached = ready.backends.reached();
    let before = (process.descriptors()?, process.transfers()?);
    ready.bench.repeat(asks, TIMES)?;
    let after = (process.descriptors()?, process.transfers()?);
    if ready.backends.reached() > reached {
        return Err(Stop::fail("it asked a backend"));
    }
    if after.0 != before.0 {
        return Err(Stop::fail("it opened or closed descriptors"));
    }
    // The worker itself needs a few for the question and the answer.
    if after.1 - before.1 >= u64::from(TIMES) {
        let transfers = after.1 - before.1;
        return Err(Stop::fail(format!(
            "{TIMES} rounds made {transfers} reads and writes"
        )));
    }
    Ok(())
}

fn pure_state(lab: &Lab) -> Ran {
    let documents = texts(lab)?;
    let expected = fresh(lab, &documents)?;
    let mut ready = lab.ready(Mode::Closed)?;
    ready.bench.observe(0, crate::conformance::lab::DEADLINE)?;
    check_all(&mut ready.bench, &documents)?;
    let backwards: Vec<_> = documents.iter().rev().cloned().collect();
    let mut said = check_all(&mut ready.bench, &backwards)?;
    said.reverse();
    same(
        &expected,
        &said,
        "an observation that was checked after others",
    )
    .map_err(|stop| stop.of_another(&["check.deterministic", "check.no-cross-instance-memory"]))
}

fn no_cross_instance_memory(lab: &Lab) -> Ran {
    let documents = texts(lab)?;
    let mut expected = Vec::new();
    for text in &documents {
        // A process each: statics outlive instances.
        expected.extend(fresh(lab, std::slice::from_ref(text))?);
    }
    let mut ready = lab.ready(Mode::Closed)?;
    let config = ready.backends.config.clone();
    let (mut said, mut next) = (Vec::new(), 1);
    for text in &documents {
        ready.bench.create(next, &config)?;
        said.push(ready.bench.check(next, text)?);
        next += 1;
    }
    same(
        &expected,
        &said,
        "an observation that a new instance checked after others had checked theirs",
    )
    .map_err(|stop| stop.of_another(&["check.deterministic"]))
}

fn healthy_clean(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    for (name, observation) in lab.golden.healthy()? {
        let report = ready.bench.report(0, observation)?;
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

fn detects(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let fixtures = lab.golden.violations()?;
    let mut faults = Vec::new();
    for invariant in &ready.descriptor.invariants {
        let name = &invariant.name;
        let Some(observation) = fixtures.get(name) else {
            faults.push(format!("there is no violations/{name}.json"));
            continue;
        };
        let report = ready.bench.report(0, observation)?;
        if !report
            .violations
            .iter()
            .any(|violation| violation.invariant == *name)
        {
            faults.push(format!("violations/{name}.json does not violate {name}"));
        }
    }
    let declared = |name: &String| ready.descriptor.invariants.iter().any(|i| i.name == *name);
    let strange = fixtures.keys().filter(|name| !declared(name));
    faults
        .extend(strange.map(|name| format!("violations/{name}.json is of no declared invariant")));
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Stop::fail(faults.join("; ")))
    }
}

fn violation_shape(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let mut documents: Vec<_> = lab
        .golden
        .all()
        .map(|(name, document)| (name, document.to_string()))
        .collect();
    let observed = ready
        .bench
        .observe(0, crate::conformance::lab::DEADLINE)?
        .said;
    if let Said::Text(text) = observed {
        documents.push(("its own observation".to_owned(), text));
    }
    documents.push(("an observation of nothing".to_owned(), empty().to_string()));
    for (name, text) in documents {
        let said = ready.bench.check(0, &text)?;
        judged(&ready.descriptor, said).map_err(|stop| of_shape(stop).about(&name))?;
    }
    Ok(())
}

/// What is wrong with a report is this group's own finding; a panic is not.
fn of_shape(stop: Stop) -> Stop {
    match &stop {
        Stop::Blocked { by, .. } if by.iter().any(|id| id == "check.violation-shape") => {
            stop.of_this()
        }
        _ => stop,
    }
}
