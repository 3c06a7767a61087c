//! Properties that hold for the `check` of every plugin.
//!
//! A plugin gives a strategy for its data and calls these for each value:
//!
//! ```
//! use operator_plugin_api::{CheckReport, Unknown, Violation};
//! use operator_plugin_kit::testing::properties;
//! use proptest::prelude::*;
//! # use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
//! struct Data { age_ms: Option<u64> }
//!
//! fn check(data: &Data) -> CheckReport {
//!     let mut report = CheckReport::default();
//!     match data.age_ms {
//!         Some(age) if age > 1_000 => report.violations.push(Violation::new("stale", "too old")),
//!         Some(_) => {}
//!         None => report.unknown.push(Unknown::new("stale", "the age is unknown")),
//!     }
//!     report
//! }
//!
//! proptest!(|(age_ms in properties::known(vec![0, 1_000, 1_001]))| {
//!     let data = Data { age_ms };
//!     properties::assert_hidden_data_is_never_healthy(&data, check, |_| false);
//!     properties::assert_reported_once(&check(&data));
//!     properties::assert_survives_json(&data);
//! });
//! ```

use std::{collections::HashSet, fmt::Debug};

use operator_plugin_api::{CheckReport, Error, Observation, Subject};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// One of the values, or unknown in one of five cases.
pub fn known<T: Debug + Clone + 'static>(values: Vec<T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.8, prop::sample::select(values))
}

