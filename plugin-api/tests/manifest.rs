//! The arguments of `export_subject!` are in the manifest.

#![allow(clippy::unwrap_used, reason = "tests")]

use operator_plugin_api::{
    CheckReport, Deadline, Description, Error, ErrorKind, Observation, Subject, export_subject,
    manifest::{Manifest, Needs, are_different, is_exec, is_memory_mib, is_open_files},
    schemars::{self, JsonSchema},
    serde::{Deserialize, Serialize},
};

struct Greedy;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde")]
struct Nothing {}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "operator_plugin_api::serde")]
struct Data {}

impl Subject for Greedy {
    type Config = Nothing;
    type Data = Data;

    fn describe() -> Description {
        Description::new("greedy", "Requests everything")
    }

    fn create(_: Nothing) -> Result<Self, Error> {
        Ok(Self)
    }

    fn observe(&self, _: Deadline) -> Result<Observation<Data>, Error> {
        Err(Error::new(
            ErrorKind::Unavailable,
            "there is nothing to see",
        ))
    }

    fn check(&self, _: &Observation<Data>) -> CheckReport {
        CheckReport::default()
    }
}

export_subject!(
    Greedy,
    open_files = 4096,
    exec = "kubectl, which lists the pods",
    memory_mib = 8192,
);

#[test]
fn arguments_in_any_order_are_in_the_manifest() {
    let manifest: Manifest = serde_json::from_slice(&__operator_plugin::MANIFEST).unwrap();
    let needs = Needs {
        exec: Some("kubectl, which lists the pods".into()),
        memory_mib: Some(8192),
        open_files: Some(4096),
    };
    assert_eq!(manifest.needs, needs);
    let text = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
}

#[test]
fn a_manifest_without_arguments_has_no_needs() {
    let manifest = r#"{"name":"n","version":"1.0.0","abi":"1.0","sdk":"1","rustc":"r","target":"t","panic":"unwind"}"#;
    let manifest: Manifest = serde_json::from_str(manifest).unwrap();
    assert!(manifest.needs.is_empty());
    assert!(!serde_json::to_string(&manifest).unwrap().contains("needs"));
}

#[test]
fn values_that_no_host_grants_fail_the_build() {
    for literal in [
        r#""""#,
        "true",
        r#""a \u{1}""#,
        r#"" ""#,
        "\"a\nb\"",
        r#""a"b"#,
    ] {
        assert!(!is_exec(literal), "{literal}");
    }
    for literal in ["1.5", "0", "63", "5000000000", "1048577", r#""64""#] {
        assert!(!is_memory_mib(literal), "{literal}");
    }
    for literal in ["31", "1048577", r#""many""#] {
        assert!(!is_open_files(literal), "{literal}");
    }
    assert!(is_exec(r#""kubectl""#) && is_memory_mib("64") && is_open_files("32"));
}

#[test]
fn an_argument_that_is_given_twice_fails_the_build() {
    assert!(are_different(&[]) && are_different(&["exec", "memory_mib", "open_files"]));
    assert!(are_different(&["memory_mib", "memory_mix"]));
    assert!(!are_different(&["exec", "open_files", "exec"]));
}
