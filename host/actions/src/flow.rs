//! What follows the end of a call: the next step, another attempt, or the end. Pure.

use std::time::Duration;

use operator_model::{ExecutionEnd, When};
use operator_plugin_api::Outcome;
use serde_json::Value;

use operator_policy::ValidPlan;

/// Of the first pause before another attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// This step, after the skipped ones in between.
    Step(usize),
    /// The same step again, after this pause.
    Again(Duration),
    /// The plan is over: all that ran was done.
    Completed,
    /// The plan is over: something failed.
    Failed,
    /// The plan is over: it is not known what a call did.
    Unknown,
}

/// How a call ended, and what is needed to go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'a> {
    /// Its step.
    pub step: usize,
    /// How many calls of that step have been made.
    pub attempt: u32,
    /// How it ended.
    pub end: &'a ExecutionEnd,
    /// Whether the error says that trying again can help.
    pub is_retryable: bool,
    /// Whether an earlier step failed.
    pub has_failed: bool,
}

/// What follows a call. `jitter`, from 0 to 1, spreads the pauses of many who failed at once.
pub(super) fn next(plan: &ValidPlan, ended: Ended<'_>, retries: u32, jitter: f64) -> Next {
    if ended.end.outcome == Outcome::Unknown {
        return Next::Unknown;
    }
    let failed = ended.end.outcome == Outcome::Failed;
    let is_idempotent = plan
        .call(ended.step)
        .is_some_and(|call| call.definition().idempotent);
    if failed && is_idempotent && ended.is_retryable && ended.attempt <= retries {
        return Next::Again(pause(ended.attempt, jitter));
    }
    let later = (ended.step + 1..plan.len()).find(|step| {
        let when = plan.when(*step).unwrap_or(&When::Done);
        runs(when, ended.end)
    });
    match later {
        Some(step) => Next::Step(step),
        None if failed || ended.has_failed => Next::Failed,
        None => Next::Completed,
    }
}

/// Whether a step runs after a call that ended so.
fn runs(when: &When, end: &ExecutionEnd) -> bool {
    let done = end.outcome == Outcome::Done;
    match when {
        When::Done => done,
        When::Failed => !done,
        When::Always => true,
        When::Detail { pointer, is } => {
            done && end.details.pointer(pointer).unwrap_or(&Value::Null) == is
        }
    }
}

/// Between half and the whole of a time that doubles with every attempt.
fn pause(attempt: u32, jitter: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(
        1_u32
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    doubled
        .min(LONGEST_PAUSE)
        .mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use operator_model::Timestamp;
    use operator_policy::testing::{plan, registry};

    fn valid(whens: &[When]) -> ValidPlan {
        let mut plan = plan(&vec![("restart", json!({"node": "a"})); whens.len()]);
        for (step, when) in plan.steps.iter_mut().zip(whens) {
            step.when = when.clone();
        }
        registry().prove(&plan).unwrap()
    }

    fn end(outcome: Outcome, details: Value) -> ExecutionEnd {
        ExecutionEnd {
            at: Timestamp(0),
            outcome,
            message: String::new(),
            details,
        }
    }

    fn after(plan: &ValidPlan, step: usize, end: &ExecutionEnd) -> Next {
        let ended = Ended {
            step,
            attempt: 1,
            end,
            is_retryable: false,
            has_failed: false,
        };
        next(plan, ended, 3, 0.0)
    }

    #[test]
    fn steps_run_by_how_the_last_one_ended() {
        let plan = valid(&[When::Done, When::Failed, When::Done, When::Always]);
        let done = end(Outcome::Done, Value::Null);
        let failed = end(Outcome::Failed, Value::Null);
        assert_eq!(after(&plan, 0, &done), Next::Step(2));
        assert_eq!(after(&plan, 0, &failed), Next::Step(1));
        assert_eq!(after(&plan, 2, &failed), Next::Step(3));
        assert_eq!(after(&plan, 3, &done), Next::Completed);
        assert_eq!(after(&plan, 3, &failed), Next::Failed);
    }

    #[test]
    fn a_step_can_ask_for_a_detail() {
        let healthy = When::Detail {
            pointer: "/healthy".to_owned(),
            is: json!(true),
        };
        let plan = valid(&[When::Done, healthy]);
        let of = |details| after(&plan, 0, &end(Outcome::Done, details));
        assert_eq!(of(json!({"healthy": true})), Next::Step(1));
        assert_eq!(of(json!({"healthy": false})), Next::Completed);
        assert_eq!(of(Value::Null), Next::Completed);
    }

    #[test]
    fn a_plan_in_which_something_failed_has_failed() {
        let plan = valid(&[When::Done, When::Failed]);
        let done = end(Outcome::Done, Value::Null);
        let ended = Ended {
            step: 1,
            attempt: 1,
            end: &done,
            is_retryable: false,
            has_failed: true,
        };
        assert_eq!(next(&plan, ended, 3, 0.0), Next::Failed);
    }

    proptest! {
        #[test]
        fn what_is_not_known_is_never_tried_again(attempt in 0_u32..50, retries in 0_u32..50, is_retryable: bool, jitter in 0.0..1.0) {
            let plan = valid(&[When::Done, When::Always]);
            let lost = end(Outcome::Unknown, Value::Null);
            let ended = Ended { step: 0, attempt, end: &lost, is_retryable, has_failed: false };
            prop_assert_eq!(next(&plan, ended, retries, jitter), Next::Unknown);
        }

        #[test]
        fn a_call_is_tried_again_so_often_and_with_growing_pauses(attempt in 1_u32..100, retries in 0_u32..10, jitter in 0.0..1.0) {
            let plan = valid(&[When::Done]);
            let failed = end(Outcome::Failed, Value::Null);
            let ended = Ended { step: 0, attempt, end: &failed, is_retryable: true, has_failed: false };
            match next(&plan, ended, retries, jitter) {
                Next::Again(time) => {
                    prop_assert!(attempt <= retries);
                    prop_assert!(time >= FIRST_PAUSE / 2 && time <= LONGEST_PAUSE);
                    prop_assert!(pause(attempt + 1, jitter) >= time);
                }
                other => {
                    prop_assert!(attempt > retries);
                    prop_assert_eq!(other, Next::Failed);
                }
            }
        }
    }
}
