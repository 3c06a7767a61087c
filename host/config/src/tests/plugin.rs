use operator_model::Property;
use operator_plugin_api::{Invariant, Severity};
use serde_json::json;

use super::*;
use crate::{Flags, check_names, load};

fn descriptor() -> Descriptor {
    Descriptor {
        subject: "postgres".to_owned(),
        description: String::new(),
        config_schema: json!({
            "type": "object",
            "required": ["url"],
            "properties": {
                "url": {"type": "string", "x-env": "DATABASE_URL", "x-secret": true, "pattern": "^pg:"},
                "lag_s": {"type": "integer", "default": 30, "minimum": 1, "x-env": "LAG"},
                "tables": {"type": "array", "items": {"type": "string"}, "x-env": "TABLES"},
                "ca": {"type": ["string", "null"], "x-path": "read", "x-env": "CA"},
                "dirs": {"type": "array", "x-path": "write", "items": {"type": "string"}},
                "tls": {"type": "object", "properties": {"verify": {"type": "boolean", "x-env": "TLS_VERIFY"}}},
            }
        }),
        observation_schema: Value::Null,
        invariants: vec![Invariant::new("replication_lag", Severity::Warning, "")],
        slos: Vec::new(),
    }
}

fn resolve(file: &str, set: &[&str], variables: &[(&str, &str)]) -> Result<PluginConfig, Faults> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("o.toml");
    std::fs::write(
        &path,
        format!("[subjects.db]\nplugin = \"postgres\"\n{file}"),
    )
    .expect("written");
    let environment: Environment = variables.iter().copied().collect();
    let flags = Flags {
        config: Some(path),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
        ..Flags::default()
    };
    let loaded = load(&flags, &environment).expect("the file itself is valid");
    let subject = &loaded.config.subjects[0];
    PluginConfig::resolve(subject, &descriptor(), &loaded.origins, &environment)
}

