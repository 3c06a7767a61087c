//! Every change of a proposal, decided and recorded in one transaction.

use std::sync::Arc;

use operator_plugin_api::{Outcome, Risk};
use serde_json::{Value, json};

use super::{
    Approved, Refusal, Ruling, Stage, ValidPlan, Weight,
    executor::{ActError, LEASE, new_key},
    flow::{self, Ended, Next},
    policy::{self, Case},
};
use crate::{
    config::ActionRules,
    model::{
        EventKind, Execution, ExecutionEnd, Happening, Mark, Mode, OPERATOR, OnFailure, Plan,
        PlanStep, Proof, Proposal, ProposalId, ProposalState, Record, TicketEvent, TicketId,
        TicketKey, Timestamp,
    },
    store::{Change, Draft, GateView, Store, StoreError},
};

/// Why a proposal was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A rule says no.
    #[error("proposal {id}: {refusal}")]
    ByRule {
        /// Which proposal.
        id: ProposalId,
        /// The rule.
        refusal: Refusal,
    },
    /// It is not in a state in which this can happen.
    #[error("proposal {id} is {}: {what}", .state.as_str())]
    State {
        /// Which proposal.
        id: ProposalId,
        /// Its state.
        state: ProposalState,
        /// What cannot be.
        what: &'static str,
    },
    /// What was seen of it is not what it is.
    #[error("proposal {id}: {what}")]
    Other {
        /// Which proposal.
        id: ProposalId,
        /// Why not.
        what: String,
    },
}

/// What somebody wants done.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What.
    pub plan: ValidPlan,
    /// Who, when and why.
    pub mark: Mark,
    /// For which ticket.
    pub ticket: Option<TicketId>,
    /// Not before this.
    pub not_before: Option<Timestamp>,
    /// Not before this other one is done.
    pub follows: Option<ProposalId>,
    /// What it takes back.
    pub undoes: Option<ProposalId>,
}

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

/// The state that follows, or why it cannot.
fn step(
    proposal: &Proposal,
    happening: Happening,
    what: &'static str,
) -> Result<ProposalState, Refused> {
    let next = proposal.state.after(happening);
    next.ok_or(Refused::State {
        id: proposal.id,
        state: proposal.state,
        what,
    })
}

/// What the audit says of a proposal.
pub(super) fn record(proposal: &Proposal, event: &'static str, actor: &str, body: Value) -> Record {
    Record {
        actor: actor.to_owned(),
        event,
        subject: proposal.subject.clone(),
        proposal: Some(proposal.id),
        ticket: proposal.ticket,
        body,
    }
}

fn calls(proposal: &Proposal) -> Value {
    json!(
        proposal
            .plan
            .steps
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    )
}

/// Records a proven plan. Where no person is asked, and actions run, it is approved at once.
pub async fn propose(
    store: &Store,
    rules: &ActionRules,
    wish: Wish,
) -> Result<Proposal, StoreError> {
    let plan = wish.plan;
    let mut proposal = Proposal {
        ticket: wish.ticket,
        call_key: new_key(),
        state: ProposalState::Validated,
        not_before: wish.not_before,
        follows: wish.follows,
        undoes: wish.undoes,
        ..Proposal::new(plan.subject(), plan.shown(), plan.risk(), wish.mark)
    };
    let by = proposal.proposed.by.clone();
    let body = json!({
        "calls": calls(&proposal),
        "risk": proposal.risk,
        "why": proposal.proposed.note,
        "undoes": proposal.undoes,
        "digest": plan.digest(proposal.ticket),
    });
    let mut records = vec![
        record(&proposal, "proposed", &by, body),
        record(&proposal, "validated", OPERATOR, json!({})),
    ];
    // The ticket that an approval is bound to, and the mode, are read before; `begin` finds it when they change.
    let view = store
        .gate_view(&proposal, Timestamp::now().minus(policy::memory(rules)))
        .await?;
    let executes = view.control.mode(&proposal.subject, rules.mode) == Mode::Execute;
    let asks_nobody = match proposal.undoes {
        Some(undone) => is_undone_unasked(store, undone, rules).await?,
        None => !policy::needs_a_person(&plan, rules),
    };
    if asks_nobody && executes {
        let why = match proposal.undoes {
            Some(undone) => format!("the rules let {undone} be taken back without asking again"),
            None => "no rule asks a person".to_owned(),
        };
        let mark = Mark {
            by: OPERATOR.to_owned(),
            at: Timestamp::now(),
            note: why,
        };
        let approval = policy::approval_by(mark, true, &plan, &proposal, &view, rules);
        records.push(record(&proposal, "approved", OPERATOR, json!(approval)));
        proposal.approval = Some(approval);
        proposal.state = ProposalState::Approved;
    }
    store.propose(Draft { proposal, records }).await
}

