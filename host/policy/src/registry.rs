//! From a requested call to one whose parameters are proven to fit. Pure.

use jsonschema::ValidationError;
use operator_model::{
    check_schema_with, is_secret_at, masked, nearest, schema_validator, without_secrets,
};
use operator_plugin_api::{ActionDefinition, ActionList};
use serde_json::{Map, Value};

use super::tools::{self, tools};

/// A call of an action that exists, with parameters that fit its schema. Only [`Registry::resolve`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidCall {
    subject: String,
    definition: ActionDefinition,
    /// What undoes it, if the plugin has such an action.
    inverse: Option<ActionDefinition>,
    params: Map<String, Value>,
    is_tool: bool,
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

    /// What undoes it. None if nothing does, or if the plugin does not have the action that its definition names.
    pub fn inverse(&self) -> Option<&ActionDefinition> {
        self.inverse.as_ref()
    }

    /// With what, for showing and recording: without secrets.
    pub fn shown_params(&self) -> Map<String, Value> {
        without_secrets(&self.definition.params_schema, &self.params)
    }

    /// With what. May hold secrets.
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// Whether it is a tool of the operator's own, which touches nothing.
    pub fn is_tool(&self) -> bool {
        self.is_tool
    }

    /// What it touches: the parameters that the schema marks with `x-resource`; all of them where it marks none.
    pub fn resources(&self) -> Vec<String> {
        if self.is_tool {
            return Vec::new();
        }
        let shown = self.shown_params();
        let properties = &self.definition.params_schema["properties"];
        let marked = shown
            .iter()
            .filter(|(name, _)| properties[name.as_str()]["x-resource"] == true);
        let marked: Vec<_> = marked.flat_map(|(_, value)| named(value)).collect();
        if marked.is_empty() {
            vec![format!("{} {}", self.definition.name, Value::Object(shown))]
        } else {
            marked
        }
    }
}

/// The resources that a parameter names: one, or each of a list.
fn named(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().flat_map(named).collect(),
        Value::String(one) => vec![one.clone()],
        other => vec![other.to_string()],
    }
}

/// Why a call is not valid; each fault in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.join("\n"))]
pub struct CallFault {
    /// All that is wrong with it.
    pub faults: Vec<String>,
}

/// All that can be done to a subject: its plugin's actions and the operator's own tools.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    subject: String,
    actions: Vec<ActionDefinition>,
    tools: [ActionDefinition; 3],
}

impl Registry {
    /// Of a subject whose plugin has these actions.
    pub fn new(subject: &str, actions: ActionList) -> Self {
        Self {
            subject: subject.to_owned(),
            actions: actions.actions,
            tools: tools(),
        }
    }

    /// Name of the subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The definition of an action or a tool.
    pub fn find(&self, name: &str) -> Option<&ActionDefinition> {
        self.all().find(|definition| definition.name == name)
    }

    fn all(&self) -> impl Iterator<Item = &ActionDefinition> {
        self.actions.iter().chain(&self.tools)
    }

    /// Proves that the action exists and that the parameters fit its schema. All faults are reported together.
    pub fn resolve(&self, name: &str, params: Map<String, Value>) -> Result<ValidCall, CallFault> {
        let fault = |fault: String| CallFault {
            faults: vec![fault],
        };
        let definition = self.find(name).ok_or_else(|| self.unknown_action(name))?;
        let is_tool = self.tools.iter().any(|tool| tool.name == name);
        if is_tool && self.actions.iter().any(|action| action.name == name) {
            return Err(fault(format!(
                "`{name}` is both a tool of the operator and an action of the plugin; the plugin must rename its action"
            )));
        }
        let object = Value::Object(params);
        let schema = schema_validator(&definition.params_schema).map_err(|why| {
            fault(format!(
                "the plugin's schema of `{name}` cannot be used: {why}; tell the author of the plugin"
            ))
        })?;
        check_schema_with(&definition.params_schema, &object)
            .map_err(|why| fault(format!("`{name}`: {why}")))?;
        let mut faults: Vec<String> = schema
            .iter_errors(&object)
            .map(|error| described(definition, &error))
            .collect();
        match object {
            Value::Object(params) if faults.is_empty() => {
                faults.extend(tools::fault(name, &params).filter(|_| is_tool));
                if !faults.is_empty() {
                    return Err(CallFault { faults });
                }
                Ok(ValidCall {
                    subject: self.subject.clone(),
                    definition: definition.clone(),
                    inverse: self.inverse_of(definition).cloned(),
                    params,
                    is_tool,
                })
            }
            _ => Err(CallFault { faults }),
        }
    }

