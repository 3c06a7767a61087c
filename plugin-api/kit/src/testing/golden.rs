//! The golden observations of a plugin's `conformance/` folder, as `operator conformance` reads them.

use std::{collections::BTreeMap, fs, path::Path};

use operator_plugin_api::{CheckReport, Observation, Subject};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// The observations of a folder, `healthy` or `violations`, by file name. A file holds an observation, or a patch of another
/// file: `{"base": "healthy/a.json", "patch": [...]}` with a JSON Patch (RFC 6902).
pub fn read<T: DeserializeOwned>(conformance: &Path, kind: &str) -> BTreeMap<String, T> {
    let entries = fs::read_dir(conformance.join(kind)).expect("read the folder");
    let files = entries.map(|entry| entry.expect("read the folder").path());
    let observations = files.map(|file| {
        let name = file.file_stem().expect("a file name").to_string_lossy();
        let observation = serde_json::from_value(observation(conformance, &file));
        let observation = observation.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (name.into_owned(), observation)
    });
    observations.collect()
}

/// Every healthy observation gets a clean report, and every declared invariant has an observation that violates it.
pub fn assert_judged<S: Subject>(conformance: &Path, subject: &S) {
    let healthy = read::<Observation<S::Data>>(conformance, "healthy");
    assert!(!healthy.is_empty(), "there is no healthy observation");
    for (name, observation) in healthy {
        assert_eq!(
            subject.check(&observation),
            CheckReport::default(),
            "{name}"
        );
    }
    let broken = read::<Observation<S::Data>>(conformance, "violations");
    for (name, observation) in &broken {
        let report = subject.check(observation);
        let is_violated = report.violations.iter().any(|v| v.invariant == *name);
        assert!(is_violated, "{name}: {report:?}");
    }
    let declared = S::describe().invariants.into_iter().map(|i| i.name);
    let mut declared: Vec<_> = declared.collect();
    declared.sort();
    assert_eq!(broken.into_keys().collect::<Vec<_>>(), declared);
}

#[derive(Deserialize)]
struct Patched {
    base: String,
    patch: json_patch::Patch,
}

fn observation(conformance: &Path, file: &Path) -> Value {
    let document = parse(file);
    if document.get("base").is_none() || document.get("data").is_some() {
        return document;
    }
    let patched: Patched = serde_json::from_value(document).expect("a base and a JSON Patch");
    let mut observation = parse(&conformance.join(patched.base));
    let applied = json_patch::patch(&mut observation, &patched.patch);
    applied.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    observation
}

fn parse(file: &Path) -> Value {
    let text = fs::read_to_string(file);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
