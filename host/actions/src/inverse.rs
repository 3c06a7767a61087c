//! The calls that undo what a plan has done. Pure.

use operator_model::{Execution, OnFailure, Plan, PlanStep, When};
use operator_plugin_api::{InverseParam, Outcome};
use serde_json::Map;

use operator_policy::{ValidCall, ValidPlan};

/// What undoes a plan.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Inverted {
    /// The inverse of every call that was done, the last first.
    pub(super) plan: Option<Plan>,
    /// The names of the actions that nothing undoes, as they declare.
    pub(super) irreversible: Vec<String>,
    /// Why calls cannot be undone although they declare an inverse.
    pub(super) faults: Vec<String>,
}

pub(super) fn inverse(plan: &ValidPlan, executions: &[Execution]) -> Inverted {
    let mut steps = Vec::new();
    let mut inverted = Inverted::default();
    for execution in executions
        .iter()
        .rev()
        .filter(|execution| was_done(execution))
    {
        let Some(call) = plan.call(execution.step).filter(|call| !call.is_tool()) else {
            continue;
        };
        match inverse_call(call, execution) {
            Some(Ok(step)) => steps.push(step),
            Some(Err(fault)) => inverted.faults.push(fault),
            None => inverted.irreversible.push(call.definition().name.clone()),
        }
    }
    let name = match steps.as_slice() {
        [only] => only.action.clone(),
        _ => "undo".to_owned(),
    };
    inverted.plan = (!steps.is_empty()).then_some(Plan {
        name,
        steps,
        on_failure: OnFailure::Stop,
        has_secrets: false,
    });
    inverted
}

fn was_done(execution: &Execution) -> bool {
    let end = execution.end.as_ref();
    end.is_some_and(|end| end.outcome == Outcome::Done)
}

/// None if it declares no inverse; an error if the plugin has no such action, or if a value that the inverse needs is not known.
fn inverse_call(call: &ValidCall, execution: &Execution) -> Option<Result<PlanStep, String>> {
    let definition = call.definition();
    let inverse = definition.inverse.as_ref()?;
    let details = &execution.end.as_ref()?.details;
    let (action, undo) = (&definition.name, &inverse.action);
    if call.inverse().is_none() {
        return Some(Err(format!(
            "`{action}` names `{undo}` as its inverse, and the plugin has no such action"
        )));
    }
    let mut params = Map::new();
    for (name, source) in &inverse.params {
        let value = match source {
            InverseParam::Param(param) => call.params().get(param),
            InverseParam::Detail(detail) => details.get(detail),
            InverseParam::Value(value) => Some(value),
        };
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Some(Err(format!(
                "`{action}` left no value for `{name}` of its inverse `{undo}`"
            )));
        };
        params.insert(name.clone(), value.clone());
    }
    Some(Ok(PlanStep {
        action: inverse.action.clone(),
        params,
        // A call that cannot be undone must not prevent the others.
        when: When::Always,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use operator_model::{ExecutionEnd, ProposalId, Timestamp};
    use operator_plugin_api::ActionList;
    use operator_policy::{
        Registry,
        testing::{plan, registry},
    };

    fn execution(step: usize, action: &str, outcome: Outcome, details: Value) -> Execution {
        Execution {
            id: String::new(),
            proposal: ProposalId(1),
            step,
            attempt: 1,
            subject: "db".to_owned(),
            action: action.to_owned(),
            params: json!({}),
            resources: vec![],
            is_tool: false,
            begun_at: Timestamp(0),
            end: Some(ExecutionEnd {
                at: Timestamp(0),
                outcome,
                message: String::new(),
                details,
            }),
        }
    }

    #[test]
    fn what_was_done_is_taken_back_in_reverse() {
        let steps = [
            ("drain", json!({"node": "a"})),
            ("drain", json!({"node": "b"})),
            ("resize", json!({"size": 7})),
            ("restart", json!({"node": "a"})),
        ];
        let plan = registry().prove(&plan(&steps)).unwrap();
        let done = Outcome::Done;
        let executions = [
            execution(0, "drain", done, Value::Null),
            execution(1, "drain", Outcome::Failed, Value::Null),
            execution(2, "resize", done, json!({"before": 3})),
            execution(3, "restart", done, Value::Null),
        ];
        let inverted = inverse(&plan, &executions);
        assert_eq!(inverted.irreversible, ["restart"]);
        assert_eq!(inverted.faults, [""; 0]);
        let calls: Vec<_> = inverted
            .plan
            .unwrap()
            .steps
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(calls, ["resize size=3", "undrain node=\"a\""]);
    }

    #[test]
    fn an_inverse_that_does_not_exist_is_a_fault() {
        let mut actions = operator_policy::testing::actions();
        actions.retain(|action| action.name != "undrain");
        let registry = Registry::new("db", ActionList { actions });
        let plan = registry
            .prove(&plan(&[("drain", json!({"node": "a"}))]))
            .unwrap();
        let executions = [execution(0, "drain", Outcome::Done, Value::Null)];
        let inverted = inverse(&plan, &executions);
        assert_eq!(inverted.plan, None);
        assert_eq!(
            inverted.faults,
            ["`drain` names `undrain` as its inverse, and the plugin has no such action"]
        );
    }

    #[test]
    fn without_the_value_before_nothing_is_guessed() {
        let plan = registry()
            .prove(&plan(&[("resize", json!({"size": 7}))]))
            .unwrap();
        let executions = [execution(0, "resize", Outcome::Done, json!({}))];
        let inverted = inverse(&plan, &executions);
        assert_eq!(inverted.plan, None);
        assert_eq!(
            inverted.faults,
            ["`resize` left no value for `size` of its inverse `resize`"]
        );
    }
}