/// Any small JSON document, in which objects have some of these keys.
pub fn any_json(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let keys = prop::sample::select(keys).prop_map(str::to_owned);
        let object = prop::collection::btree_map(keys, inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// Every invariant and resource that is violated or unknown.
pub fn not_healthy(report: &CheckReport) -> Vec<(&str, Option<&str>)> {
    let violated = report.violations.iter();
    let violated = violated.map(|v| (v.invariant.as_str(), v.resource.as_deref()));
    let unknown = report.unknown.iter();
    let unknown = unknown.map(|u| (u.invariant.as_str(), u.resource.as_deref()));
    violated.chain(unknown).collect()
}

/// Hiding any field, by `null` or by leaving it out, never makes healthy what was violated or unknown.
///
/// `exempt` selects the fields to skip by their path (`/stores/0/state`): an entry of a map whose absence has its own
/// meaning. A field without which the data cannot be read passes, because the SDK then calls everything unknown.
pub fn assert_hidden_data_is_never_healthy<D: Serialize + DeserializeOwned>(
    data: &D,
    check: impl Fn(&D) -> CheckReport,
    exempt: impl Fn(&str) -> bool,
) {
    let whole = serde_json::to_value(data).expect("data is JSON");
    let before = check(data);
    let before = not_healthy(&before);
    let mut paths = fields(&whole);
    paths.retain(|path| !exempt(path));
    let mut readable = 0;
    for path in &paths {
        for part in [without(&whole, path), with(&whole, path, Value::Null)] {
            let Ok(part) = serde_json::from_value::<D>(part) else {
                continue;
            };
            readable += 1;
            let after = check(&part);
            let after = not_healthy(&after);
            for finding in &before {
                let remains = after.iter().any(|other| covers(other, finding));
                assert!(remains, "{finding:?} became healthy without {path}");
            }
        }
    }
    assert!(
        readable > 0 || paths.is_empty(),
        "without any of these the data cannot be read: {paths:?}"
    );
}

/// What was unknown as a whole may turn out violated in parts, and the other way round.
fn covers(after: &(&str, Option<&str>), before: &(&str, Option<&str>)) -> bool {
    after.0 == before.0 && (after.1.is_none() || before.1.is_none() || after.1 == before.1)
}

/// No invariant and resource is reported twice, be it as violated or as unknown.
pub fn assert_reported_once(report: &CheckReport) {
    let mut known = HashSet::new();
    for finding in not_healthy(report) {
        assert!(known.insert(finding), "{finding:?} is reported twice");
    }
}

/// The data are the same after they crossed the plugin boundary.
pub fn assert_survives_json<D: Serialize + DeserializeOwned + PartialEq + Debug>(data: &D) {
    let json = serde_json::to_string(data).expect("data is JSON");
    assert_eq!(
        &serde_json::from_str::<D>(&json).expect("JSON is data"),
        data
    );
}

/// Any number in the place of any field is judged without a panic. `at` chooses the field.
pub fn assert_judges_any_number<D: Serialize + DeserializeOwned>(
    data: &D,
    check: impl Fn(&D) -> CheckReport,
    number: f64,
    at: prop::sample::Index,
) {
    let whole = serde_json::to_value(data).expect("data is JSON");
    let fields = fields(&whole);
    let path: &String = at.get(&fields);
    let changed = with(&whole, path, json!(number));
    if let Ok(changed) = serde_json::from_value::<D>(changed) {
        check(&changed);
    }
}

/// Instances of different configurations judge an observation the same: everything that `check` needs is in it.
pub fn assert_configuration_does_not_matter<S: Subject>(
    data: S::Data,
    configs: impl IntoIterator<Item = S::Config>,
) {
    let observation = Observation::new(data);
    let reports = configs.into_iter().map(|config| {
        let subject = S::create(config).map_err(|error: Error| error.message);
        subject.expect("a valid configuration").check(&observation)
    });
    let reports: Vec<_> = reports.collect();
    assert!(reports.len() > 1, "one configuration cannot differ");
    for report in &reports {
        assert_eq!(report, &reports[0]);
    }
}

/// The paths of all fields that are known. The entries of a list belong to the list.
fn fields(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(document, String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
                let name = name.replace('~', "~0").replace('/', "~1");
                let path = format!("{path}/{name}");
                collect(field, path.clone(), found);
                found.push(path);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn with(document: &Value, path: &str, value: Value) -> Value {
    let mut changed = document.clone();
    *changed.pointer_mut(path).expect("a path of the document") = value;
    changed
}

fn without(document: &Value, path: &str) -> Value {
    let mut changed = document.clone();
    let (parent, name) = path.rsplit_once('/').expect("a path");
    let name = name.replace("~1", "/").replace("~0", "~");
    let parent = changed.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.expect("an object").remove(&name);
    changed
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use operator_plugin_api::{Unknown, Violation};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Data {
        #[serde(default)]
        level: u64,
        most: Option<u64>,
    }

    fn check(data: &Data) -> CheckReport {
        let mut report = CheckReport::default();
        match data.most {
            Some(most) if data.level > most => {
                report.violations.push(Violation::new("high", "too high"));
            }
            Some(_) => {}
            None => report.unknown.push(Unknown::new("high", "no limit")),
        }
        report
    }

    #[test]
    fn a_default_that_appears_healthy_is_found() {
        let data = Data {
            level: 2,
            most: Some(1),
        };
        let all = |data: Data| {
            catch_unwind(|| assert_hidden_data_is_never_healthy(&data, check, |_| false))
        };
        assert!(all(data.clone()).is_err(), "level is 0 where it is absent");
        assert_hidden_data_is_never_healthy(&data, check, |path| path == "/level");
    }

    #[test]
    fn what_is_reported_twice_is_found() {
        let mut report = CheckReport::default();
        report.unknown.push(Unknown::new("high", "no limit"));
        assert_reported_once(&report);
        report.violations.push(Violation::new("high", "too high"));
        assert!(catch_unwind(|| assert_reported_once(&report)).is_err());
    }

    #[test]
    fn every_known_field_has_a_path() {
        let document = json!({"a": {"b/c": [{"d": 2, "e": null}]}});
        let fields = fields(&document);
        assert_eq!(fields, ["/a/b~1c/0/d", "/a/b~1c", "/a"]);
        for path in fields {
            assert_ne!(without(&document, &path), document);
        }
    }
}
