//! The calls that take back what a plan has done. Pure.

use operator_model::{Execution, OnFailure, Plan, PlanStep, When};
use operator_plugin_api::{InverseParam, Outcome};
use serde_json::{Map, Value};

use operator_policy::ValidPlan;

/// The inverse of every call that was done, the last first; and the names of those that nothing takes back.
pub(super) fn inverse(plan: &ValidPlan, executions: &[Execution]) -> (Option<Plan>, Vec<String>) {
    let mut steps = Vec::new();
    let mut final_ones = Vec::new();
    for execution in executions
        .iter()
        .rev()
        .filter(|execution| was_done(execution))
    {
        let Some(call) = plan.call(execution.step).filter(|call| !call.is_tool()) else {
            continue;
        };
        match inverse_call(call.definition(), call.params(), execution) {
            Some(step) => steps.push(step),
            None => final_ones.push(call.definition().name.clone()),
        }
    }
    let name = match steps.as_slice() {
        [only] => only.action.clone(),
        _ => "undo".to_owned(),
    };
    let plan = (!steps.is_empty()).then_some(Plan {
        name,
        steps,
        on_failure: OnFailure::Stop,
        has_secrets: false,
    });
    (plan, final_ones)
}

fn was_done(execution: &Execution) -> bool {
    let end = execution.end.as_ref();
    end.is_some_and(|end| end.outcome == Outcome::Done)
}

/// None if nothing takes it back, or if a value that the inverse needs is not known.
fn inverse_call(
    definition: &operator_plugin_api::ActionDefinition,
    given: &Map<String, Value>,
    execution: &Execution,
) -> Option<PlanStep> {
    let inverse = definition.inverse.as_ref()?;
    let details = &execution.end.as_ref()?.details;
    let mut params = Map::new();
    for (name, source) in &inverse.params {
        let value = match source {
            InverseParam::Param(param) => given.get(param),
            InverseParam::Detail(detail) => details.get(detail),
            InverseParam::Value(value) => Some(value),
        };
        let value = value.filter(|value| !value.is_null())?;
        params.insert(name.clone(), value.clone());
    }
    Some(PlanStep {
        action: inverse.action.clone(),
        params,
        // One that cannot be taken back must not keep the others from it.
        when: When::Always,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use operator_model::{ExecutionEnd, ProposalId, Timestamp};
    use operator_policy::testing::{plan, registry};

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
        let (inverse, final_ones) = inverse(&plan, &executions);
        let calls: Vec<_> = inverse
            .unwrap()
            .steps
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(calls, ["resize size=3", "undrain node=\"a\""]);
        assert_eq!(final_ones, ["restart"]);
    }

    #[test]
    fn without_the_value_before_nothing_is_guessed() {
        let plan = registry()
            .prove(&plan(&[("resize", json!({"size": 7}))]))
            .unwrap();
        let executions = [execution(0, "resize", Outcome::Done, json!({}))];
        assert_eq!(
            inverse(&plan, &executions),
            (None, vec!["resize".to_owned()])
        );
    }
}
