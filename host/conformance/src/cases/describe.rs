//! What the plugin says of itself.

use std::collections::HashSet;

use operator_loader::{Payload, ProbeRequest};
use operator_plugin_api::Descriptor;

use super::load::twin;
use crate::{
    bench::document, case::Case, lab::Lab, samples::validator, verdict::Ran, verdict::Status,
    verdict::Stop,
};

pub(super) const CASES: [Case; 4] = [
    Case {
        id: "describe.valid",
        expects: "describe answers with a descriptor whose name, schemas and SLOs can be used",
        fix: "fill in Description, and derive JsonSchema for Config and Data",
        run: valid,
    },
    Case {
        id: "describe.stable",
        expects: "describe always answers the same, from every thread and in every process",
        fix: "build the description from constants alone",
        run: stable,
    },
    Case {
        id: "describe.two-of-one-name",
        expects: "two files of the same plugin can be open in one process, and each describes itself",
        fix: "keep nothing in names that all libraries of a process share",
        run: two_of_one_name,
    },
    Case {
        id: "describe.invariants-complete",
        expects: "there are invariants, each with a unique name, a severity, a description, and grace periods within a day",
        fix: "fill in every Invariant of the Description",
        run: invariants_complete,
    },
];

/// The longest grace period that makes sense.
const MAX_GRACE_MS: u64 = 24 * 3600 * 1000;

fn valid(lab: &Lab) -> Ran {
    let payload = lab
        .loaded()?
        .ask(ProbeRequest::Describe { module: 0 })?
        .payload;
    let descriptor: Descriptor = document("describe", payload)?;
    if !is_name(&descriptor.subject, true) {
        let what = format!("the subject is called {:?}", descriptor.subject);
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
            return Err(Stop::fail(format!("`{name}` is no JSON Schema")));
        }
    }
    let mut names = HashSet::new();
    for slo in &descriptor.slos {
        if !names.insert(&slo.name) || slo.sli.is_empty() || !slo.target.is_finite() {
            return Err(Stop::fail(format!("the SLO {:?} cannot be used", slo.name)));
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

fn stable(lab: &Lab) -> Ran {
    let ask = || ProbeRequest::Describe { module: 0 };
    let mut bench = lab.loaded()?;
    let first = bench.ask(ask())?.payload;
    let mut others = vec![bench.ask(ask())?.payload, lab.loaded()?.ask(ask())?.payload];
    let together = bench.ask_together(vec![ask(), ask(), ask(), ask()])?;
    others.extend(together.into_iter().map(|answer| answer.payload));
    if others.iter().any(|other| *other != first) {
        return Err(Stop::fail("two calls gave different descriptors"));
    }
    Ok(())
}

fn two_of_one_name(lab: &Lab) -> Ran {
    let twin = twin(lab, "twin")?;
    let mut bench = lab.loaded()?;
    let first = bench.ask(ProbeRequest::Describe { module: 0 })?.payload;
    bench
        .load_other(&twin.copy)
        .map_err(|stop| stop.about("beside another file of its name, it"))?;
    for module in [1, 0, 1] {
        let payload = bench.ask(ProbeRequest::Describe { module })?.payload;
        if payload != first {
            let what = "beside another file of its name, it describes itself otherwise";
            return Err(Stop::blocked(&["describe.stable"], Status::Fail, what));
        }
    }
    Ok(())
}

fn invariants_complete(lab: &Lab) -> Ran {
    let mut bench = lab.loaded()?;
    let descriptor = bench.describe()?;
    if descriptor.invariants.is_empty() {
        return Err(Stop::fail(
            "it declares no invariant, so it watches nothing",
        ));
    }
    let mut names = HashSet::new();
    for invariant in &descriptor.invariants {
        let wrong = |what: &str| Err(Stop::fail(format!("invariant {:?} {what}", invariant.name)));
        if !is_name(&invariant.name, false) {
            return wrong("is not named in lower case letters, digits and _");
        }
        if !names.insert(&invariant.name) {
            return wrong("is declared twice");
        }
        if invariant.description.trim().len() < 10 {
            return wrong("has no description that a person could use");
        }
        if invariant.grace_period_ms > MAX_GRACE_MS || invariant.keep_firing_for_ms > MAX_GRACE_MS {
            return wrong("waits longer than a day");
        }
    }
    match bench.ask(ProbeRequest::Describe { module: 0 })?.payload {
        Payload::Text(text) => severities_are_given(&text),
        _ => Ok(()),
    }
}

/// A severity that is left to a default was never thought about.
fn severities_are_given(text: &str) -> Ran {
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
