use operator_model::{Mode, ProposalParts, Rule};

use super::*;
use crate::tests::{approved, context, kept, two_steps};

/// Its first step is done, its second is not yet begun.
fn between_steps(plan: &ValidPlan, owner: &str) -> Proposal {
    let mut proposal = approved(plan);
    let lease = Lease {
        owner: owner.to_owned(),
        until: Timestamp(i64::MAX),
    };
    let now = Timestamp::now();
    proposal.begin(lease, String::new(), None, now).unwrap();
    proposal.advance(1, String::new()).unwrap();
    proposal
}

fn too_early() -> RuleRefusal {
    RuleRefusal {
        rule: Rule::Cooldown,
        consequence: Consequence::Defer,
        reason: "too early".to_owned(),
    }
}

#[test]
fn what_another_process_carries_out_is_not_failed_by_a_rule() {
    let plan = two_steps();
    let theirs = between_steps(&plan, "another");
    let refused = consequence(theirs, "me", &too_early(), Risk::Low).unwrap_err();
    assert!(matches!(refused, GateError::State { .. }), "{refused}");
    let own = between_steps(&plan, "me");
    let change = consequence(own, "me", &too_early(), Risk::Low).unwrap();
    assert_eq!(change.proposal.state, ProposalState::Failed);
}

#[tokio::test]
async fn a_rule_that_refuses_a_later_step_fails_the_plan_of_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut context = context(&folder).await;
    context.subject.actions.mode = Mode::Observe;
    let plan = Arc::new(two_steps());
    let theirs = kept(&context.store, between_steps(&plan, "another")).await;
    let refused = begin(&context, theirs.id, &plan).await.unwrap_err();
    assert!(
        matches!(refused, ActError::Refused(GateError::State { .. })),
        "{refused}"
    );
    assert_eq!(context.store.proposal(theirs.id).await.unwrap(), theirs);

    let own = kept(&context.store, between_steps(&plan, "me")).await;
    let refused = begin(&context, own.id, &plan).await.unwrap_err();
    assert!(
        matches!(
            refused,
            ActError::Refused(GateError::ByRule { fails: true, .. })
        ),
        "{refused}"
    );
    let failed = context.store.proposal(own.id).await.unwrap();
    assert_eq!(failed.state, ProposalState::Failed);
}

#[tokio::test]
async fn a_rule_that_refuses_the_first_step_fails_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut context = context(&folder).await;
    context.subject.actions.mode = Mode::Execute;
    let plan = Arc::new(two_steps());
    let parts = ProposalParts {
        not_before: Some(Timestamp(i64::MAX)),
        ..ProposalParts::clone(&approved(&plan))
    };
    let waiting = kept(&context.store, parts.into()).await;
    // The second time, the consequence has been drawn already.
    for _ in 0..2 {
        let refused = begin(&context, waiting.id, &plan).await.unwrap_err();
        let ActError::Refused(GateError::ByRule { refusal, fails, .. }) = refused else {
            panic!("{refused}");
        };
        assert_eq!((refusal.rule, fails), (Rule::NotBefore, false));
        let held_back = context.store.proposal(waiting.id).await.unwrap();
        assert_eq!(held_back.state, ProposalState::Approved);
        assert!(held_back.held_back.is_some());
    }
}