/// The faults, with the file by its name alone.
fn faults(result: Result<PluginConfig, Faults>) -> Vec<String> {
    let short = |fault: &Fault| {
        let mut fault = fault.clone();
        if let Origin::File { path, .. } = &mut fault.origin {
            *path = Path::new("o.toml").into();
        }
        fault.to_string()
    };
    result
        .expect_err("there are faults")
        .0
        .iter()
        .map(short)
        .collect()
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_a_variable() {
    let given = resolve(
        "config.url = \"pg:file\"\nconfig.lag_s = 1",
        &["lag_s=2", "tls.verify=true"],
        &[
            ("DATABASE_URL", "pg:env"),
            ("LAG", "3"),
            ("TABLES", "a, b"),
            ("TLS_VERIFY", "false"),
        ],
    );
    assert_eq!(
        Value::Object(given.expect("valid").values),
        json!({"url": "pg:file", "lag_s": 2, "tables": ["a", "b"], "tls": {"verify": true}})
    );
}

#[test]
fn a_variable_serves_where_nothing_is_set_and_an_empty_one_does_not() {
    let given = resolve(
        "",
        &[],
        &[
            ("DATABASE_URL", "pg:env"),
            ("LAG", ""),
            ("TLS_VERIFY", "true"),
        ],
    );
    assert_eq!(
        Value::Object(given.expect("valid").values),
        json!({"url": "pg:env", "tls": {"verify": true}})
    );
}

#[test]
fn every_misfit_is_reported_where_it_was_set() {
    let file = "[subjects.db.config]\ntabels = []\nlag_s = 0\n[subjects.db.config.tls]\nverify = 1\n\
                [subjects.db.invariants.replication_lagg]\nenabled = false";
    let mut faults = faults(resolve(file, &["tls.verfy=true", "tables=a"], &[]));
    faults.sort();
    assert_eq!(
        faults,
        [
            "--set tls.verfy: subjects.db.config.tls.verfy: the plugin has no such setting; did you mean `verify`?",
            "o.toml:3:14: subjects.db.config.url: the plugin needs it; set it in [subjects.db.config], in the variable \
             DATABASE_URL or with --set url=...",
            "o.toml:4:1: subjects.db.config.tabels: the plugin has no such setting; did you mean `tables`?",
            "o.toml:5:1: subjects.db.config.lag_s: 0 is less than the minimum of 1",
            "o.toml:7:1: subjects.db.config.tls.verify: 1 is not of type \"boolean\"",
            "o.toml:8:25: subjects.db.invariants.replication_lagg: plugin postgres has no such invariant; did you mean \
             `replication_lag`?",
        ]
    );
}

#[test]
fn a_misfit_inside_an_optional_table_is_reported_by_itself() {
    let mut descriptor = descriptor();
    descriptor.config_schema = json!({
        "$defs": {"Tls": {
            "type": "object",
            "additionalProperties": false,
            "properties": {"verify": {"type": "boolean"}},
        }},
        "type": "object",
        "properties": {"tls": {"anyOf": [{"$ref": "#/$defs/Tls"}, {"type": "null"}]}},
    });
    let mut subject = SubjectConfig::new("db", "postgres");
    subject
        .config
        .insert("tls".to_owned(), json!({"verfy": true}));
    let (origins, environment) = (Origins::default(), Environment::default());
    let faults = PluginConfig::resolve(&subject, &descriptor, &origins, &environment);
    assert_eq!(
        faults.expect_err("one fault").to_string(),
        "default: subjects.db.config.tls.verfy: the plugin has no such setting; did you mean `verify`?"
    );
}

#[test]
fn a_variable_that_cannot_be_read_is_named() {
    assert_eq!(
        faults(resolve(
            "",
            &["url=pg:x"],
            &[("LAG", "much"), ("TLS_VERIFY", "no")]
        )),
        [
            "LAG: subjects.db.config.lag_s: \"much\" is not of type integer; write it like 3",
            "TLS_VERIFY: subjects.db.config.tls.verify: \"no\" is not of type boolean; write it like true or false",
        ]
    );
}

#[test]
fn a_secret_is_never_shown() {
    let wrong = faults(resolve("", &[], &[("DATABASE_URL", "hunter2")]));
    assert_eq!(
        wrong,
        [r#"DATABASE_URL: subjects.db.config.url: it does not match "^pg:""#]
    );
    let given = resolve("", &["url=pg:hunter2"], &[]).expect("valid");
    let shown: Vec<_> = given
        .shown
        .iter()
        .map(|shown| format!("{} = {} ({})", shown.key, shown.value, shown.origin))
        .collect();
    assert_eq!(
        shown,
        [
            "subjects.db.config.lag_s = 30 (default)",
            "subjects.db.config.url = \"***\" (--set url)",
        ]
    );
}

#[test]
fn a_fault_repeats_no_password_of_a_url() {
    let url = "http://me:hunter2@host/x";
    let mut descriptor = descriptor();
    descriptor.config_schema = json!({
        "type": "object",
        "properties": {
            "mode": {"enum": ["a", "b"]},
            "either": {"anyOf": [{"const": "a"}, {"const": "b"}]},
            "short": {"type": "string", "maxLength": 3},
            "number": {"type": "integer"},
            "list": {"type": "array", "items": {"pattern": "^a$"}},
        },
    });
    let mut subject = SubjectConfig::new("db", "postgres");
    for key in ["mode", "either", "short", "number"] {
        subject.config.insert(key.to_owned(), json!(url));
    }
    subject.config.insert("list".to_owned(), json!([url]));
    let (origins, environment) = (Origins::default(), Environment::default());
    let faults = PluginConfig::resolve(&subject, &descriptor, &origins, &environment);
    let faults = faults.expect_err("each is at fault").to_string();
    assert!(!faults.contains("hunter2"), "{faults}");
    assert_eq!(
        faults.matches("http://me:***@host/x").count(),
        5,
        "{faults}"
    );
}

#[test]
fn a_secret_inside_a_list_or_a_map_is_never_shown() {
    let user = json!({
        "type": "object",
        "properties": {"password": {"type": "string", "x-secret": true}},
    });
    let mut descriptor = descriptor();
    descriptor.config_schema = json!({
        "type": "object",
        "properties": {
            "users": {"type": "array", "items": user},
            "by_name": {"type": "object", "additionalProperties": user},
        },
    });
    let resolve = |password: Value| {
        let mut subject = SubjectConfig::new("db", "postgres");
        let user = json!({"password": password});
        subject.config.insert("users".to_owned(), json!([user]));
        subject
            .config
            .insert("by_name".to_owned(), json!({"ada": user}));
        let (origins, environment) = (Origins::default(), Environment::default());
        PluginConfig::resolve(&subject, &descriptor, &origins, &environment)
    };
    let faults = resolve(json!(424_242)).expect_err("two faults").to_string();
    assert_eq!(faults.lines().count(), 2, "{faults}");
    assert!(!faults.contains("424242"), "{faults}");
    let shown = format!("{:?}", resolve(json!("hunter2")).expect("valid").shown);
    assert!(
        shown.contains("***") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_rule_of_a_subject_names_an_action_that_is_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("o.toml");
    let text = r#"
[actions]
deny = ["of_another"]
[actions.by_name.of_another]
undo = false
[subjects.db]
plugin = "postgres"
[subjects.db.actions.by_name.restort]
undo = false
[subjects.db.actions.by_name.restart]
undo = false
[subjects.good]
plugin = "postgres"
[subjects.deny]
plugin = "postgres"
actions.deny = ["drain_*", "restart", "re*"]
"#;
    std::fs::write(&path, text).expect("written");
    let flags = Flags {
        config: Some(path),
        ..Flags::default()
    };
    let loaded = load(&flags, &Environment::default()).expect("the file itself is valid");
    let messages: Vec<_> = loaded
        .config
        .subjects
        .iter()
        .map(|subject| {
            let checked = check_names(subject, &["restart", "wait"], &loaded.origins);
            checked.err().map(|faults| faults.to_string())
        })
        .collect();
    let assert_names = |place: usize, parts: &[&str]| {
        let text = messages[place].as_deref().unwrap_or_default();
        assert_eq!(
            text.lines().count(),
            usize::from(!parts.is_empty()),
            "{text}"
        );
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
    };
    assert_names(0, &["subjects.db.actions.by_name.restort", "restart"]);
    assert_names(1, &[]);
    assert_names(2, &["drain_*", "actions.deny"]);
}

#[test]
fn what_the_manifest_asks_for_must_be_granted() {
    let manifest = r#"{"name":"greedy","version":"1.0.0","abi":"1.0","sdk":"1","rustc":"r","target":"t","panic":"unwind",
        "needs":{"exec":"kubectl","memory_mib":9000}}"#;
    let manifest: Manifest = serde_json::from_str(manifest).expect("a manifest");
    let mut subject = SubjectConfig::new("db", "postgres");
    let messages = check_needs(&subject, &manifest, &Origins::default());
    let messages = messages.expect_err("two faults").to_string();
    assert_eq!(messages.lines().count(), 2, "{messages}");
    for part in [
        r#"plugin greedy asks to start programs: "kubectl""#,
        "sandbox.exec = true into [subjects.db]",
        "sandbox.memory_mib = 9000",
    ] {
        assert!(messages.contains(part), "{messages}");
    }
    subject.sandbox.exec = true;
    subject.sandbox.memory_mib = 9000;
    check_needs(&subject, &manifest, &Origins::default()).expect("granted");
}

#[test]
fn a_secret_that_nobody_set_is_not_shown_as_set() {
    let schema = json!({"properties": {
        "token": {"type": "string", "x-secret": true, "default": ""},
        "name": {"type": "string", "default": "x"},
    }});
    let resolving = Resolving {
        base: KeyPath::new(["config"]),
        root: Property::root(&schema),
        values: Map::new(),
        origins: Origins::default(),
        faults: Vec::new(),
    };
    let shown = resolving.shown();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].key, KeyPath::new(["config", "name"]));
}

#[test]
fn a_path_is_granted_when_a_person_gave_it_and_not_otherwise() {
    let granted = |file: &str, set: &[&str], variables: &[(&str, &str)]| {
        let sandbox = resolve(file, set, variables).expect("it fits").sandbox;
        (sandbox.read, sandbox.write)
    };
    let config =
        "config.url = \"pg://x\"\nconfig.dirs = [\"/a/b\", \"relative\"]\nsandbox.read = [\"/c\"]";
    let (read, write) = granted(config, &["ca=/d/ca.pem"], &[]);
    assert_eq!(read, [Path::new("/c"), Path::new("/d/ca.pem")]);
    assert_eq!(write, [Path::new("/a/b")]);
    let (read, write) = granted("config.url = \"pg://x\"", &[], &[("CA", "/home/me")]);
    assert!(
        read.is_empty() && write.is_empty(),
        "the plugin named that variable"
    );
}
