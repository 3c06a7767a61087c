//! Whether a document of a plugin keeps to the bounds of `operator_plugin_api::bounds`.
//!
//! It is checked in the worker, before the document reaches the operator: first its text, in one pass that builds nothing, then its
//! lists and names. The operator itself never builds a document that has not passed.

use std::{borrow::Cow, collections::HashSet, fmt};

use operator_model::check_schema;
use operator_plugin_api::bounds::{
    MAX_ACTION_LIST, MAX_ACTION_RESULT, MAX_ACTIONS, MAX_DEPTH, MAX_DESCRIPTION, MAX_DESCRIPTOR,
    MAX_INVARIANTS, MAX_LABEL, MAX_MEMORY, MAX_OBSERVATION, MAX_OBSERVATION_VALUES, MAX_REPORT,
    MAX_RESOURCES, MAX_RUNBOOK, MAX_SCHEMA, MAX_SLIS, MAX_SLOS, MAX_SOURCES, MAX_UNKNOWNS,
    MAX_VALUES, MAX_VIOLATIONS, is_name, is_subject_name,
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::worker::protocol::Call;

/// The longest part of a refused name that is repeated. Characters.
const SHOWN: usize = 60;
/// Names that `list_actions` may not use: the operator has tools of these names.
const TOOLS: [&str; 3] = [
    operator_policy::WAIT,
    operator_policy::LOG_MESSAGE,
    operator_policy::OBSERVE_NOW,
];

/// Checks the answer to a call. An error is one line that names the place and the bound.
pub(crate) fn check(call: Call, text: &str) -> Result<(), String> {
    let (bytes, values) = match call {
        Call::Describe => (MAX_DESCRIPTOR, MAX_VALUES),
        Call::Observe => (MAX_OBSERVATION, MAX_OBSERVATION_VALUES),
        Call::Check => (MAX_REPORT, MAX_VALUES),
        Call::ListActions => (MAX_ACTION_LIST, MAX_VALUES),
        Call::Invoke => (MAX_ACTION_RESULT, MAX_VALUES),
        _ => return Ok(()),
    };
    check_text(text, bytes, values)?;
    match call {
        Call::Describe => parsed::<Descriptor>(text)?.check(),
        Call::Observe => parsed::<Observation>(text)?.check(),
        Call::Check => parsed::<Report>(text)?.check(),
        Call::ListActions => parsed::<ActionList>(text)?.check(),
        _ => Ok(()),
    }
}

/// Checks size, depth and number of values of a JSON text.
fn check_text(text: &str, most_bytes: usize, most_values: usize) -> Result<(), String> {
    if text.len() > most_bytes {
        return Err(too_many("the document", text.len(), most_bytes, "bytes"));
    }
    let (mut depth, mut values) = (0_usize, 1_usize);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'[' | b'{' => {
                depth += 1;
                values += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("the document is nested more than {MAX_DEPTH} deep"));
        }
        if values > most_values {
            return Err(format!("the document has more than {most_values} values"));
        }
    }
    Ok(())
}

fn skip_string(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

/// The words for a document of another shape.
pub(crate) fn malformed(error: &serde_json::Error) -> String {
    format!("answered with a malformed document: {error}")
}

fn too_many(what: impl fmt::Display, count: usize, most: usize, unit: &str) -> String {
    format!("{what} has {count} {unit}, at most {most} are allowed")
}

fn check_count(list: &str, count: usize, most: usize) -> Result<(), String> {
    if count > most {
        return Err(too_many(format_args!("`{list}`"), count, most, "entries"));
    }
    Ok(())
}

/// A name, quoted and short enough for a line.
fn quoted(name: &str) -> String {
    format!("{:?}", operator_model::bounded(name, SHOWN))
}

/// Checks the names of a list's entries: their form, and that none occurs twice.
fn check_names<'a>(
    list: &str,
    names: impl Iterator<Item = &'a str>,
    is_allowed: fn(&str) -> bool,
    form: &str,
) -> Result<(), String> {
    let mut seen = HashSet::new();
    for (place, name) in names.enumerate() {
        if !is_allowed(name) {
            return Err(format!(
                "`{list}[{place}].name` is {}; a name is {form}",
                quoted(name)
            ));
        }
        if !seen.insert(name) {
            return Err(format!(
                "`{list}` has two entries of the name {}",
                quoted(name)
            ));
        }
    }
    Ok(())
}

const NAME: &str = "1 to 64 lower case letters, digits and `_`";
const LABEL: &str = "1 to 200 characters, without control characters";

fn is_label(name: &str) -> bool {
    !name.trim().is_empty()
        && name.chars().nth(MAX_LABEL).is_none()
        && !name.chars().any(char::is_control)
}

fn check_length(place: impl fmt::Display, text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(too_many(place, text.len(), most, "bytes"));
    }
    Ok(())
}

/// Checks the size of a schema, and whether it can be used at all.
fn check_json_schema(place: impl fmt::Display, schema: &RawValue) -> Result<(), String> {
    check_length(&place, schema.get(), MAX_SCHEMA)?;
    let schema = parsed(schema.get())?;
    check_schema(&schema).map_err(|why| format!("{place} cannot be used: {why}"))
}

#[derive(Deserialize)]
struct Descriptor<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
    #[serde(borrow)]
    config_schema: &'a RawValue,
    #[serde(borrow, default)]
    observation_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    invariants: Vec<Invariant<'a>>,
    #[serde(borrow, default)]
    slos: Vec<Slo<'a>>,
}

