//! The descriptor.

use std::collections::HashSet;

use operator_loader::{Payload, ProbeRequest};
use operator_plugin_api::Descriptor;

use super::load::twin;
use crate::{
    case::Case, context::CaseContext, samples::validator, verdict::CaseResult, verdict::Status,
    verdict::Stop, worker::document,
};

pub(super) const CASES: [Case; 4] = [
    Case {
        id: "describe.valid",
        expects: "describe returns a descriptor with a valid name, valid schemas and valid SLOs",
        fix: "fill in Description, and derive JsonSchema for Config and Data",
        run: valid,
    },
    Case {
        id: "describe.stable",
        expects: "describe always returns the same descriptor, on every thread and in every process",
        fix: "build the description from constants",
        run: stable,
    },
    Case {
        id: "describe.two-of-one-name",
        expects: "two files of the same plugin can be open in one process, and both return the same descriptor",
        fix: "export no global symbols that all libraries of a process share",
        run: two_of_one_name,
    },
    Case {
        id: "describe.invariants-complete",
        expects: "there is at least one invariant; each has a unique name, a severity, a description, and grace periods of at most a day",
        fix: "fill in every field of every Invariant in the Description",
        run: invariants_complete,
    },
];

/// The longest grace period that makes sense.
const MAX_GRACE_MS: u64 = 24 * 3600 * 1000;

fn valid(context: &CaseContext) -> CaseResult {
    let payload = context
        .loaded()?
        .ask(ProbeRequest::Describe { module: 0 })?
        .payload;
    let descriptor: Descriptor = document("describe", payload)?;
    if !is_name(&descriptor.subject, true) {
        let what = format!("the subject name is {:?}", descriptor.subject);
        return Err(Stop::fail(what));
    }
    if descriptor.description.trim().is_empty() {
        return Err(Stop::fail("the description is empty"));
    }
    let schemas = [
        ("config_schema", &descriptor.config_schema),
        ("observation_schema", &descriptor.observation_schema),
    ];
    for (name, schema) in schemas {
        if !schema.is_object() || validator(schema).is_none() {
            return Err(Stop::fail(format!("`{name}` is not a valid JSON Schema")));
        }
    }
    let mut names = HashSet::new();
    for slo in &descriptor.slos {
        if !names.insert(&slo.name) || slo.sli.is_empty() || !slo.target.is_finite() {
            return Err(Stop::fail(format!(
                "the SLO {:?} is a duplicate, has no SLI, or has no finite target",
                slo.name
            )));
        }
    }
    Ok(())
}

fn is_name(name: &str, with_dash: bool) -> bool {
    let fits = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || (with_dash && c == '-')
    };
    !name.is_empty() && name.len() <= 64 && name.chars().all(fits)
}

fn stable(context: &CaseContext) -> CaseResult {
    let ask = || ProbeRequest::Describe { module: 0 };
    let mut worker = context.loaded()?;
    let first = worker.ask(ask())?.payload;
    let mut others = vec![
        worker.ask(ask())?.payload,
        context.loaded()?.ask(ask())?.payload,
    ];
    let together = worker.ask_together(vec![ask(), ask(), ask(), ask()])?;
    others.extend(together.into_iter().map(|answer| answer.payload));
    if others.iter().any(|other| *other != first) {
        return Err(Stop::fail("two calls returned different descriptors"));
    }
    Ok(())
}

fn two_of_one_name(context: &CaseContext) -> CaseResult {
    let twin = twin(context, "twin")?;
    let mut worker = context.loaded()?;
    let first = worker.ask(ProbeRequest::Describe { module: 0 })?.payload;
    worker
        .load_other(&twin.copy)
        .map_err(|stop| stop.about("next to another file of its name, it"))?;
    for module in [1, 0, 1] {
        let payload = worker.ask(ProbeRequest::Describe { module })?.payload;
        if payload != first {
            let what = "next to another file of its name, it returns another descriptor";
            return Err(Stop::blocked(&["describe.stable"], Status::Fail, what));
        }
    }
    Ok(())
}

fn invariants_complete(context: &CaseContext) -> CaseResult {
    let mut worker = context.loaded()?;
    let descriptor = worker.describe()?;
    if descriptor.invariants.is_empty() {
        return Err(Stop::fail("it declares no invariant"));
    }
    let mut names = HashSet::new();
    for invariant in &descriptor.invariants {
        let wrong = |what: &str| Err(Stop::fail(format!("invariant {:?} {what}", invariant.name)));
        if !is_name(&invariant.name, false) {
            return wrong("has a name with other characters than lower case letters, digits and _");
        }
        if !names.insert(&invariant.name) {
            return wrong("is declared twice");
        }
        if invariant.description.trim().len() < 10 {
            return wrong("has a description of less than 10 characters");
        }
        if invariant.grace_period_ms > MAX_GRACE_MS || invariant.keep_firing_for_ms > MAX_GRACE_MS {
            return wrong("has a grace period of more than a day");
        }
    }
    match worker.ask(ProbeRequest::Describe { module: 0 })?.payload {
        Payload::Text(text) => severities_are_given(&text),
        _ => Ok(()),
    }
}

/// The author must set these, and not leave them to a default.
fn severities_are_given(text: &str) -> CaseResult {
    let descriptor: serde_json::Value = serde_json::from_str(text).map_err(Stop::error)?;
    for invariant in descriptor["invariants"].as_array().into_iter().flatten() {
        for field in ["severity", "description", "grace_period_ms"] {
            if invariant[field].is_null() {
                let what = format!("invariant {} has no {field}", invariant["name"]);
                return Err(Stop::fail(what));
            }
        }
    }
    Ok(())
}
