//! The end of a call: its outcome is recorded, and what follows, in one transaction.

use operator_model::{
    AuditEvent, Execution, ExecutionEnd, OPERATOR, Proposal, ProposalId, ProposalState, Timestamp,
    audit::{AnsweredLate, Called, End},
};
use operator_plugin_api::Outcome;
use operator_store::{Change, Store, StoreError};
use serde_json::Value;

use super::{
    begin::Begun,
    call::CallEnd,
    change::{change, escalation, record},
    context::ActionContext,
    error::{ActError, GateError, wrong_state},
    flow::{self, Ended, Next},
};

/// Records how a call ended, and what follows.
pub(super) async fn finish(
    context: &ActionContext,
    begun: &Begun,
    ended: &CallEnd,
) -> Result<Proposal, ActError> {
    let id = begun.proposal.id;
    let executions = context.store.executions(id).await?;
    let next = flow::next(
        begun.approved.plan(),
        Ended {
            step: begun.execution.step,
            attempt: begun.execution.attempt,
            end: &ended.end,
            is_retryable: ended.is_retryable,
            has_failed: has_failed(&executions, begun.execution.step),
        },
        context.subject.actions.retries,
        f64::from(std::process::id() % 100) / 100.0,
    );
    change(context, id, |proposal, _| {
        finished(context, begun, ended, &next, proposal)
    })
    .await
}

/// Whether a step before this one failed at its last attempt.
fn has_failed(executions: &[Execution], step: usize) -> bool {
    let is_retried = |execution: &Execution| {
        executions
            .iter()
            .any(|later| later.step == execution.step && later.attempt > execution.attempt)
    };
    let mut others = executions.iter().filter(|one| one.step != step);
    others.any(|one| {
        let end = one.end.as_ref();
        end.is_some_and(|end| end.outcome == Outcome::Failed) && !is_retried(one)
    })
}

fn finished(
    context: &ActionContext,
    begun: &Begun,
    ended: &CallEnd,
    next: &Next,
    mut proposal: Proposal,
) -> Result<Change, GateError> {
    let end = &ended.end;
    let call = begun.approved.described();
    if !proposal.is_executed_by(&context.owner) {
        // The answer came too late to change anything, but it is recorded.
        let late = AuditEvent::AnsweredLate(AnsweredLate {
            call,
            outcome: end.outcome,
            message: end.message.clone(),
        });
        let record = record(&proposal, OPERATOR, late);
        return Ok(Change::of(proposal, record));
    }
    let now = Timestamp::now();
    let event = follow(&mut proposal, ended, next, now)?;
    let called = Called {
        call: call.clone(),
        outcome: end.outcome,
        message: end.message.clone(),
        details: end.details.clone(),
        retry_at: proposal.not_before,
    };
    let record = record(&proposal, OPERATOR, event(called));
    let rules = &context.subject.actions;
    let calls = begun.approved.plan().calls();
    let within = calls.map(|call| rules.verify_within(&call.definition().name));
    proposal.prove_by(now.plus(within.max().unwrap_or_default()));
    let is_lost = proposal.state == ProposalState::OutcomeUnknown;
    let note = || format!("{} {call}: {}", proposal.id, end.message);
    Ok(Change {
        ends: Some((begun.execution.id.clone(), end.clone())),
        ticket_event: is_lost.then(|| escalation(now, note())),
        ..Change::of(proposal, record)
    })
}

/// Makes the transition that follows a call, and answers which event is recorded of it.
fn follow(
    proposal: &mut Proposal,
    ended: &CallEnd,
    next: &Next,
    now: Timestamp,
) -> Result<fn(Called) -> AuditEvent, GateError> {
    let note = ended.end.message.clone();
    let followed = match (next, &ended.stopped) {
        (Next::Unknown, _) => proposal
            .lose_track(note, now)
            .map(|()| (|called| AuditEvent::OutcomeUnknown(End::Call(called))) as fn(_) -> _),
        // This step had no effect; the next process runs it again.
        (_, Some(stop)) if stop.is_resumed() => proposal
            .postpone(now, note)
            .map(|()| AuditEvent::Postponed as fn(_) -> _),
        (_, Some(_)) => proposal
            .cancel(note, now)
            .map(|()| (|called| AuditEvent::Cancelled(End::Call(called))) as fn(_) -> _),
        (Next::Step(step), None) => proposal
            .advance(*step, note)
            .map(|()| AuditEvent::Called as fn(_) -> _),
        (Next::Again(pause), None) => proposal
            .postpone(now.plus(*pause), note)
            .map(|()| AuditEvent::Postponed as fn(_) -> _),
        (Next::Completed, None) => proposal
            .complete(note, now)
            .map(|()| AuditEvent::Completed as fn(_) -> _),
        (Next::Failed, None) => proposal
            .fail(note, now)
            .map(|()| (|called| AuditEvent::Failed(End::Call(called))) as fn(_) -> _),
    };
    followed.map_err(wrong_state(proposal.id, "another process has given it up"))
}

/// The process that executed a proposal is gone. What it did is not known, and it is never retried.
pub async fn give_up(store: &Store, id: ProposalId) -> Result<Option<Proposal>, StoreError> {
    let executions = store.executions(id).await?;
    let unended = executions
        .into_iter()
        .find(|execution| execution.end.is_none());
    let changed = store
        .change_proposal(id, Timestamp::now(), |proposal, _| {
            given_up(proposal, unended).ok_or(())
        })
        .await?;
    Ok(changed.ok())
}

fn given_up(mut proposal: Proposal, unended: Option<Execution>) -> Option<Change> {
    let now = Timestamp::now();
    proposal.lease_until.filter(|until| *until < now)?;
    let message = match &unended {
        Some(execution) => format!(
            "the process that called `{}` ended before the outcome was known; inspect the subject before it is done again",
            execution.action
        ),
        None => format!(
            "the process that executed it ended before step {}",
            proposal.step + 1
        ),
    };
    proposal.lose_track(message.clone(), now).ok()?;
    let end = unended.map(|execution| {
        let end = ExecutionEnd {
            at: now,
            outcome: Outcome::Unknown,
            message: message.clone(),
            details: Value::Null,
        };
        (execution.id, end)
    });
    let note = format!("{} {}: {message}", proposal.id, proposal.calls());
    let lost = AuditEvent::OutcomeUnknown(End::Process { message });
    let record = record(&proposal, OPERATOR, lost);
    Some(Change {
        ends: end,
        ticket_event: Some(escalation(now, note)),
        ..Change::of(proposal, record)
    })
}
