//! What a plugin asks for stands in its manifest.

#![allow(clippy::unwrap_used, reason = "tests")]

use operator_plugin_api::{
    CheckReport, Deadline, Description, Error, ErrorKind, Observation, Subject, export_subject,
    manifest::{Manifest, Needs, are_different, is_need},
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
        Description {
            subject: "greedy",
            description: "Asks for everything",
            invariants: Vec::new(),
            slos: Vec::new(),
        }
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
        CheckReport {
            violations: Vec::new(),
            unknown: Vec::new(),
        }
    }
}

export_subject!(
    Greedy,
    exec = "kubectl, which lists the pods",
    memory_mib = 8192,
    open_files = 4096,
);

#[test]
fn the_manifest_says_what_is_asked_for() {
    let manifest: Manifest = serde_json::from_slice(&__operator_plugin::MANIFEST).unwrap();
    let asked = Needs {
        exec: Some("kubectl, which lists the pods".into()),
        memory_mib: Some(8192),
        open_files: Some(4096),
    };
    assert_eq!(manifest.needs, asked);
    let text = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
}

#[test]
fn a_manifest_of_a_plugin_that_asks_for_nothing_has_no_needs() {
    let manifest = r#"{"name":"n","version":"1.0.0","abi":"1.0","sdk":"1","rustc":"r","target":"t","panic":"unwind"}"#;
    let manifest: Manifest = serde_json::from_str(manifest).unwrap();
    assert!(manifest.needs.is_empty());
    assert!(!serde_json::to_string(&manifest).unwrap().contains("needs"));
}

#[test]
fn a_need_that_no_host_understands_fails_the_build() {
    assert!(is_need("exec", r#""kubectl""#) && is_need("open_files", "32"));
    assert!(
        are_different(&["exec", "memory_mib"]) && !are_different(&["exec", "open_files", "exec"])
    );
    for (name, value) in [
        ("root", r#""why not""#),
        ("exec", r#""""#),
        ("exec", "true"),
        ("exec", r#""a \u{1}""#),
        ("memory_mib", "1.5"),
        ("memory_mib", "0"),
        ("memory_mib", "5000000000"),
        ("memory_mib", "1048577"),
        ("open_files", "31"),
        ("exec", r#"" ""#),
        ("exec", "\"a\nb\""),
        ("exec", r#""a"b"#),
        ("open_files", r#""many""#),
    ] {
        assert!(!is_need(name, value), "{name} = {value}");
    }
}
