//! The beginning and the end of each call, decided by the rules and recorded in one transaction.

use std::sync::Arc;

use operator_model::{
    EventKind, Execution, ExecutionEnd, GateView, OPERATOR, OnFailure, Proof, Proposal, ProposalId,
    ProposalState, TicketEvent, TicketKey, Timestamp, Transition,
};
use operator_plugin_api::Outcome;
use operator_policy::{self as policy, Approved, Case};
use operator_store::{Change, Store, StoreError};
use serde_json::{Value, json};

use super::{
    ActionContext, Consequence, RuleRefusal, ValidPlan,
    executor::{ActError, LEASE, new_key},
    flow::{self, Ended, Next},
    gate::{GateError, change, is_half_done, lapsed, record, step},
};

/// A call that may be made now, and is recorded to be.
#[derive(Debug)]
pub struct Begun {
    /// How often the kill switch had been engaged by then.
    pub engagements: i64,
    /// The permission.
    pub approved: Approved,
    /// The proposal as it is now.
    pub proposal: Proposal,
    /// The call's row.
    pub execution: Execution,
    /// The call's idempotency key: the same for every attempt.
    pub key: String,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub(super) struct CallEnd {
    pub(super) end: ExecutionEnd,
    pub(super) is_retryable: bool,
    /// Why nobody waits for it any more.
    pub(super) stopped: Option<Stopped>,
}

/// That nobody waits for a call any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopped {
    /// Whether the next process may take the step again.
    pub(super) resumes: bool,
}

/// The transaction that lets a call begin: all rules are asked anew, and the intent is recorded. If that fails, nothing runs.
pub(super) async fn begin(
    stage: &ActionContext,
    id: ProposalId,
    plan: &Arc<ValidPlan>,
) -> Result<Begun, ActError> {
    let mut begun = None;
    let mut engagements = 0;
    let changed = change(stage, id, |proposal, view| {
        let (change, permission) = begins(stage, proposal, &view, plan)?;
        begun = Some(permission);
        engagements = view.control.engagements;
        Ok(change)
    })
    .await;
    match (changed, begun) {
        (Ok(proposal), Some((approved, execution))) => Ok(Begun {
            engagements,
            key: format!("{}-{}", proposal.call_key, execution.step + 1),
            approved,
            proposal,
            execution,
        }),
        (Err(ActError::Refused(GateError::ByRule { refusal, .. })), _) => {
            hold_back(stage, id, &refusal).await?;
            Err(GateError::ByRule { id, refusal }.into())
        }
        (Err(error), _) => Err(error),
        (Ok(proposal), None) => Err(GateError::State {
            id,
            state: proposal.state,
            what: "it did not begin",
        }
        .into()),
    }
}

fn begins(
    stage: &ActionContext,
    mut proposal: Proposal,
    view: &GateView,
    plan: &Arc<ValidPlan>,
) -> Result<(Change, (Approved, Execution)), GateError> {
    let id = proposal.id;
    let now = Timestamp::now();
    let goes_on = proposal.state == ProposalState::Executing
        && proposal.owner.as_deref() == Some(stage.owner.as_str());
    if !goes_on {
        step(
            &proposal,
            Transition::Begun,
            "only what is approved can begin",
        )?;
    }
    let case = Case {
        plan,
        step: proposal.step,
        proposal: &proposal,
        view,
        rules: &stage.subject.actions,
        now,
    };
    let (approved, rulings) =
        policy::permit(plan, case).map_err(|(refusal, _)| GateError::ByRule { id, refusal })?;
    if proposal.begun_at.is_none() {
        proposal.begun_at = Some(now);
        let targets = targets(&proposal, view);
        proposal.proof = plan.acts().then(|| proof(stage, plan, view, targets));
    }
    proposal.state = ProposalState::Executing;
    proposal.attempt += 1;
    proposal.owner = Some(stage.owner.clone());
    proposal.lease_until = Some(now.plus(LEASE));
    proposal.not_before = None;
    proposal.held_back = None;
    let call = approved.call();
    let execution = Execution {
        id: new_key(),
        proposal: id,
        step: proposal.step,
        attempt: proposal.attempt,
        subject: proposal.subject.clone(),
        action: call.definition().name.clone(),
        params: Value::Object(call.shown_params()),
        resources: call.resources(),
        is_tool: call.is_tool(),
        begun_at: now,
        end: None,
    };
    proposal.note = format!("runs {}", approved.described());
    let body = json!({
        "call": approved.described(),
        "step": execution.step + 1,
        "attempt": execution.attempt,
        "approved_by": approved.by(),
        "rules": rulings,
    });
    let said = record(&proposal, "begun", approved.by(), body);
    let change = Change {
        begins: Some(execution.clone()),
        ..Change::of(proposal, said)
    };
    Ok((change, (approved, execution)))
}

