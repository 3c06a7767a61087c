//! From a plan as it was written to one whose every call is proven to fit. Pure.

use std::collections::BTreeMap;

use operator_model::{OnFailure, Plan, PlanStep, TicketId, When, hex};
use operator_plugin_api::{ActionDefinition, Risk};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CallFault, Registry, ValidCall};

/// A plan whose calls all exist and fit. Only [`Registry::prove`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidPlan {
    subject: String,
    name: String,
    steps: Vec<(ValidCall, When)>,
    on_failure: OnFailure,
}

impl Registry {
    /// Proves every call of a plan. All faults are reported together, each with its step.
    pub fn prove(&self, plan: &Plan) -> Result<ValidPlan, CallFault> {
        let mut faults = Vec::new();
        let mut steps = Vec::new();
        for (place, step) in plan.steps.iter().enumerate() {
            match self.resolve(&step.action, step.params.clone()) {
                Ok(call) => steps.push((call, step.when.clone())),
                Err(fault) if plan.steps.len() == 1 => faults.extend(fault.faults),
                Err(fault) => {
                    let named = fault.faults.into_iter();
                    faults.extend(named.map(|fault| format!("step {}: {fault}", place + 1)));
                }
            }
        }
        if plan.steps.is_empty() {
            faults.push(format!("`{}` has no steps", plan.name));
        }
        if faults.is_empty() {
            Ok(ValidPlan {
                subject: self.subject().to_owned(),
                name: plan.name.clone(),
                steps,
                on_failure: plan.on_failure,
            })
        } else {
            Err(CallFault { faults })
        }
    }
}

impl From<ValidCall> for ValidPlan {
    /// A plan of one call.
    fn from(call: ValidCall) -> Self {
        Self {
            subject: call.subject().to_owned(),
            name: call.definition().name.clone(),
            steps: vec![(call, When::Done)],
            on_failure: OnFailure::Stop,
        }
    }
}

impl ValidPlan {
    /// Name of the subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// How many steps it has; at least one.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The call of a step.
    pub fn call(&self, step: usize) -> Option<&ValidCall> {
        self.steps.get(step).map(|(call, _)| call)
    }

    /// When a step runs.
    pub fn when(&self, step: usize) -> Option<&When> {
        self.steps.get(step).map(|(_, when)| when)
    }

    /// All calls, in their order.
    pub fn calls(&self) -> impl Iterator<Item = &ValidCall> {
        self.steps.iter().map(|(call, _)| call)
    }

    /// What follows a failure.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// That of the riskiest call.
    pub fn risk(&self) -> Risk {
        let risks = self.calls().map(|call| call.definition().risk);
        risks.max().unwrap_or(Risk::High)
    }

    /// Whether a call does anything to the subject.
    pub fn acts(&self) -> bool {
        self.calls().any(|call| !call.is_tool())
    }

    /// What all its calls touch, without repetition.
    pub fn resources(&self) -> Vec<String> {
        let mut resources: Vec<_> = self.calls().flat_map(ValidCall::resources).collect();
        resources.sort();
        resources.dedup();
        resources
    }

    /// As it is kept and shown: without secrets.
    pub fn shown(&self) -> Plan {
        let steps = self.steps.iter().map(|(call, when)| PlanStep {
            action: call.definition().name.clone(),
            params: call.shown_params(),
            when: when.clone(),
        });
        let has_secrets = self
            .calls()
            .any(|call| &call.shown_params() != call.params());
        Plan {
            name: self.name.clone(),
            steps: steps.collect(),
            on_failure: self.on_failure,
            has_secrets,
        }
    }

    /// The whole definitions of the plugin's actions that it calls, and of those that undo them, by name. An approval is given
    /// for them, too.
    pub fn definitions(&self) -> Vec<ActionDefinition> {
        let calls = self.calls().filter(|call| !call.is_tool());
        let all = calls.flat_map(|call| [Some(call.definition()), call.inverse()]);
        let by_name: BTreeMap<_, _> = all
            .flatten()
            .map(|definition| (&definition.name, definition))
            .collect();
        by_name.into_values().cloned().collect()
    }