    fn inverse_of(&self, definition: &ActionDefinition) -> Option<&ActionDefinition> {
        let inverse = definition.inverse.as_ref()?;
        let mut actions = self.actions.iter();
        actions.find(|action| action.name == inverse.action)
    }

    fn unknown_action(&self, action: &str) -> CallFault {
        let names = || self.all().map(|definition| definition.name.as_str());
        let fix = match nearest(action, names()) {
            Some(name) => format!("; did you mean `{name}`?"),
            None => format!("; it has: {}", names().collect::<Vec<_>>().join(", ")),
        };
        CallFault {
            faults: vec![format!(
                "subject `{}` has no action `{action}`{fix}",
                self.subject
            )],
        }
    }
}

/// A fault of the parameters in one line, without repeating what is secret.
fn described(definition: &ActionDefinition, error: &ValidationError<'_>) -> String {
    let action = &definition.name;
    let path = error.instance_path().as_str();
    let instance = error.instance();
    let could_contain = instance.is_object() || instance.is_array();
    let what = if could_contain || is_secret_at(&definition.params_schema, path) {
        error.masked_with("it").to_string()
    } else {
        let shown = masked(instance, None).to_string();
        error.masked_with(shown).to_string()
    };
    match path.trim_start_matches('/') {
        "" => format!("`{action}`: {what}"),
        key => format!("`{action}`: {key}: {what}"),
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

    fn registry(actions: ActionList) -> Registry {
        Registry::new("db", actions)
    }

    fn params(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_call_that_fits_is_valid() {
        let call = registry(actions()).resolve("restart_node", params(json!({"node": "a"})));
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
        let call = registry(list.clone())
            .resolve("restart_node", params(given))
            .unwrap();
        assert_eq!(call.params()["token"], "hunter222");
        let shown = Value::Object(call.shown_params());
        assert_eq!(
            shown,
            json!({"token": "***", "from": "http://me:***@host/x"})
        );
        let short = params(json!({"token": "hunter2"}));
        let fault = registry(list).resolve("restart_node", short).unwrap_err();
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }

    #[test]
    fn a_fault_repeats_no_password_of_a_url_and_nothing_from_inside_a_table() {
        let mut list = actions();
        list.actions[0].params_schema = json!({"properties": {
            "from": {"enum": ["a", "b"]},
            "to": {"anyOf": [{"const": "a"}, {"const": "b"}]},
            "user": {"maxProperties": 0, "properties": {"password": {"x-secret": true}}},
        }});
        let url = "http://me:hunter2@host/x";
        let given = json!({"from": url, "to": url, "user": {"password": "hunter2"}});
        let fault = registry(list).resolve("restart_node", params(given));
        let fault = fault.unwrap_err();
        assert_eq!(fault.faults.len(), 3, "{fault}");
        let text = fault.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(text.matches("http://me:***@host/x").count(), 2, "{text}");
    }

    #[test]
    fn every_fault_of_a_call_is_reported() {
        let wrong = params(json!({"delay_s": 61, "force": true}));
        let fault = registry(actions())
            .resolve("restart_node", wrong)
            .unwrap_err();
        assert_eq!(fault.faults.len(), 3, "{fault}");
    }

    #[test]
    fn an_unknown_action_is_answered_with_the_nearest() {
        let fault = registry(actions())
            .resolve("restart_nod", Map::new())
            .unwrap_err();
        assert_eq!(
            fault.to_string(),
            "subject `db` has no action `restart_nod`; did you mean `restart_node`?"
        );
    }

    #[test]
    fn tools_stand_beside_the_actions() {
        let both = registry(actions());
        let wait = both.resolve("wait", params(json!({"for": "10s"}))).unwrap();
        assert!(wait.is_tool() && wait.resources().is_empty());
        let mut list = actions();
        list.actions[0].name = "wait".to_owned();
        let fault = registry(list).resolve("wait", Map::new()).unwrap_err();
        assert!(fault.to_string().contains("must rename"), "{fault}");
    }

    #[test]
    fn what_a_call_touches_is_what_its_schema_marks() {
        let mut list = actions();
        let call = |list: &ActionList| {
            let given = params(json!({"node": "a", "delay_s": 3}));
            registry(list.clone())
                .resolve("restart_node", given)
                .unwrap()
        };
        assert_eq!(
            call(&list).resources(),
            [r#"restart_node {"delay_s":3,"node":"a"}"#]
        );
        list.actions[0].params_schema["properties"]["node"]["x-resource"] = json!(true);
        assert_eq!(call(&list).resources(), ["a"]);
    }
}