/// Whether each action of a plan that is to be taken back may be: the rules name the action itself, not its inverse.
async fn is_undone_unasked(
    store: &Store,
    undone: ProposalId,
    rules: &ActionRules,
) -> Result<bool, StoreError> {
    let undone = store.proposal(undone).await?;
    let mut actions = undone.plan.steps.iter().map(|step| &step.action);
    Ok(actions.all(|action| rules.undo(action)))
}

/// A wish that does not fit is recorded as it was made, and rejected.
pub async fn propose_invalid(
    store: &Store,
    subject: &str,
    plan: Plan,
    mark: Mark,
    fault: &str,
) -> Result<Proposal, StoreError> {
    // Parameters that were not proven may hold anything.
    let steps = plan.steps.into_iter().map(|step| PlanStep {
        params: serde_json::Map::new(),
        ..step
    });
    let plan = Plan {
        steps: steps.collect(),
        ..plan
    };
    let mut proposal = Proposal {
        call_key: new_key(),
        note: fault.to_owned(),
        ..Proposal::new(subject, plan, Risk::High, mark)
    };
    let by = proposal.proposed.by.clone();
    let body = json!({"calls": calls(&proposal), "why": proposal.proposed.note});
    let records = vec![
        record(&proposal, "proposed", &by, body),
        record(&proposal, "rejected", OPERATOR, json!({"why": fault})),
    ];
    proposal.state = ProposalState::Rejected;
    proposal.ended_at = Some(Timestamp::now());
    store.propose(Draft { proposal, records }).await
}

/// For what no rule is asked about.
async fn change_freely(
    store: &Store,
    id: ProposalId,
    change: impl FnOnce(Proposal) -> Result<Change, Refused>,
) -> Result<Proposal, ActError> {
    let changed = store
        .change_proposal(id, Timestamp::now(), |proposal, _| change(proposal))
        .await?;
    Ok(changed?)
}

async fn change(
    stage: &Stage,
    id: ProposalId,
    change: impl FnOnce(Proposal, GateView) -> Result<Change, Refused>,
) -> Result<Proposal, ActError> {
    let since = Timestamp::now().minus(policy::memory(&stage.subject.actions));
    let changed = stage.store.change_proposal(id, since, change).await?;
    Ok(changed?)
}

/// A person's yes to a proposal whose digest they saw.
pub async fn approve(
    stage: &Stage,
    id: ProposalId,
    plan: &ValidPlan,
    seen: &str,
    mark: Mark,
) -> Result<Proposal, ActError> {
    let rules = &stage.subject.actions;
    change(stage, id, |mut proposal, view| {
        proposal.state = step(
            &proposal,
            Happening::Approved,
            "only what is validated can be approved",
        )?;
        let approval = policy::approval_by(mark, false, plan, &proposal, &view, rules);
        if approval.digest != seen {
            return Err(Refused::Other {
                id,
                what: "its calls or parameters are not those that were shown; look at it again"
                    .to_owned(),
            });
        }
        let by = approval.mark.by.clone();
        proposal.approval = Some(approval);
        // What would never let it run is said now. What only makes it wait is not in the way of a yes.
        let case = Case {
            plan,
            step: 0,
            proposal: &proposal,
            view: &view,
            rules,
            now: Timestamp::now(),
        };
        let rulings = policy::rulings(case);
        let refusal = rulings
            .iter()
            .find(|ruling| ruling.refuses.is_some_and(|weight| weight != Weight::Waits));
        if let Some(ruling) = refusal {
            return Err(Refused::ByRule {
                id,
                refusal: Refusal {
                    rule: ruling.rule,
                    weight: ruling.refuses.unwrap_or(Weight::Lapses),
                    says: ruling.says.clone(),
                },
            });
        }
        proposal.held_back = None;
        let body =
            json!({"approval": proposal.approval, "calls": calls(&proposal), "rules": rulings});
        let said = record(&proposal, "approved", &by, body);
        Ok(Change::of(proposal, said))
    })
    .await
}

/// A person's no.
pub async fn refuse(store: &Store, id: ProposalId, mark: &Mark) -> Result<Proposal, ActError> {
    change_freely(store, id, |proposal| {
        ended_early(proposal, Happening::Rejected, "rejected", mark)
    })
    .await
}

