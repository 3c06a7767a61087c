use std::time::Duration;

use operator_model::Isolation;
use proptest::prelude::*;

use super::*;
use crate::{LogFormat, SubjectConfig};

fn home() -> Environment {
    with(&[])
}

fn with(variables: &[(&str, &str)]) -> Environment {
    [("HOME", "/home/me")]
        .into_iter()
        .chain(variables.iter().copied())
        .collect()
}

fn file(text: &str) -> Result<Loaded, Faults> {
    layer(
        &Flags::default(),
        &home(),
        Some((Path::new("/etc/operator.toml"), text)),
    )
}

fn faults(result: Result<Loaded, Faults>) -> Vec<String> {
    let faults = result.expect_err("there are faults");
    faults.0.iter().map(ToString::to_string).collect()
}

#[test]
fn later_layers_win_and_each_value_knows_its_origin() {
    let flags = Flags {
        log_level: Some("trace".to_owned()),
        ..Flags::default()
    };
    let environment = with(&[
        ("OPERATOR_LOG_LEVEL", "debug"),
        ("OPERATOR_LOG_FORMAT", "json"),
    ]);
    let text = "[log]\nlevel = \"warn\"\nformat = \"text\"\nheartbeat = \"1m\"\n";
    let loaded = layer(&flags, &environment, Some((Path::new("o.toml"), text))).expect("valid");
    assert_eq!(loaded.config.log.level, "trace");
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    assert_eq!(loaded.config.log.heartbeat, Duration::from_mins(1));
    let origin = |key| {
        loaded
            .origins
            .around(&KeyPath::new(["log", key]))
            .to_string()
    };
    assert_eq!(origin("level"), "--log-level");
    assert_eq!(origin("format"), "OPERATOR_LOG_FORMAT");
    assert_eq!(origin("heartbeat"), "o.toml:4:1");
}

#[test]
fn every_fault_is_reported_with_its_place_and_its_fix() {
    let text = r#"
databse = "sqlite:x"
[log]
format = "yaml"
[subjects.orders]
plugin = "hello"
interval = 10
isolation = "worker"
deadlines.observe = "2 fortnights"
deadlines.check = "0s"
[subjects."or ders"]
sha256 = "abc"
"#;
    let flags = Flags {
        interval: Some("soon".to_owned()),
        subjects: vec!["order".to_owned()],
        ..Flags::default()
    };
    let environment = with(&[("OPERATOR_HEARTBEAT", "10")]);
    let result = layer(&flags, &environment, Some((Path::new("o.toml"), text)));
    assert_eq!(
        faults(result),
        [
            r#"o.toml:4:10: log.format: "yaml" is not possible; choose from "text", "json""#,
            r#"o.toml:7:12: subjects.orders.interval: 10, an integer, is not a duration; write it like "30s", "500ms" or "1h 30m""#,
            r#"o.toml:9:21: subjects.orders.deadlines.observe: "2 fortnights" is not a duration; write it like "30s", "500ms" or "1h 30m""#,
            r#"o.toml:10:19: subjects.orders.deadlines.check: "0s" is out of bounds; choose from "1ms" to "1h""#,
            r#"o.toml:11:11: subjects."or ders": "or ders" cannot be a name; use up to 64 letters, digits, `-`, `_` and `.`"#,
            r#"o.toml:11:11: subjects."or ders".plugin: it is missing; name the plugin that watches it, such as plugin = "hello""#,
            r#"o.toml:12:10: subjects."or ders".sha256: "abc" is not a SHA-256 hash; write the 64 hexadecimal digits that `sha256sum FILE` prints"#,
            "o.toml:2:1: databse: there is no such setting; did you mean `database`?",
            r#"OPERATOR_HEARTBEAT: "10" is not a duration; write it like "30s", "500ms" or "1h 30m""#,
            r#"--interval: "soon" is not a duration; write it like "30s", "500ms" or "1h 30m""#,
            r#"--subject: there is no subject "order"; did you mean `orders`?"#,
        ]
    );
}

#[test]
fn a_syntax_error_comes_alone_with_its_place() {
    let faults = faults(file("state_dir = \"/x\"\n[log\nformat = 1\n"));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].starts_with("/etc/operator.toml:2:5: this is not TOML: "),
        "{faults:?}"
    );
}

