//! What the operator itself can do as a step of a plan. None of it touches the subject.

use std::time::Duration;

use operator_plugin_api::{ActionDefinition, Risk};
use serde_json::{Map, Value, json};

/// Lets time pass.
pub const WAIT: &str = "wait";
/// Writes a line into the audit and the daemon's output.
pub const LOG_MESSAGE: &str = "log_message";
/// Observes the subject, and returns whether it is healthy.
pub const OBSERVE_NOW: &str = "observe_now";

/// The longest wait.
const LONGEST: Duration = Duration::from_hours(24);

/// The tools as actions.
pub fn tools() -> [ActionDefinition; 3] {
    [
        tool(
            WAIT,
            "Lets time pass.",
            json!({"for": {"type": "string", "minLength": 2, "description": "such as 30s or 5m; at most a day"}}),
            &["for"],
        ),
        tool(
            LOG_MESSAGE,
            "Writes a line into the audit and the daemon's output.",
            json!({"message": {"type": "string", "minLength": 1, "maxLength": 2000}}),
            &["message"],
        ),
        tool(
            OBSERVE_NOW,
            "Observes the subject. Its result has /healthy, /violations and /unknown.",
            json!({}),
            &[],
        ),
    ]
}

fn tool(name: &str, description: &str, properties: Value, required: &[&str]) -> ActionDefinition {
    ActionDefinition {
        name: name.to_owned(),
        description: description.to_owned(),
        params_schema: json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        }),
        risk: Risk::Low,
        idempotent: true,
        inverse: None,
        mends: Vec::new(),
        dry_run: false,
    }
}

/// Checks what the schema cannot express about a tool's parameters.
pub(crate) fn fault(name: &str, params: &Map<String, Value>) -> Option<String> {
    if name != WAIT {
        return None;
    }
    let text = params
        .get("for")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match wait(params) {
        Some(time) if time <= LONGEST => None,
        Some(_) => Some(format!("`wait`: for: {text:?} is longer than a day")),
        None => Some(format!(
            "`wait`: for: {text:?} is not a duration; write it like \"30s\""
        )),
    }
}

/// How long a `wait` waits.
pub fn wait(params: &Map<String, Value>) -> Option<Duration> {
    let text = params.get("for")?.as_str()?;
    humantime::parse_duration(text).ok()
}
