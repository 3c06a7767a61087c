//! What the documents of a plugin may contain at most.
//!
//! The host checks each document in the plugin's own process, before it reads anything of it. A document that exceeds a
//! bound is refused as a whole: the plugin fails, which is a ticket, and nothing of the document counts. Texts that
//! people read are not refused but cut.

/// The largest observation, as JSON text. Bytes.
pub const MAX_OBSERVATION: usize = 8 << 20;
/// The largest check report, as JSON text. Bytes.
pub const MAX_REPORT: usize = 4 << 20;
/// The largest descriptor, as JSON text. Bytes.
pub const MAX_DESCRIPTOR: usize = 1 << 20;
/// The largest list of actions, as JSON text. Bytes.
pub const MAX_ACTION_LIST: usize = 1 << 20;
/// The largest result of an action, as JSON text. Bytes.
pub const MAX_ACTION_RESULT: usize = 256 << 10;

/// How deep objects and lists of a document may be nested.
pub const MAX_DEPTH: usize = 64;
/// The number of values in an observation: texts, numbers, objects, lists.
pub const MAX_OBSERVATION_VALUES: usize = 500_000;
/// The number of values in any other document.
pub const MAX_VALUES: usize = 100_000;

/// The number of invariants that a plugin declares.
pub const MAX_INVARIANTS: usize = 200;
/// The number of its service level objectives.
pub const MAX_SLOS: usize = 100;
/// The number of its actions.
pub const MAX_ACTIONS: usize = 100;
/// The number of sources in an observation.
pub const MAX_SOURCES: usize = 1_000;
/// The number of service level indicators in an observation.
pub const MAX_SLIS: usize = 1_000;
/// The number of resources in an observation.
pub const MAX_RESOURCES: usize = 10_000;
/// The number of violations in a check report.
pub const MAX_VIOLATIONS: usize = 5_000;
/// The number of unknowns in a check report.
pub const MAX_UNKNOWNS: usize = 10_000;

/// The longest name of a subject, an invariant, an action or a kind of resource. Characters.
pub const MAX_NAME: usize = 64;
/// The longest name of a source, an SLO or an SLI. Characters.
pub const MAX_LABEL: usize = 200;
/// The longest description of a subject, an invariant, an SLO or an action. Bytes.
pub const MAX_DESCRIPTION: usize = 4 << 10;
/// The longest runbook. Bytes.
pub const MAX_RUNBOOK: usize = 32 << 10;
/// The largest JSON Schema, as JSON text. Bytes.
pub const MAX_SCHEMA: usize = 256 << 10;
/// The number of subschemas in a JSON Schema once each `$ref` is replaced by what it refers to. A schema that refers to
/// itself counts as nested eight times.
pub const MAX_SUBSCHEMAS: usize = 10_000;
/// The number of regular expressions in a JSON Schema.
pub const MAX_PATTERNS: usize = 100;
/// The longest regular expression in a JSON Schema. Bytes.
pub const MAX_PATTERN: usize = 1_000;
/// The longest [`Observation::memory`](crate::Observation::memory), as JSON text. Bytes.
pub const MAX_MEMORY: usize = 64 << 10;

/// A longer message, reason, summary or error is cut. Characters.
pub const KEPT_TEXT: usize = 2_000;
/// A longer resource is cut. Characters.
pub const KEPT_RESOURCE: usize = 500;
/// Of larger evidence, as JSON text, only the beginning is kept. Bytes.
pub const KEPT_EVIDENCE: usize = 16 << 10;

/// The furthest that [`Observation::observed_at_ms`](crate::Observation::observed_at_ms) may be before or after the
/// call. Milliseconds.
pub const MAX_CLOCK_DIFFERENCE_MS: i64 = 60_000;

/// Whether it is a name: lower case letters, digits and `_`, at least one and at most [`MAX_NAME`].
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}

/// Whether it is the name of a kind of subject, which may also contain `-`.
pub fn is_subject_name(name: &str) -> bool {
    is_name(&name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_letters_digits_and_underscores() {
        let longest = "x".repeat(MAX_NAME);
        for name in ["node_down", "p99", "_", longest.as_str()] {
            assert!(is_name(name) && is_subject_name(name), "{name}");
        }
        assert!(is_subject_name("my-system") && !is_name("my-system"));
        let too_long = "x".repeat(MAX_NAME + 1);
        for name in [
            "",
            "../go",
            "Node",
            "a b",
            "operator.plugin_failing",
            "é",
            "a\n",
            too_long.as_str(),
        ] {
            assert!(!is_name(name) && !is_subject_name(name), "{name}");
        }
    }
}