#[test]
fn a_subject_cannot_have_the_name_of_the_operators_own_tickets() {
    assert_eq!(
        faults(file("[subjects.operator]\nplugin = \"hello\"\n")),
        [
            r#"/etc/operator.toml:1:11: subjects.operator: the name "operator" is reserved for the tickets of the operator itself; give the subject another name"#
        ]
    );
}

#[test]
fn paths_start_at_the_file_or_at_home() {
    let text = "state_dir = \"state\"\ndatabase = \"sqlite:x.db\"\nplugin_dirs = [\"~/p\"]\n\
                [subjects.a]\nplugin = \"./liba.so\"\n[subjects.b]\nplugin = \"b\"";
    let config = file(text).expect("valid").config;
    assert_eq!(config.state_dir, Path::new("/etc/state"));
    assert_eq!(config.database, "sqlite:/etc/x.db");
    assert_eq!(config.plugin_dirs, [Path::new("/home/me/p")]);
    assert_eq!(config.subjects[0].plugin, "/etc/./liba.so");
    assert_eq!(config.subjects[1].plugin, "b");
}

#[test]
fn the_database_is_in_the_state_directory_unless_it_is_set() {
    let environment = with(&[("OPERATOR_STATE_DIR", "/state")]);
    let loaded = layer(&Flags::default(), &environment, None).expect("valid");
    assert_eq!(loaded.config.database, "sqlite:/state/operator.db");
}

#[test]
fn subjects_keep_the_order_of_the_file() {
    let text = "[subjects.b]\nplugin = \"x\"\n[subjects.a]\nplugin = \"y\"";
    let config = file(text).expect("valid").config;
    let names: Vec<_> = config.subjects.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
}

fn plugin_flag(plugin: &str, text: &str) -> Config {
    let flags = Flags {
        plugin: Some(plugin.to_owned()),
        ..Flags::default()
    };
    let loaded = layer(&flags, &home(), Some((Path::new("o.toml"), text)));
    loaded.expect("valid").config
}

#[test]
fn a_plugin_alone_is_a_subject() {
    let config = plugin_flag("target/libhello.so", "[subjects.a]\nplugin = \"other\"");
    assert_eq!(
        config.subjects,
        [SubjectConfig::new("hello", "target/libhello.so")]
    );
}

#[test]
fn a_plugin_that_the_file_knows_keeps_its_settings_of_the_file() {
    let text =
        "[subjects.a]\nplugin = \"hello\"\nisolation = \"none\"\n[subjects.b]\nplugin = \"other\"";
    let config = plugin_flag("./libhello.so", text);
    assert_eq!(config.subjects.len(), 1);
    assert_eq!(config.subjects[0].plugin, "./libhello.so");
    assert_eq!(config.subjects[0].isolation, Isolation::None);
}

#[test]
fn set_needs_exactly_one_subject() {
    let set = |subjects: Vec<String>| {
        let flags = Flags {
            set: vec!["a.b=1".to_owned()],
            subjects,
            ..Flags::default()
        };
        let text = "[subjects.a]\nplugin = \"x\"\n[subjects.b]\nplugin = \"y\"";
        layer(&flags, &home(), Some((Path::new("o.toml"), text)))
    };
    assert_eq!(
        faults(set(vec![])),
        ["--set: it cannot be for 2 subjects at once; choose one with --subject"]
    );
    let loaded = set(vec!["b".to_owned()]).expect("valid");
    assert_eq!(loaded.config.subjects[0].set[0].key.to_string(), "a.b");
}

#[test]
fn a_misspelt_variable_is_a_warning_and_a_foreign_one_is_nothing() {
    let environment = with(&[
        ("OPERATOR_STATEDIR", "/x"),
        ("OPERATOR_PORT", "tcp://10.0.0.1:80"),
        ("OPERATOR_SERVICE_HOST", "10.0.0.1"),
    ]);
    let loaded = layer(&Flags::default(), &environment, None).expect("valid");
    assert_eq!(
        loaded.warnings,
        ["OPERATOR_STATEDIR: there is no such variable; did you mean OPERATOR_STATE_DIR?"]
    );
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let environment = with(&[
        ("OPERATOR_CONFIG", "/does/not/exist.toml"),
        ("OPERATOR_INTERVAL", "1"),
    ]);
    let faults = faults(load(&Flags::default(), &environment));
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("OPERATOR_CONFIG: cannot read /does/not/exist.toml: "));
    assert!(faults[1].starts_with("OPERATOR_INTERVAL: "));
    let none = with(&[("XDG_CONFIG_HOME", "/does/not/exist")]);
    assert_eq!(load(&Flags::default(), &none).expect("valid").file, None);
}

