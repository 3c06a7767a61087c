use operator_model::{Consequence, ProposalParts, Rule, RuleRefusal};

use super::*;
use crate::tests::{approved, context, kept, two_steps};

/// As it is when its second step has failed.
fn failed() -> Proposal {
    let parts = ProposalParts {
        state: ProposalState::Failed,
        ..ProposalParts::clone(&approved(&two_steps()))
    };
    parts.into()
}

fn by_rule(id: ProposalId, fails: bool) -> ActError {
    let refusal = RuleRefusal {
        rule: Rule::Mode,
        consequence: Consequence::Defer,
        reason: String::new(),
    };
    GateError::ByRule { id, refusal, fails }.into()
}

/// The plugin does not exist: whether a plan would be undone shows in the error.
#[tokio::test]
async fn a_plan_that_failed_is_undone_by_the_process_that_performed_it() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(&folder).await;
    let failed = kept(&context.store, failed()).await;
    let id = failed.id;
    let taken = GateError::State {
        id,
        state: failed.state,
        what: "only what is approved can begin",
    };
    for only_tried in [taken.into(), by_rule(id, false)] {
        let undone = compensate(&context, &Err(only_tried)).await;
        assert!(matches!(undone, Ok(None)), "{undone:?}");
    }
    for performed in [Ok(failed), Err(by_rule(id, true))] {
        let undone = compensate(&context, &performed).await;
        assert!(matches!(undone, Err(ActError::Subject(_))), "{undone:?}");
    }
}

#[tokio::test]
async fn what_another_process_undoes_meanwhile_needs_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(&folder).await;
    let failed = kept(&context.store, failed()).await;
    let undoing = || {
        let new = NewProposal {
            plan: two_steps(),
            mark: Mark::now(OPERATOR, "undoes it"),
            ticket: None,
            not_before: None,
            follows: None,
            undoes: Some(Undone {
                id: failed.id,
                plan: two_steps(),
                approval: None,
            }),
        };
        propose(&context.store, &context.subject.actions, new)
    };
    let first = unless_undone(undoing().await).unwrap();
    assert!(first.is_some());
    let second = undoing().await;
    assert!(
        matches!(second, Err(ActError::AlreadyUndone(_))),
        "{second:?}"
    );
    assert_eq!(unless_undone(second).unwrap(), None);
}
