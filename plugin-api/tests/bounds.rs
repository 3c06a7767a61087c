//! The guide lists every bound of the documents with its value.

use operator_plugin_api::bounds::*;

const GUIDE: &str = include_str!("../README.md");
const SOURCE: &str = include_str!("../src/bounds.rs");

/// `10,000`.
fn count(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}

/// `8 MiB`.
fn bytes(number: usize) -> String {
    match number {
        0..1_024 => format!("{} bytes", count(number)),
        1_024..1_048_576 => format!("{} KiB", number >> 10),
        _ => format!("{} MiB", number >> 20),
    }
}

#[test]
fn the_guide_lists_every_bound() {
    let seconds = usize::try_from(MAX_CLOCK_DIFFERENCE_MS).unwrap() / 1_000;
    let listed = [
        ("MAX_OBSERVATION", bytes(MAX_OBSERVATION)),
        ("MAX_REPORT", bytes(MAX_REPORT)),
        ("MAX_DESCRIPTOR", bytes(MAX_DESCRIPTOR)),
        ("MAX_ACTION_LIST", bytes(MAX_ACTION_LIST)),
        ("MAX_ACTION_RESULT", bytes(MAX_ACTION_RESULT)),
        ("MAX_DEPTH", count(MAX_DEPTH)),
        ("MAX_OBSERVATION_VALUES", count(MAX_OBSERVATION_VALUES)),
        ("MAX_VALUES", count(MAX_VALUES)),
        ("MAX_INVARIANTS", count(MAX_INVARIANTS)),
        ("MAX_SLOS", count(MAX_SLOS)),
        ("MAX_ACTIONS", count(MAX_ACTIONS)),
        ("MAX_SOURCES", count(MAX_SOURCES)),
        ("MAX_SLIS", count(MAX_SLIS)),
        ("MAX_RESOURCES", count(MAX_RESOURCES)),
        ("MAX_VIOLATIONS", count(MAX_VIOLATIONS)),
        ("MAX_UNKNOWNS", count(MAX_UNKNOWNS)),
        ("MAX_NAME", format!("{} characters", count(MAX_NAME))),
        ("MAX_LABEL", format!("{} characters", count(MAX_LABEL))),
        ("MAX_DESCRIPTION", bytes(MAX_DESCRIPTION)),
        ("MAX_RUNBOOK", bytes(MAX_RUNBOOK)),
        ("MAX_SCHEMA", bytes(MAX_SCHEMA)),
        ("MAX_SUBSCHEMAS", count(MAX_SUBSCHEMAS)),
        ("MAX_PATTERNS", count(MAX_PATTERNS)),
        ("MAX_PATTERN", format!("{} bytes", count(MAX_PATTERN))),
        ("MAX_MEMORY", bytes(MAX_MEMORY)),
        ("KEPT_TEXT", format!("{} characters", count(KEPT_TEXT))),
        (
            "KEPT_RESOURCE",
            format!("{} characters", count(KEPT_RESOURCE)),
        ),
        ("KEPT_EVIDENCE", bytes(KEPT_EVIDENCE)),
        ("MAX_CLOCK_DIFFERENCE_MS", format!("{seconds} s")),
    ];
    for (name, value) in &listed {
        let row = |line: &&str| line.contains(&format!("`{name}`")) && line.contains(value);
        assert!(GUIDE.lines().any(|line| row(&line)), "{name}: {value}");
    }
    assert_eq!(SOURCE.matches("pub const ").count(), listed.len());
}