/// Valid settings, each with the table that it belongs in.
const VALID: [(&str, &str); 12] = [
    ("", "state_dir = \"/x\""),
    ("", "plugin_dirs = []"),
    ("log", "format = \"json\""),
    ("log", "level = \"info,a=debug\""),
    ("retention", "tickets = \"1d\""),
    ("retention", "observations_per_subject = 5"),
    ("subjects.s", "interval = \"100ms\""),
    ("subjects.s", "isolation = \"none\""),
    ("subjects.s", "deadlines.check = \"1s\""),
    ("subjects.s", "unknown_after = \"0s\""),
    ("subjects.s.config", "anything = [1, { goes = true }]"),
    ("subjects.s.invariants.i", "severity = \"info\""),
];

const TABLES: [&str; 5] = [
    "",
    "log",
    "retention",
    "subjects.s",
    "subjects.s.invariants.i",
];

/// A file with these settings, table by table.
fn written(lines: &[(&str, String)]) -> String {
    let mut text = String::new();
    let tables = TABLES.iter().copied().chain(["subjects.s.config"]);
    for table in tables {
        if !table.is_empty() {
            text.extend(["[", table, "]\n"]);
        }
        if table == "subjects.s" {
            text += "plugin = \"hello\"\n";
        }
        for (_, line) in lines.iter().filter(|(of, _)| *of == table) {
            text += line;
            text += "\n";
        }
    }
    text
}

proptest! {
    #[test]
    fn any_choice_of_valid_settings_is_valid(chosen in proptest::sample::subsequence(VALID.to_vec(), 0..=VALID.len())) {
        let lines: Vec<_> = chosen.iter().map(|(of, line)| (*of, (*line).to_owned())).collect();
        prop_assert!(file(&written(&lines)).is_ok());
    }

    #[test]
    fn each_unknown_setting_is_reported_on_its_line(
        chosen in proptest::sample::subsequence(VALID.to_vec(), 0..=VALID.len()),
        unknown in proptest::collection::btree_map("zz[a-z]{0,6}", 0..TABLES.len(), 1..6),
    ) {
        let mut lines: Vec<_> = chosen.iter().map(|(of, line)| (*of, (*line).to_owned())).collect();
        for (name, table) in &unknown {
            lines.push((TABLES[*table], format!("{name} = 1")));
        }
        let text = written(&lines);
        let found = file(&text).expect_err("unknown settings are refused").0;
        prop_assert_eq!(found.len(), unknown.len());
        for fault in found {
            let Origin::File { line, column: 1, .. } = fault.origin else {
                return Err(TestCaseError::fail(format!("{fault}")));
            };
            let name = fault.key.expect("it names the key").parts().last().cloned();
            let written = text.lines().nth(line - 1).and_then(|line| line.strip_suffix(" = 1"));
            prop_assert_eq!(written.map(str::to_owned), name);
        }
    }

    #[test]
    fn each_value_of_the_wrong_type_is_reported_on_its_line(
        wrong in proptest::sample::subsequence(VALID.to_vec(), 1..=VALID.len())
    ) {
        let is_checked_here = |table: &&(&str, &str)| table.0 != "subjects.s.config";
        let lines: Vec<_> = wrong
            .iter()
            .filter(is_checked_here)
            .map(|(of, line)| (*of, format!("{} = {{}}", line.split(" = ").next().unwrap_or_default())))
            .collect();
        let text = written(&lines);
        let found = file(&text).err().unwrap_or_default().0;
        prop_assert_eq!(found.len(), lines.len());
        for fault in found {
            let Origin::File { line, .. } = fault.origin else {
                return Err(TestCaseError::fail(format!("{fault}")));
            };
            let written = text.lines().nth(line - 1).unwrap_or_default();
            prop_assert!(written.ends_with(" = {}"), "{}", fault);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _ = file(&text);
    }
}