/// What must hold afterwards. Taking back what did not help does not fix the ticket, and is not meant to.
fn targets(proposal: &Proposal, view: &GateView) -> Vec<TicketKey> {
    let ticket = view.ticket.iter().filter(|_| proposal.undoes.is_none());
    ticket.map(|ticket| ticket.key.clone()).collect()
}

/// What must be so afterwards, and what was not so before.
fn proof(
    stage: &ActionContext,
    plan: &ValidPlan,
    view: &GateView,
    targets: Vec<TicketKey>,
) -> Proof {
    let rules = &stage.subject.actions;
    let windows = plan
        .calls()
        .map(|call| rules.verify_window(&call.definition().name));
    Proof {
        targets,
        baseline: view.live.iter().map(|ticket| ticket.key.clone()).collect(),
        window_ms: operator_model::millis(windows.max().unwrap_or_default()),
        until: Timestamp(i64::MAX),
        holding_since: None,
        missing: String::new(),
        broke: Vec::new(),
    }
}

/// Draws the consequence of a rule's no at the beginning of a call.
async fn hold_back(
    stage: &ActionContext,
    id: ProposalId,
    refusal: &RuleRefusal,
) -> Result<(), ActError> {
    let changed = change(stage, id, |mut proposal, _| {
        let said = format!("{}: {}", refusal.rule, refusal.says);
        let now = Timestamp::now();
        let known = format!("{}: ", refusal.rule);
        let is_known = proposal
            .held_back
            .as_deref()
            .is_some_and(|rule| rule.starts_with(&known));
        let event = match refusal.weight {
            // Between two steps there is nothing to wait for: what comes next may not run.
            _ if proposal.state == ProposalState::Executing => {
                proposal.state = step(&proposal, Transition::Failed, "it does not run")?;
                proposal.owner = None;
                proposal.lease_until = None;
                proposal.ended_at = Some(now);
                proposal.half_done = proposal.plan.on_failure == OnFailure::Stop;
                "failed"
            }
            Consequence::Defer if is_known => return Err(GateError::Other { id, what: said }),
            Consequence::Defer => "held_back",
            Consequence::Lapse => lapsed(&mut proposal, said.clone(), now)?,
            Consequence::Reject => {
                proposal.state = step(&proposal, Transition::Rejected, "it is over")?;
                proposal.ended_at = Some(now);
                proposal.half_done = is_half_done(&proposal);
                "rejected"
            }
        };
        proposal.note.clone_from(&said);
        proposal.held_back = (event == "held_back").then_some(said);
        let record = record(&proposal, event, OPERATOR, json!({"refusal": refusal}));
        Ok(Change::of(proposal, record))
    });
    match changed.await {
        Ok(_) | Err(ActError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Records how a call ended, and what follows.
pub(super) async fn end(
    stage: &ActionContext,
    begun: &Begun,
    ending: &CallEnd,
) -> Result<Proposal, ActError> {
    let id = begun.proposal.id;
    let executions = stage.store.executions(id).await?;
    let has_failed = executions.iter().any(|execution| {
        execution.step != begun.execution.step
            && execution
                .end
                .as_ref()
                .is_some_and(|end| end.outcome == Outcome::Failed)
            && !executions
                .iter()
                .any(|later| later.step == execution.step && later.attempt > execution.attempt)
    });
    let jitter = f64::from(std::process::id() % 100) / 100.0;
    let next = flow::next(
        begun.approved.plan(),
        Ended {
            step: begun.execution.step,
            attempt: begun.execution.attempt,
            end: &ending.end,
            is_retryable: ending.is_retryable,
            has_failed,
        },
        stage.subject.actions.retries,
        jitter,
    );
    change(stage, id, |proposal, _| {
        ends(stage, begun, ending, &next, proposal)
    })
    .await
}

fn ends(
    stage: &ActionContext,
    begun: &Begun,
    ending: &CallEnd,
    next: &Next,
    mut proposal: Proposal,
) -> Result<Change, GateError> {
    const LOST: &str = "another process has given it up";
    if proposal.owner.as_deref() != Some(stage.owner.as_str()) {
        // The answer came too late to change anything, but it is worth knowing.
        let body = json!({"call": begun.approved.described(), "outcome": ending.end.outcome, "message": ending.end.message});
        let said = record(&proposal, "answered_late", OPERATOR, body);
        return Ok(Change::of(proposal, said));
    }
    let end = &ending.end;
    proposal.note.clone_from(&end.message);
    let now = Timestamp::now();
    let mut event = "called";
    let mut over = None;
    match (next, &ending.stopped) {
        (Next::Unknown, _) => over = Some((Transition::LostTrack, "outcome_unknown")),
        // Nothing was done by this step; whoever comes next takes it again.
        (_, Some(stop)) if stop.resumes => {
            proposal.state = step(&proposal, Transition::Postponed, LOST)?;
            proposal.not_before = Some(now);
            proposal.owner = None;
            proposal.lease_until = None;
            event = "postponed";
        }
        (_, Some(_)) => over = Some((Transition::Cancelled, "cancelled")),
        (Next::Step(step), None) => {
            proposal.step = *step;
            proposal.attempt = 0;
        }
        (Next::Again(pause), None) => {
            proposal.state = step(&proposal, Transition::Postponed, LOST)?;
            proposal.not_before = Some(now.plus(*pause));
            proposal.owner = None;
            proposal.lease_until = None;
            event = "postponed";
        }
        (Next::Completed, None) => over = Some((Transition::Completed, "completed")),
        (Next::Failed, None) => over = Some((Transition::Failed, "failed")),
    }
    if let Some((transition, said)) = over {
        proposal.state = step(&proposal, transition, LOST)?;
        proposal.ended_at = Some(now);
        proposal.owner = None;
        proposal.lease_until = None;
        proposal.half_done = match transition {
            Transition::Cancelled => proposal.step > 0 || proposal.undoes.is_some(),
            Transition::Failed => proposal.undoes.is_some(),
            _ => false,
        };
        event = said;
    }
    if let Some(proof) = &mut proposal.proof {
        let names = begun.approved.plan().calls();
        let within = names.map(|call| stage.subject.actions.verify_within(&call.definition().name));
        proof.until = now.plus(within.max().unwrap_or_default());
    }
    let body = json!({
        "call": begun.approved.described(),
        "outcome": end.outcome,
        "message": end.message,
        "details": end.details,
        "retry_at": proposal.not_before,
    });
    let said = record(&proposal, event, OPERATOR, body);
    let escalates = (proposal.state == ProposalState::OutcomeUnknown).then(|| {
        escalation(
            now,
            &format!(
                "{} {}: {}",
                proposal.id,
                begun.approved.described(),
                end.message
            ),
        )
    });
    Ok(Change {
        ends: Some((begun.execution.id.clone(), end.clone())),
        ticket_event: escalates,
        ..Change::of(proposal, said)
    })
}

/// A person must look.
pub(super) fn escalation(at: Timestamp, note: &str) -> TicketEvent {
    TicketEvent {
        at,
        kind: EventKind::Escalated,
        actor: OPERATOR.to_owned(),
        note: note.to_owned(),
    }
}

/// The process that executed it is gone. What it did is not known, and it is never tried again.
pub async fn give_up(store: &Store, id: ProposalId) -> Result<Option<Proposal>, StoreError> {
    let executions = store.executions(id).await?;
    let unended = executions
        .into_iter()
        .find(|execution| execution.end.is_none());
    let changed = store
        .change_proposal(id, Timestamp::now(), |mut proposal, _| {
            let now = Timestamp::now();
            let alive = proposal.lease_until.is_none_or(|until| until >= now);
            let (Some(next), false) = (proposal.state.after(Transition::LostTrack), alive) else {
                return Err(());
            };
            let message = match &unended {
                Some(execution) => format!(
                    "the process that called `{}` ended before the outcome was known; look at the subject before it is done again",
                    execution.action
                ),
                None => format!("the process that executed it ended before step {}", proposal.step + 1),
            };
            proposal.state = next;
            proposal.note.clone_from(&message);
            proposal.ended_at = Some(now);
            proposal.owner = None;
            proposal.lease_until = None;
            let end = unended.map(|execution| {
                let end = ExecutionEnd {
                    at: now,
                    outcome: Outcome::Unknown,
                    message: message.clone(),
                    details: Value::Null,
                };
                (execution.id, end)
            });
            let said = record(&proposal, "outcome_unknown", OPERATOR, json!({"message": message}));
            let note = format!("{} {}: {message}", proposal.id, proposal.calls());
            Ok(Change {
                ends: end,
                ticket_event: Some(escalation(now, &note)),
                ..Change::of(proposal, said)
            })
        })
        .await?;
    Ok(changed.ok())
}
