//! The golden observations of a plugin's `conformance/` folder, as `operator conformance` reads them.

use std::{collections::BTreeMap, fs, path::Path};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The observations of `conformance/healthy` or `conformance/violations`, by file name. A file is an observation, or a patch
/// of another file: `{"base": "healthy/a.json", "patch": [...]}` with a JSON Patch (RFC 6902).
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

fn observation(conformance: &Path, file: &Path) -> Value {
    let mut document = parse(file);
    let Some(base) = document["base"].as_str() else {
        return document;
    };
    let mut observation = parse(&conformance.join(base));
    let patch: json_patch::Patch =
        serde_json::from_value(document["patch"].take()).expect("a JSON Patch");
    let patched = json_patch::patch(&mut observation, &patch);
    patched.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    observation
}

fn parse(file: &Path) -> Value {
    let text = fs::read_to_string(file);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
