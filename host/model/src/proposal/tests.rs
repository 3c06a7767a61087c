use std::collections::BTreeSet;

use operator_plugin_api::Risk;
use proptest::prelude::*;

use super::*;
use crate::{Consequence, Plan, Rule, RuleRefusal};

/// What a test does to a proposal.
#[derive(Debug, Clone, Copy)]
enum Step {
    Validate,
    Approve,
    HoldBack,
    Lapse,
    Reject,
    Cancel,
    Begin(u8),
    Advance,
    Postpone,
    Complete,
    Fail,
    FailBetweenCalls,
    LoseTrack,
    Prove,
    Verify,
    Refute,
    Settle,
}

fn steps() -> impl Strategy<Value = Step> {
    use Step::*;
    // What leads on is more frequent, so that the late states are reached.
    prop_oneof![
        3 => Just(Validate),
        4 => Just(Approve),
        6 => (0_u8..3).prop_map(Begin),
        3 => Just(Complete),
        1 => prop::sample::select(vec![
            HoldBack, Lapse, Reject, Cancel, Advance, Postpone, Fail, FailBetweenCalls, LoseTrack, Prove, Verify, Refute,
            Settle,
        ]),
    ]
}

fn plan(on_failure: OnFailure) -> Plan {
    Plan {
        name: "restart".to_owned(),
        steps: vec![],
        on_failure,
        has_secrets: false,
    }
}

fn approval() -> Approval {
    Approval {
        mark: Mark::now("ada", ""),
        by_rule: false,
        expires_at: Timestamp(9),
        digest: String::new(),
        definitions: vec![],
        ticket: None,
    }
}

fn proof() -> Proof {
    Proof {
        targets: vec![],
        baseline: vec![],
        window_ms: 1,
        until: Timestamp(i64::MAX),
        holding_since: None,
        missing: String::new(),
        broke: vec![],
    }
}

fn held_back() -> HeldBack {
    HeldBack::from(&RuleRefusal {
        rule: Rule::Cooldown,
        consequence: Consequence::Defer,
        reason: "too early".to_owned(),
    })
}

fn lease(owner: u8) -> Lease {
    Lease {
        owner: owner.to_string(),
        until: Timestamp(20),
    }
}

impl Step {
    fn apply(self, to: &mut Proposal) -> Result<(), WrongState> {
        let (note, now) = (String::new(), Timestamp(7));
        match self {
            Self::Validate => to.validate(),
            Self::Approve => to.approve(approval()),
            Self::HoldBack => to.hold_back(held_back()),
            Self::Lapse => to.lapse(note, now).map(drop),
            Self::Reject => to.reject(note, now),
            Self::Cancel => to.cancel(note, now),
            Self::Begin(owner) => to.begin(lease(owner), note, Some(proof()), now),
            Self::Advance => to.advance(to.step + 1, note),
            Self::Postpone => to.postpone(now, note),
            Self::Complete => to.complete(note, now),
            Self::Fail => to.fail(note, now),
            Self::FailBetweenCalls => to.fail_between_calls(note, now),
            Self::LoseTrack => to.lose_track(note, now),
            Self::Prove => to.prove(proof()),
            Self::Verify => to.verify(proof(), note),
            Self::Refute => to.refute(proof(), note),
            Self::Settle => to.settle(Mark::now("ada", "")),
        }
    }
}

fn fresh(undoes: bool, on_failure: OnFailure) -> Proposal {
    let mut parts = ProposalParts::new("db", plan(on_failure), Risk::Low, Mark::now("ada", ""));
    parts.undoes = undoes.then_some(ProposalId(1));
    parts.into()
}