/// Somebody takes a proposal back before it began.
pub async fn cancel(store: &Store, id: ProposalId, mark: &Mark) -> Result<Proposal, ActError> {
    change_freely(store, id, |proposal| {
        if proposal.state == ProposalState::Executing {
            return Err(Refused::State {
                id,
                state: proposal.state,
                what: "`operator kill-switch` stops what runs",
            });
        }
        ended_early(proposal, Happening::Cancelled, "cancelled", mark)
    })
    .await
}

fn ended_early(
    mut proposal: Proposal,
    happening: Happening,
    event: &'static str,
    mark: &Mark,
) -> Result<Change, Refused> {
    proposal.state = step(&proposal, happening, "it is over, or has begun")?;
    proposal.note = match mark.note.as_str() {
        "" => format!("{event} by {}", mark.by),
        note => format!("{event} by {}: {note}", mark.by),
    };
    proposal.ended_at = Some(mark.at);
    proposal.held_back = None;
    proposal.half_done = is_half_done(&proposal);
    let said = record(&proposal, event, &mark.by, json!({"why": mark.note}));
    Ok(Change::of(proposal, said))
}

/// It does not fit the plugin as it is now.
pub(super) async fn reject(stage: &Stage, id: ProposalId, why: &str) -> Result<Proposal, ActError> {
    let mark = crate::store::mark(OPERATOR, why);
    refuse(&stage.store, id, &mark).await
}

/// A person has looked at what it left behind.
pub async fn settle(store: &Store, id: ProposalId, mark: Mark) -> Result<Proposal, ActError> {
    change_freely(store, id, |mut proposal| {
        if !proposal.is_unsettled() {
            return Err(Refused::State {
                id,
                state: proposal.state,
                what: "there is nothing to settle",
            });
        }
        let said = record(&proposal, "settled", &mark.by, json!({"why": mark.note}));
        proposal.settled = Some(mark);
        Ok(Change::of(proposal, said))
    })
    .await
}

/// Its approval has expired without its having begun.
pub(super) async fn lapse(stage: &Stage, id: ProposalId) -> Result<Proposal, ActError> {
    change(stage, id, |mut proposal, _| {
        let now = Timestamp::now();
        let expired = proposal
            .approval
            .as_ref()
            .is_some_and(|approval| approval.expires_at < now);
        if !expired {
            return Err(Refused::Other {
                id,
                what: "its approval counts".to_owned(),
            });
        }
        let note = match &proposal.held_back {
            Some(rule) => format!("its approval expired while it was held back: {rule}"),
            None => "its approval expired".to_owned(),
        };
        let event = lapsed(&mut proposal, note, now)?;
        let said = record(&proposal, event, OPERATOR, json!({"why": proposal.note}));
        Ok(Change::of(proposal, said))
    })
    .await
}

/// One that has not begun may be approved anew. One that has, or that was to take something back, is over.
fn lapsed(proposal: &mut Proposal, note: String, now: Timestamp) -> Result<&'static str, Refused> {
    proposal.note = note;
    proposal.approval = proposal.approval.take().filter(|_| is_half_done(proposal));
    proposal.held_back = None;
    if is_half_done(proposal) {
        proposal.state = step(proposal, Happening::Cancelled, "it is over")?;
        proposal.half_done = true;
        proposal.ended_at = Some(now);
        return Ok("cancelled");
    }
    proposal.state = step(proposal, Happening::Lapsed, "it has begun")?;
    Ok("lapsed")
}

/// What every rule says of the first call of a plan that is not recorded, as if a person approved it now.
pub async fn rulings(
    stage: &Stage,
    plan: &ValidPlan,
    proposal: &Proposal,
) -> Result<Vec<Ruling>, StoreError> {
    let rules = &stage.subject.actions;
    let now = Timestamp::now();
    let since = now.minus(policy::memory(rules));
    let view = stage.store.gate_view(proposal, since).await?;
    let mut proposal = proposal.clone();
    if proposal.approval.is_none() {
        let mark = crate::store::mark("whoever approves it", "");
        proposal.approval = Some(policy::approval_by(
            mark, false, plan, &proposal, &view, rules,
        ));
    }
    Ok(policy::rulings(Case {
        plan,
        step: 0,
        proposal: &proposal,
        view: &view,
        rules,
        now,
    }))
}

/// The transaction that lets a call begin: all rules are asked anew, and the intent is recorded. If that fails, nothing runs.
pub(super) async fn begin(
    stage: &Stage,
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
        (Err(ActError::Refused(Refused::ByRule { refusal, .. })), _) => {
            hold_back(stage, id, &refusal).await?;
            Err(Refused::ByRule { id, refusal }.into())
        }
        (Err(error), _) => Err(error),
        (Ok(proposal), None) => Err(Refused::State {
            id,
            state: proposal.state,
            what: "it did not begin",
        }
        .into()),
    }
}