#[derive(Deserialize)]
struct Invariant<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
    on: Option<String>,
    #[serde(borrow, default)]
    runbook: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Slo<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
}

impl Descriptor<'_> {
    fn check(&self) -> Result<(), String> {
        if !is_subject_name(&self.subject) {
            return Err(format!(
                "`subject` is {}; a name is 1 to 64 lower case letters, digits, `-` and `_`",
                quoted(&self.subject)
            ));
        }
        check_length("`description`", &self.description, MAX_DESCRIPTION)?;
        check_json_schema("`config_schema`", self.config_schema)?;
        if let Some(schema) = self.observation_schema {
            check_json_schema("`observation_schema`", schema)?;
        }
        self.check_invariants()?;
        check_count("slos", self.slos.len(), MAX_SLOS)?;
        check_names(
            "slos",
            self.slos.iter().map(|slo| &*slo.name),
            is_label,
            LABEL,
        )?;
        for slo in &self.slos {
            let place = format!("`description` of the SLO {}", quoted(&slo.name));
            check_length(place, &slo.description, MAX_DESCRIPTION)?;
        }
        Ok(())
    }

    fn check_invariants(&self) -> Result<(), String> {
        check_count("invariants", self.invariants.len(), MAX_INVARIANTS)?;
        let names = self.invariants.iter().map(|invariant| &*invariant.name);
        check_names("invariants", names, is_name, NAME)?;
        for invariant in &self.invariants {
            let name = &invariant.name;
            check_length(
                format_args!("`description` of `{name}`"),
                &invariant.description,
                MAX_DESCRIPTION,
            )?;
            check_length(
                format_args!("`runbook` of `{name}`"),
                &invariant.runbook,
                MAX_RUNBOOK,
            )?;
            if let Some(on) = invariant.on.as_ref().filter(|on| !is_name(on)) {
                return Err(format!("`on` of `{name}` is {}; it is {NAME}", quoted(on)));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Observation<'a> {
    #[serde(default)]
    slis: Slis,
    #[serde(borrow, default)]
    sources: Vec<Source<'a>>,
    #[serde(borrow, default)]
    resources: Vec<Resource<'a>>,
    #[serde(borrow, default)]
    memory: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

impl Observation<'_> {
    fn check(&self) -> Result<(), String> {
        check_count("slis", self.slis.count, MAX_SLIS)?;
        if let Some(name) = &self.slis.refused {
            return Err(format!("`slis` has the name {name}; a name is {LABEL}"));
        }
        check_count("sources", self.sources.len(), MAX_SOURCES)?;
        for (place, source) in self.sources.iter().enumerate() {
            if !is_label(&source.name) {
                return Err(format!(
                    "`sources[{place}].name` is {}; a name is {LABEL}",
                    quoted(&source.name)
                ));
            }
        }
        check_count("resources", self.resources.len(), MAX_RESOURCES)?;
        for (place, resource) in self.resources.iter().enumerate() {
            if !is_name(&resource.kind) {
                return Err(format!(
                    "`resources[{place}].kind` is {}; a kind is {NAME}",
                    quoted(&resource.kind)
                ));
            }
            if resource.id.is_empty() {
                return Err(format!("`resources[{place}].id` is empty"));
            }
        }
        let memory = self.memory.map(RawValue::get).unwrap_or_default();
        check_length("`memory`", memory, MAX_MEMORY)
    }
}

/// The names of service level indicators, which are counted and not kept.
#[derive(Default)]
struct Slis {
    count: usize,
    /// The first name that is no label, quoted.
    refused: Option<String>,
}

impl<'de> Deserialize<'de> for Slis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SlisVisitor)
    }
}

struct SlisVisitor;

impl<'de> Visitor<'de> for SlisVisitor {
    type Value = Slis;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Slis, A::Error> {
        let mut slis = Slis::default();
        while let Some((name, IgnoredAny)) = map.next_entry::<Cow<'de, str>, IgnoredAny>()? {
            slis.count += 1;
            if slis.refused.is_none() && !is_label(&name) {
                slis.refused = Some(quoted(&name));
            }
        }
        Ok(slis)
    }
}

#[derive(Deserialize)]
struct Report {
    violations: Vec<IgnoredAny>,
    #[serde(default)]
    unknown: Vec<IgnoredAny>,
}

impl Report {
    fn check(&self) -> Result<(), String> {
        check_count("violations", self.violations.len(), MAX_VIOLATIONS)?;
        check_count("unknown", self.unknown.len(), MAX_UNKNOWNS)
    }
}

#[derive(Deserialize)]
struct ActionList<'a> {
    #[serde(borrow)]
    actions: Vec<Action<'a>>,
}

#[derive(Deserialize)]
struct Action<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
    #[serde(borrow)]
    params_schema: &'a RawValue,
}

impl ActionList<'_> {
    fn check(&self) -> Result<(), String> {
        check_count("actions", self.actions.len(), MAX_ACTIONS)?;
        let names = self.actions.iter().map(|action| &*action.name);
        check_names("actions", names, is_name, NAME)?;
        for action in &self.actions {
            let name = &*action.name;
            if TOOLS.contains(&name) {
                return Err(format!(
                    "an action is called `{name}`, like a tool of the operator; it needs another name"
                ));
            }
            check_length(
                format_args!("`description` of `{name}`"),
                &action.description,
                MAX_DESCRIPTION,
            )?;
            check_json_schema(
                format_args!("`params_schema` of `{name}`"),
                action.params_schema,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests/bounds.rs"]
mod tests;
