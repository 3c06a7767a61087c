//! From what somebody asks for to a call that is proven to fit. Pure.

use jsonschema::Validator;
use operator_plugin_api::{ActionDefinition, ActionList};
use serde_json::{Map, Value};

use crate::config::{is_secret_at, without_secrets};

/// A call of an action that exists, with parameters that fit its schema. Only [`resolve`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidCall {
    subject: String,
    definition: ActionDefinition,
    params: Map<String, Value>,
}

impl ValidCall {
    /// Name of the subject that is acted on.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What is called.
    pub fn definition(&self) -> &ActionDefinition {
        &self.definition
    }

    /// With what, for showing and recording: without secrets.
    pub fn shown_params(&self) -> Map<String, Value> {
        without_secrets(&self.definition.params_schema, &self.params)
    }

    /// With what. May hold secrets.
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }
}

/// Why a call is not valid; each fault in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.join("\n"))]
pub struct CallFault {
    /// All that is wrong with it.
    pub faults: Vec<String>,
}

/// Proves that the action exists and that the parameters fit its schema. All faults are reported together.
pub fn resolve(
    subject: &str,
    actions: &ActionList,
    action: &str,
    params: Map<String, Value>,
) -> Result<ValidCall, CallFault> {
    let definition = actions
        .actions
        .iter()
        .find(|definition| definition.name == action)
        .ok_or_else(|| unknown_action(subject, actions, action))?;
    let schema = Validator::new(&definition.params_schema).map_err(|error| CallFault {
        faults: vec![format!(
            "the plugin's schema of `{action}` is no JSON Schema: {error}"
        )],
    })?;
    let object = Value::Object(params);
    let faults: Vec<String> = schema
        .iter_errors(&object)
        .map(|error| match error.instance_path().as_str() {
            // The whole of the parameters may hold a secret.
            "" => format!("`{action}`: {}", error.masked_with("it")),
            path => {
                let key = path.trim_start_matches('/');
                if is_secret_at(&definition.params_schema, path) {
                    format!("`{action}`: {key}: {}", error.masked_with("it"))
                } else {
                    format!("`{action}`: {key}: {error}")
                }
            }
        })
        .collect();
    match object {
        Value::Object(params) if faults.is_empty() => Ok(ValidCall {
            subject: subject.to_owned(),
            definition: definition.clone(),
            params,
        }),
        _ => Err(CallFault { faults }),
    }
}

fn unknown_action(subject: &str, actions: &ActionList, action: &str) -> CallFault {
    let names = || {
        actions
            .actions
            .iter()
            .map(|definition| definition.name.as_str())
    };
    let nearest = names().min_by_key(|name| strsim::damerau_levenshtein(name, action));
    let mend = match nearest {
        Some(name) if strsim::normalized_damerau_levenshtein(name, action) > 0.5 => {
            format!("; did you mean `{name}`?")
        }
        Some(_) => format!("; it has: {}", names().collect::<Vec<_>>().join(", ")),
        None => "; it has none".to_owned(),
    };
    CallFault {
        faults: vec![format!(
            "subject `{subject}` has no action `{action}`{mend}"
        )],
    }
}

#[cfg(test)]
mod tests {
    use operator_plugin_api::Risk;
    use serde_json::json;

    use super::*;

    fn actions() -> ActionList {
        ActionList {
            actions: vec![ActionDefinition {
                name: "restart_node".into(),
                description: "Restarts a node.".into(),
                params_schema: json!({
                    "type": "object",
                    "required": ["node"],
                    "additionalProperties": false,
                    "properties": {
                        "node": {"type": "string", "minLength": 1},
                        "delay_s": {"type": "integer", "minimum": 0, "maximum": 60},
                    },
                }),
                risk: Risk::Medium,
                idempotent: false,
                inverse: None,
                mends: vec![],
                dry_run: false,
            }],
        }
    }

    fn params(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_call_that_fits_is_valid() {
        let call = resolve(
            "db",
            &actions(),
            "restart_node",
            params(json!({"node": "a"})),
        );
        assert_eq!(call.unwrap().params()["node"], "a");
    }

    #[test]
    fn secret_parameters_are_neither_shown_nor_repeated() {
        let mut list = actions();
        list.actions[0].params_schema = json!({"properties": {
            "token": {"type": "string", "x-secret": true, "minLength": 9},
            "from": {"type": "string"},
        }});
        let given = json!({"token": "hunter222", "from": "http://me:hunter222@host/x"});
        let call = resolve("db", &list, "restart_node", params(given)).unwrap();
        assert_eq!(call.params()["token"], "hunter222");
        let shown = Value::Object(call.shown_params());
        assert_eq!(
            shown,
            json!({"token": "***", "from": "http://me:***@host/x"})
        );
        let short = params(json!({"token": "hunter2"}));
        let fault = resolve("db", &list, "restart_node", short).unwrap_err();
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }

    #[test]
    fn every_fault_of_a_call_is_reported() {
        let wrong = params(json!({"delay_s": 61, "force": true}));
        let fault = resolve("db", &actions(), "restart_node", wrong).unwrap_err();
        assert_eq!(fault.faults.len(), 3, "{fault}");
    }

    #[test]
    fn an_unknown_action_is_answered_with_the_nearest() {
        let fault = resolve("db", &actions(), "restart_nod", Map::new()).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "subject `db` has no action `restart_nod`; did you mean `restart_node`?"
        );
    }
}
