//! Whether check handles malformed observations: truncated, of another shape, too large, too deep.

use std::fs;

use operator_loader::{Method, Text};
use serde_json::{Value, json};

use super::check_report::{check_all, empty, holds, is_declared, judged};
use crate::{
    backends::Mode, context::CaseContext, context::Setup, samples, samples::extreme_numbers,
    samples::odd_texts, samples::places, verdict::CaseResult, verdict::Stop, worker::method,
};

/// The most places in a document that are changed one by one.
const MOST_PLACES: usize = 1500;

/// That no invariant holds for this observation.
fn nothing_holds(setup: &mut Setup, what: &str, text: &str) -> CaseResult {
    let payload = setup.worker.check(0, text)?;
    let Some(report) = judged(&setup.descriptor, payload).map_err(|stop| stop.about(what))? else {
        return Ok(());
    };
    let names = setup.descriptor.invariants.iter().map(|i| &i.name);
    let holding: Vec<_> = names.filter(|name| holds(&report, name)).cloned().collect();
    if holding.is_empty() {
        Ok(())
    } else {
        Err(Stop::fail(format!(
            "{what}: the report has neither a violation nor an unknown for {}",
            holding.join(", ")
        )))
    }
}

pub(super) fn malformed(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    for text in [
        "",
        " ",
        "{",
        "nonsense",
        "{\"data\":",
        "{} {}",
        "\u{0}",
        "[1,",
    ] {
        nothing_holds(&mut setup, &format!("{text:?}"), text)?;
    }
    Ok(())
}

pub(super) fn wrong_shape(context: &CaseContext) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    for shape in [
        json!({}),
        json!([]),
        json!(null),
        json!(42),
        json!("text"),
        json!({"observed_at_ms": 0}),
        json!({"observed_at_ms": 0, "data": null}),
        json!({"observed_at_ms": 0, "data": []}),
        json!({"observed_at_ms": 0, "data": "text"}),
        empty(),
    ] {
        let text = shape.to_string();
        nothing_holds(&mut setup, &text, &text)?;
    }
    for (invariant, observation) in &context.golden.violations {
        // An observation without that violation is the finding of another case.
        if !holds(&setup.worker.report(0, observation)?, invariant) {
            stays_broken(&mut setup, invariant, observation)?;
        }
    }
    Ok(())
}

/// That a violated invariant does not hold when a field is missing.
fn stays_broken(setup: &mut Setup, invariant: &str, observation: &Value) -> CaseResult {
    let schema = setup.descriptor.observation_schema.clone();
    let declared = places(observation)
        .into_iter()
        .filter(|place| is_declared(&schema, place))
        .take(MOST_PLACES);
    for place in declared.collect::<Vec<_>>() {
        let mut changed = observation.clone();
        samples::remove(&mut changed, &place);
        let payload = setup.worker.check(0, &changed.to_string())?;
        let what = format!("violations/{invariant}.json without {place}");
        let report = judged(&setup.descriptor, payload).map_err(|stop| stop.about(&what))?;
        if report.is_some_and(|report| holds(&report, invariant)) {
            return Err(Stop::fail(format!(
                "{what}: the report has neither a violation nor an unknown for {invariant}"
            )));
        }
    }
    Ok(())
}

pub(super) fn fifty_megabytes(context: &CaseContext) -> CaseResult {
    const SIZE: usize = 50_000_000;
    let mut setup = context.set_up(Mode::Closed)?;
    // An unoptimised build on a busy machine takes long.
    setup.worker.call *= 3;
    let mut observation = context.golden.any().cloned().unwrap_or_else(|_| empty());
    observation["data"]["padding"] = json!("@");
    let padded = observation
        .to_string()
        .replacen("\"@\"", &format!("\"{}\"", "x".repeat(SIZE)), 1);
    let name = "large.json";
    fs::write(setup.worker.probe.dir().join(name), padded).map_err(Stop::error)?;
    let ask = method(0, Method::Check, Text::File(name.into()));
    let payload = setup.worker.ask(ask)?.payload;
    judged(&setup.descriptor, payload).map(drop)
}

pub(super) fn deep_nesting(context: &CaseContext) -> CaseResult {
    const LEVELS: usize = 100_000;
    let mut setup = context.set_up(Mode::Closed)?;
    let lists = format!("{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS));
    let tables = format!("{}null{}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    for deep in [lists, tables] {
        for text in [
            deep.clone(),
            format!("{{\"observed_at_ms\":0,\"data\":{{\"deep\":{deep}}}}}"),
            format!("{{\"observed_at_ms\":0,\"data\":{deep}}}"),
        ] {
            let payload = setup.worker.check(0, &text)?;
            judged(&setup.descriptor, payload)?;
        }
    }
    Ok(())
}

/// The golden observations with values replaced by what `make` returns for them: one by one, and all at once.
fn replaced(context: &CaseContext, make: fn(&Value) -> Vec<Value>) -> Result<Vec<String>, Stop> {
    let mut found = Vec::new();
    for (_, observation) in context.golden.all() {
        let places: Vec<_> = places(observation)
            .into_iter()
            .filter(|place| {
                observation
                    .pointer(place)
                    .is_some_and(|value| !make(value).is_empty())
            })
            .collect();
        let mut whole = Vec::<Value>::new();
        for place in places.iter().take(MOST_PLACES / 10) {
            let here = observation.pointer(place).unwrap_or(&Value::Null);
            for (number, value) in make(here).into_iter().enumerate() {
                let mut one = observation.clone();
                put(&mut one, place, &value);
                found.push(one.to_string());
                if whole.len() <= number {
                    whole.push(observation.clone());
                }
                put(&mut whole[number], place, &value);
            }
        }
        found.extend(whole.iter().map(ToString::to_string));
        if found.len() > MOST_PLACES {
            break;
        }
    }
    if found.is_empty() {
        context.golden.any()?;
    }
    Ok(found)
}

fn put(document: &mut Value, place: &str, value: &Value) {
    if let Some(there) = document.pointer_mut(place) {
        *there = value.clone();
    }
}

/// That check returns a valid report or a typed error for each.
fn all_judged(context: &CaseContext, documents: &[String]) -> CaseResult {
    let mut setup = context.set_up(Mode::Closed)?;
    let payload = check_all(&mut setup.worker, documents)?;
    for (text, payload) in documents.iter().zip(payload) {
        judged(&setup.descriptor, payload)
            .map_err(|stop| stop.about(&format!("{:.200}", text.as_str())))?;
    }
    Ok(())
}

pub(super) fn extremes(context: &CaseContext) -> CaseResult {
    let mut documents = replaced(context, |value| {
        if value.is_number() {
            extreme_numbers()
        } else {
            Vec::new()
        }
    })?;
    // Too large for f64.
    let beyond = documents.first().map(|text| text.replace(":0,", ":1e999,"));
    documents.extend(beyond);
    all_judged(context, &documents)
}

pub(super) fn unicode(context: &CaseContext) -> CaseResult {
    let mut documents = replaced(context, |value| {
        if value.is_string() {
            odd_texts().into_iter().map(Value::from).collect()
        } else {
            Vec::new()
        }
    })?;
    // Half a surrogate pair is not valid text.
    let half = documents
        .first()
        .map(|text| text.replacen(":\"", ":\"\\ud800", 1));
    documents.extend(half);
    all_judged(context, &documents)
}
