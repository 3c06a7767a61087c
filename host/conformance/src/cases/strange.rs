//! Whether check judges what no honest observer sends: documents cut short, of another shape, too large, too deep.

use std::fs;

use operator_loader::{Method, Text};
use operator_model::Property;
use operator_plugin_api::CheckReport;
use serde_json::{Value, json};

use super::check::{check_all, judged};
use crate::{
    backends::Mode, bench::method, lab::Lab, lab::Ready, samples, samples::extreme_numbers,
    samples::odd_texts, samples::places, verdict::Ran, verdict::Status, verdict::Stop,
};

/// Of places in a document that are tried one by one.
const MOST_PLACES: usize = 1500;

pub(super) fn empty() -> Value {
    json!({"observed_at_ms": 0, "data": {}})
}

/// That nothing is called healthy on this ground.
fn nothing_holds(ready: &mut Ready, what: &str, text: &str) -> Ran {
    let payload = ready.bench.check(0, text)?;
    let Some(report) = judged(&ready.descriptor, payload).map_err(|stop| stop.about(what))? else {
        return Ok(());
    };
    let names = ready.descriptor.invariants.iter().map(|i| &i.name);
    let holding: Vec<_> = names.filter(|name| holds(&report, name)).cloned().collect();
    if holding.is_empty() {
        Ok(())
    } else {
        Err(Stop::fail(format!(
            "{what}: it calls {} healthy",
            holding.join(", ")
        )))
    }
}

pub(super) fn holds(report: &CheckReport, invariant: &str) -> bool {
    report.violations.iter().all(|v| v.invariant != invariant)
        && report.unknown.iter().all(|u| u.invariant != invariant)
}

pub(super) fn malformed(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
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
        nothing_holds(&mut ready, &format!("{text:?}"), text)?;
    }
    Ok(())
}

pub(super) fn wrong_shape(lab: &Lab) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
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
        nothing_holds(&mut ready, &text, &text)?;
    }
    for (invariant, observation) in &lab.golden.violations {
        // One that does not violate is the business of another case.
        if !holds(&ready.bench.report(0, observation)?, invariant) {
            stays_broken(&mut ready, invariant, observation)?;
        }
    }
    Ok(())
}

/// That a broken invariant does not heal when something is not known any more.
fn stays_broken(ready: &mut Ready, invariant: &str, observation: &Value) -> Ran {
    let schema = ready.descriptor.observation_schema.clone();
    let declared = places(observation)
        .into_iter()
        .filter(|place| is_declared(&schema, place))
        .take(MOST_PLACES);
    for place in declared.collect::<Vec<_>>() {
        let mut changed = observation.clone();
        samples::remove(&mut changed, &place);
        let payload = ready.bench.check(0, &changed.to_string())?;
        let what = format!("violations/{invariant}.json without {place}");
        let report = judged(&ready.descriptor, payload).map_err(|stop| stop.about(&what))?;
        if report.is_some_and(|report| holds(&report, invariant)) {
            return Err(Stop::fail(format!("{what}: it calls {invariant} healthy")));
        }
    }
    Ok(())
}

/// Whether a place in an observation is a field that the schema names: an entry of a map or a list may be absent for a good
/// reason.
pub(super) fn is_declared(schema: &Value, place: &str) -> bool {
    let Some(path) = place.strip_prefix("/data") else {
        return false;
    };
    let parts: Vec<_> = path.split('/').skip(1).collect();
    let Some((last, parents)) = parts.split_last() else {
        return true;
    };
    let parent = parents
        .iter()
        .try_fold(Property::root(schema), |at, part| at.child(part));
    parent.is_some_and(|parent| parent.properties().any(|(name, _)| name == *last))
}

pub(super) fn fifty_megabytes(lab: &Lab) -> Ran {
    const SIZE: usize = 50_000_000;
    let mut ready = lab.ready(Mode::Closed)?;
    // It takes unoptimised builds on a busy machine a while.
    ready.bench.call *= 3;
    let mut observation = lab.golden.any().cloned().unwrap_or_else(|_| empty());
    observation["data"]["padding"] = json!("@");
    let padded = observation
        .to_string()
        .replacen("\"@\"", &format!("\"{}\"", "x".repeat(SIZE)), 1);
    let name = "large.json";
    fs::write(ready.bench.probe.dir().join(name), padded).map_err(Stop::error)?;
    let ask = method(0, Method::Check, Text::File(name.into()));
    let payload = ready.bench.ask(ask)?.payload;
    judged(&ready.descriptor, payload).map(drop)
}

pub(super) fn deep_nesting(lab: &Lab) -> Ran {
    const LEVELS: usize = 100_000;
    let mut ready = lab.ready(Mode::Closed)?;
    let lists = format!("{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS));
    let tables = format!("{}null{}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    for deep in [lists, tables] {
        for text in [
            deep.clone(),
            format!("{{\"observed_at_ms\":0,\"data\":{{\"deep\":{deep}}}}}"),
            format!("{{\"observed_at_ms\":0,\"data\":{deep}}}"),
        ] {
            let payload = ready.bench.check(0, &text)?;
            judged(&ready.descriptor, payload)?;
        }
    }
    Ok(())
}

/// The golden observations with every value for which `make` has others replaced: all at once, and one by one.
fn replaced(lab: &Lab, make: fn(&Value) -> Vec<Value>) -> Result<Vec<String>, Stop> {
    let mut found = Vec::new();
    for (_, observation) in lab.golden.all() {
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
        lab.golden.any()?;
    }
    Ok(found)
}

fn put(document: &mut Value, place: &str, value: &Value) {
    if let Some(there) = document.pointer_mut(place) {
        *there = value.clone();
    }
}

/// That each of these is judged or refused.
fn all_judged(lab: &Lab, documents: &[String]) -> Ran {
    let mut ready = lab.ready(Mode::Closed)?;
    let payload = check_all(&mut ready.bench, documents)?;
    for (text, payload) in documents.iter().zip(payload) {
        judged(&ready.descriptor, payload)
            .map_err(|stop| stop.about(&format!("{:.200}", text.as_str())))?;
    }
    Ok(())
}

pub(super) fn extremes(lab: &Lab) -> Ran {
    let mut documents = replaced(lab, |value| {
        if value.is_number() {
            extreme_numbers()
        } else {
            Vec::new()
        }
    })?;
    // No f64 holds it.
    let beyond = documents.first().map(|text| text.replace(":0,", ":1e999,"));
    documents.extend(beyond);
    all_judged(lab, &documents)
}

pub(super) fn unicode(lab: &Lab) -> Ran {
    let mut documents = replaced(lab, |value| {
        if value.is_string() {
            odd_texts().into_iter().map(Value::from).collect()
        } else {
            Vec::new()
        }
    })?;
    // Half a pair of surrogates is no text.
    let half = documents
        .first()
        .map(|text| text.replacen(":\"", ":\"\\ud800", 1));
    documents.extend(half);
    all_judged(lab, &documents)
}

/// The suite's own fault is not the plugin's.
pub(super) fn is_fault(stop: &Stop) -> bool {
    match stop {
        Stop::Ended(status, _) | Stop::Blocked { status, .. } => *status != Status::Error,
    }
}
