//! What the tests of this module act on.

use operator_model::{OnFailure, Plan, PlanStep, When};
use operator_plugin_api::{ActionDefinition, ActionList, Inverse, InverseParam, Risk};
use serde_json::{Value, json};

use super::Registry;

fn action(name: &str, risk: Risk, schema: Value) -> ActionDefinition {
    ActionDefinition {
        name: name.to_owned(),
        description: String::new(),
        params_schema: schema,
        risk,
        idempotent: true,
        inverse: None,
        mends: Vec::new(),
        dry_run: false,
    }
}

/// The small subject `db`.
pub fn registry() -> Registry {
    let actions = actions();
    Registry::new("db", ActionList { actions })
}

/// Its actions.
pub fn actions() -> Vec<ActionDefinition> {
    let node = json!({
        "type": "object", "required": ["node"], "additionalProperties": false,
        "properties": {"node": {"type": "string", "x-resource": true}},
    });
    let size = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
    let inverse = |action: &str, name: &str, source| {
        Some(Inverse {
            action: action.to_owned(),
            params: [(name.to_owned(), source)].into(),
        })
    };
    let drain = ActionDefinition {
        inverse: inverse("undrain", "node", InverseParam::Param("node".to_owned())),
        ..action("drain", Risk::Medium, node.clone())
    };
    let resize = ActionDefinition {
        inverse: inverse("resize", "size", InverseParam::Detail("before".to_owned())),
        ..action("resize", Risk::High, size)
    };
    vec![
        action("restart", Risk::Low, node.clone()),
        action("undrain", Risk::Medium, node),
        drain,
        resize,
    ]
}

/// A plan of these calls.
pub fn plan(steps: &[(&str, Value)]) -> Plan {
    let step = |(action, params): &(&str, Value)| PlanStep {
        action: (*action).to_owned(),
        params: params.as_object().cloned().unwrap_or_default(),
        when: When::Done,
    };
    Plan {
        name: "test".to_owned(),
        steps: steps.iter().map(step).collect(),
        on_failure: OnFailure::Stop,
        has_secrets: false,
    }
}
