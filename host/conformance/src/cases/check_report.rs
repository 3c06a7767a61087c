//! Reports of check: how cases get them, and whether they can be used.

use std::collections::HashSet;

use operator_loader::{Method, Payload};
use operator_model::Property;
use operator_plugin_api::{CheckReport, Descriptor, ErrorKind};
use serde_json::{Value, json};

use crate::{
    context::CaseContext, verdict::CaseResult, verdict::Stop, worker::Worker, worker::document,
    worker::method, worker::shown,
};

/// Observations in one request to the worker.
const BATCH: usize = 16;

/// Every golden observation, as text.
pub(super) fn texts(context: &CaseContext) -> Result<Vec<String>, Stop> {
    let all: Vec<_> = context
        .golden
        .all()
        .map(|(_, document)| document.to_string())
        .collect();
    if all.is_empty() {
        context.golden.healthy()?;
    }
    Ok(all)
}

/// Fails if two checks of the same observations differ.
pub(super) fn same(one: &[Payload], other: &[Payload], what: &str) -> CaseResult {
    match one.iter().zip(other).find(|(one, other)| one != other) {
        None => Ok(()),
        Some((one, other)) => Err(Stop::fail(format!(
            "{what} got two different reports: {:.150} and {:.150}",
            shown(one),
            shown(other)
        ))),
    }
}

/// The answers to many observations, in the same order.
pub(super) fn check_all(worker: &mut Worker, documents: &[String]) -> Result<Vec<Payload>, Stop> {
    let mut payload = Vec::new();
    for batch in documents.chunks(BATCH) {
        let asks = batch
            .iter()
            .map(|text| method(0, Method::Check, text.as_str()));
        let answers = worker.repeat(asks.collect(), 1)?;
        payload.extend(answers.into_iter().map(|answer| answer.payload));
    }
    Ok(payload)
}

/// The report, which must be valid; none for a typed error.
pub(super) fn judged(
    descriptor: &Descriptor,
    payload: Payload,
) -> Result<Option<CheckReport>, Stop> {
    match payload.error_kind() {
        Some(ErrorKind::Panic | ErrorKind::Internal) | None => {
            let report: CheckReport = document("check", payload)?;
            in_shape(descriptor, &report)
                .map_err(|stop| stop.attributed_to(&["check.violation-shape"]))?;
            Ok(Some(report))
        }
        Some(_) => Ok(None),
    }
}

fn in_shape(descriptor: &Descriptor, report: &CheckReport) -> CaseResult {
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
            return Err(Stop::fail(format!("it reports {of} without a message")));
        }
    }
    Ok(())
}

pub(super) fn empty() -> Value {
    json!({"observed_at_ms": 0, "data": {}})
}

pub(super) fn holds(report: &CheckReport, invariant: &str) -> bool {
    report.violations.iter().all(|v| v.invariant != invariant)
        && report.unknown.iter().all(|u| u.invariant != invariant)
}

/// Whether a place in an observation is a field that the schema names. Entries of maps and lists may be absent.
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