    /// SHA-256 of what an approval is given for: the subject, every call with its exact parameters, the definitions of the actions
    /// and of their inverses, and the ticket.
    pub fn digest(&self, ticket: Option<TicketId>) -> String {
        let steps: Vec<_> = self
            .steps
            .iter()
            .map(|(call, when)| json!([call.definition().name, sorted(call.params()), when]))
            .collect();
        let definitions = canonical(&json!(self.definitions()));
        let whole = json!([
            self.subject,
            self.name,
            steps,
            self.on_failure,
            ticket,
            definitions
        ]);
        hex(&Sha256::digest(whole.to_string()))
    }
}

/// With one order of keys, whatever order they were written in.
fn sorted(params: &serde_json::Map<String, Value>) -> Value {
    let pairs = params.iter();
    let mut pairs: Vec<_> = pairs
        .map(|(name, value)| json!([name, canonical(value)]))
        .collect();
    pairs.sort_by_key(ToString::to_string);
    Value::Array(pairs)
}

/// The same for any value. Tables and lists stay distinct.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(inner) => json!({"": sorted(inner)}),
        Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use operator_plugin_api::ActionList;

    use super::*;
    use crate::testing::{actions, plan, registry};

    #[test]
    fn every_fault_of_every_step_is_reported() {
        let faulty = plan(&[
            ("restart", json!({"node": 7})),
            ("wait", json!({"for": "a while"})),
            ("vanish", json!({})),
        ]);
        let fault = registry().prove(&faulty).unwrap_err();
        assert_eq!(fault.faults.len(), 3, "{fault}");
        assert!(fault.faults[0].starts_with("step 1: "), "{fault}");
        assert!(fault.faults[1].contains("not a duration"), "{fault}");
    }

    #[test]
    fn an_approval_is_for_these_very_calls() {
        let prove = |steps: &[(&str, Value)]| registry().prove(&plan(steps)).unwrap();
        let one = prove(&[("restart", json!({"node": "a"}))]);
        let other = prove(&[("restart", json!({"node": "b"}))]);
        let twice = prove(&[
            ("restart", json!({"node": "a"})),
            ("restart", json!({"node": "a"})),
        ]);
        assert_eq!(one.digest(None), one.clone().digest(None));
        assert_ne!(one.digest(None), other.digest(None));
        assert_ne!(one.digest(None), twice.digest(None));
        assert_ne!(one.digest(None), one.digest(Some(TicketId(1))));
    }

    #[test]
    fn an_approval_is_for_the_definitions_that_were_shown() {
        let prove = |actions: Vec<ActionDefinition>| {
            let registry = Registry::new("db", ActionList { actions });
            registry.prove(&plan(&[("drain", json!({"node": "a"}))]))
        };
        let shown = prove(actions()).unwrap();
        let names: Vec<_> = shown.definitions().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["drain", "undrain"]);
        let change = |name: &str, change: fn(&mut ActionDefinition)| {
            let mut changed = actions();
            let mut those = changed.iter_mut();
            change(those.find(|action| action.name == name).unwrap());
            prove(changed).unwrap().digest(None)
        };
        let digest = shown.digest(None);
        assert_eq!(change("drain", |_| ()), digest);
        assert_eq!(change("resize", |it| it.risk = Risk::Low), digest);
        for name in ["drain", "undrain"] {
            assert_ne!(change(name, |it| it.risk = Risk::High), digest);
            assert_ne!(change(name, |it| it.description.push('!')), digest);
            assert_ne!(change(name, |it| it.mends.push("up".into())), digest);
            assert_ne!(change(name, |it| it.dry_run = true), digest);
            assert_ne!(
                change(name, |it| it.params_schema["title"] = json!("x")),
                digest
            );
        }
        assert_ne!(change("drain", |it| it.inverse = None), digest);
    }
}