fn begins(
    stage: &Stage,
    mut proposal: Proposal,
    view: &GateView,
    plan: &Arc<ValidPlan>,
) -> Result<(Change, (Approved, Execution)), Refused> {
    let id = proposal.id;
    let now = Timestamp::now();
    let goes_on = proposal.state == ProposalState::Executing
        && proposal.owner.as_deref() == Some(stage.owner.as_str());
    if !goes_on {
        step(
            &proposal,
            Happening::Begun,
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
        policy::permit(plan, case).map_err(|(refusal, _)| Refused::ByRule { id, refusal })?;
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

/// Whether a plan that ends otherwise than it says leaves something behind: it has begun, or was to take something back.
fn is_half_done(proposal: &Proposal) -> bool {
    proposal.begun_at.is_some() || proposal.undoes.is_some()
}

/// What must hold afterwards. Taking back what did not help does not mend the ticket, and is not meant to.
fn targets(proposal: &Proposal, view: &GateView) -> Vec<TicketKey> {
    let ticket = view.ticket.iter().filter(|_| proposal.undoes.is_none());
    ticket.map(|ticket| ticket.key.clone()).collect()
}

/// What must be so afterwards, and what was not so before.
fn proof(stage: &Stage, plan: &ValidPlan, view: &GateView, targets: Vec<TicketKey>) -> Proof {
    let rules = &stage.subject.actions;
    let windows = plan
        .calls()
        .map(|call| rules.verify_window(&call.definition().name));
    Proof {
        targets,
        baseline: view.live.iter().map(|ticket| ticket.key.clone()).collect(),
        window_ms: crate::model::millis(windows.max().unwrap_or_default()),
        until: Timestamp(i64::MAX),
        holding_since: None,
        missing: String::new(),
        broke: Vec::new(),
    }
}

/// Draws the consequence of a rule's no at the beginning of a call.
async fn hold_back(stage: &Stage, id: ProposalId, refusal: &Refusal) -> Result<(), ActError> {
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
                proposal.state = step(&proposal, Happening::Failed, "it does not run")?;
                proposal.owner = None;
                proposal.lease_until = None;
                proposal.ended_at = Some(now);
                proposal.half_done = proposal.plan.on_failure == OnFailure::Stop;
                "failed"
            }
            Weight::Waits if is_known => return Err(Refused::Other { id, what: said }),
            Weight::Waits => "held_back",
            Weight::Lapses => lapsed(&mut proposal, said.clone(), now)?,
            Weight::Rejects => {
                proposal.state = step(&proposal, Happening::Rejected, "it is over")?;
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
    stage: &Stage,
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
    stage: &Stage,
    begun: &Begun,
    ending: &CallEnd,
    next: &Next,
    mut proposal: Proposal,
) -> Result<Change, Refused> {
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
        (Next::Unknown, _) => over = Some((Happening::LostTrack, "outcome_unknown")),
        // Nothing was done by this step; whoever comes next takes it again.
        (_, Some(stop)) if stop.resumes => {
            proposal.state = step(&proposal, Happening::Postponed, LOST)?;
            proposal.not_before = Some(now);
            proposal.owner = None;
            proposal.lease_until = None;
            event = "postponed";
        }
        (_, Some(_)) => over = Some((Happening::Cancelled, "cancelled")),
        (Next::Step(step), None) => {
            proposal.step = *step;
            proposal.attempt = 0;
        }
        (Next::Again(pause), None) => {
            proposal.state = step(&proposal, Happening::Postponed, LOST)?;
            proposal.not_before = Some(now.plus(*pause));
            proposal.owner = None;
            proposal.lease_until = None;
            event = "postponed";
        }
        (Next::Completed, None) => over = Some((Happening::Completed, "completed")),
        (Next::Failed, None) => over = Some((Happening::Failed, "failed")),
    }
    if let Some((happening, said)) = over {
        proposal.state = step(&proposal, happening, LOST)?;
        proposal.ended_at = Some(now);
        proposal.owner = None;
        proposal.lease_until = None;
        proposal.half_done = match happening {
            Happening::Cancelled => proposal.step > 0 || proposal.undoes.is_some(),
            Happening::Failed => proposal.undoes.is_some(),
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
            let (Some(next), false) = (proposal.state.after(Happening::LostTrack), alive) else {
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