/// What must be so in every state, whatever has led there.
fn is_whole(proposal: &Proposal) -> Result<(), TestCaseError> {
    let state = proposal.state;
    prop_assert_eq!(proposal.owner.is_some(), state.is_executing());
    prop_assert_eq!(proposal.lease_until.is_some(), state.is_executing());
    prop_assert_eq!(proposal.ended_at.is_some(), state.is_over());
    prop_assert!(state != ProposalState::Approved || proposal.approval.is_some());
    prop_assert!(proposal.held_back.is_none() || state == ProposalState::Approved);
    prop_assert!(!proposal.half_done || state.is_over());
    prop_assert!(!proposal.half_done || proposal.leaves_something());
    prop_assert!(proposal.settled.is_none() || state.is_over());
    prop_assert!(!state.is_executing() || proposal.begun_at.is_some());
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_transitions_separates_what_belongs_together(
        undoes: bool, compensates: bool, steps in prop::collection::vec(steps(), 0..60)
    ) {
        let on_failure = if compensates { OnFailure::Compensate } else { OnFailure::Stop };
        let mut proposal = fresh(undoes, on_failure);
        for step in steps {
            let before = proposal.clone();
            match step.apply(&mut proposal) {
                Ok(()) => {
                    let begun = before.begun_at;
                    prop_assert!(begun.is_none() || begun == proposal.begun_at, "begun once");
                    let over = before.state.is_over();
                    prop_assert!(!over || before.ended_at == proposal.ended_at, "ended once");
                    prop_assert!(!over || !proposal.state.is_executing());
                }
                Err(refused) => {
                    prop_assert_eq!(refused.state, before.state);
                    prop_assert_eq!(&before, &proposal, "a refused transition changes nothing");
                }
            }
            is_whole(&proposal)?;
        }
    }

    /// Independent of the table: what must have happened before a state can be reached.
    #[test]
    fn no_sequence_of_transitions_executes_without_an_approval(
        transitions in prop::collection::vec(prop::sample::select(Transition::ALL.to_vec()), 0..40)
    ) {
        let mut state = ProposalState::Proposed;
        let (mut is_valid, mut is_approved, mut has_begun, mut is_over) = (false, false, false, false);
        for transition in transitions {
            let Some(next) = state.after(transition) else { continue };
            prop_assert!(!is_over, "{state:?} is an end, and {transition:?} happened");
            match transition {
                Transition::Validated => is_valid = true,
                Transition::Approved => { prop_assert!(is_valid); is_approved = true; }
                Transition::Lapsed => { prop_assert!(is_approved); is_approved = false; }
                Transition::Begun => { prop_assert!(is_approved); has_begun = true; }
                Transition::Completed | Transition::Failed | Transition::LostTrack | Transition::Postponed => {
                    prop_assert!(has_begun && is_approved);
                }
                Transition::Verified | Transition::Refuted => prop_assert_eq!(state, ProposalState::Completed),
                Transition::Rejected | Transition::Cancelled => {}
            }
            state = next;
            prop_assert!(state != ProposalState::Executing || (is_valid && is_approved));
            is_over = Transition::ALL.iter().all(|transition| state.after(*transition).is_none());
        }
    }
}

/// The states that can be reached from one by any sequence of transitions.
fn reachable(from: ProposalState) -> BTreeSet<ProposalState> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(state) = open.pop() {
        let next = Transition::ALL.iter().filter_map(|by| state.after(*by));
        open.extend(next.filter(|next| found.insert(*next)));
    }
    found
}

#[test]
fn what_is_over_is_never_executed_again() {
    for state in ProposalState::ALL {
        let leads_there =
            state.is_executing() || reachable(state).contains(&ProposalState::Executing);
        assert_eq!(state.is_over(), !leads_there, "{state}");
        assert_eq!(
            state.is_pending(),
            leads_there && !state.is_executing(),
            "{state}"
        );
    }
    assert_eq!(
        reachable(ProposalState::Proposed).len(),
        ProposalState::ALL.len() - 1
    );
}

#[test]
fn whatever_is_pending_or_executing_can_be_cancelled() {
    for state in ProposalState::ALL {
        let cancelled = state.after(Transition::Cancelled);
        assert_eq!(cancelled.is_some(), !state.is_over(), "{state}");
    }
}

#[test]
fn a_state_has_one_name() {
    for state in ProposalState::ALL {
        assert_eq!(serde_json::json!(state), state.as_str());
    }
}

#[test]
fn what_a_second_process_begins_is_refused() {
    let mut proposal = fresh(false, OnFailure::Stop);
    for step in [Step::Validate, Step::Approve, Step::Begin(1)] {
        step.apply(&mut proposal).unwrap();
    }
    let state = ProposalState::Executing;
    assert_eq!(
        Step::Begin(2).apply(&mut proposal),
        Err(WrongState { state })
    );
    Step::Begin(1).apply(&mut proposal).unwrap();
    assert_eq!(proposal.attempt, 2);
}

#[test]
fn what_ends_early_leaves_something_behind_once_it_has_begun() {
    use Step::*;
    let before: &[Step] = &[Validate, Approve];
    let begun: &[Step] = &[Validate, Approve, Begin(1)];
    let between: &[Step] = &[Validate, Approve, Begin(1), Advance];
    let waiting: &[Step] = &[Validate, Approve, Begin(1), Postpone];
    for (steps, last, undoes, half_done) in [
        (before, Cancel, false, false),
        (before, Cancel, true, true),
        (before, Reject, false, false),
        (begun, Cancel, false, false),
        (between, Cancel, false, true),
        (waiting, Cancel, false, true),
        (waiting, Reject, false, true),
        (waiting, Lapse, false, true),
        (begun, Fail, false, false),
        (begun, Fail, true, true),
        (between, FailBetweenCalls, false, true),
        (between, LoseTrack, false, false),
    ] {
        let mut proposal = fresh(undoes, OnFailure::Stop);
        for step in steps.iter().chain([&last]) {
            step.apply(&mut proposal).unwrap();
        }
        assert_eq!(proposal.half_done, half_done, "{steps:?} {last:?}");
    }
    let mut compensating = fresh(false, OnFailure::Compensate);
    for step in [Validate, Approve, Begin(1), Advance, FailBetweenCalls] {
        step.apply(&mut compensating).unwrap();
    }
    assert!(!compensating.half_done, "its plan undoes what was done");
}
