//! What becomes of a proposal before and between its calls, decided and recorded in one transaction.

use operator_model::{
    ActionRules, GateView, Mark, Mode, OPERATOR, Plan, PlanStep, Proposal, ProposalId,
    ProposalState, Record, TicketId, Timestamp, Transition,
};
use operator_plugin_api::Risk;
use operator_policy::{self as policy, Case};
use operator_store::{Change, Draft, Store, StoreError};
use serde_json::{Value, json};

use super::{
    ActionContext, Consequence, RuleRefusal, Ruling, ValidPlan,
    executor::{ActError, new_key},
};

/// Why a proposal was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// A rule says no.
    #[error("proposal {id}: {refusal}")]
    ByRule {
        /// Which proposal.
        id: ProposalId,
        /// The rule.
        refusal: RuleRefusal,
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
pub struct NewProposal {
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

/// The state that follows, or why it cannot.
pub(super) fn step(
    proposal: &Proposal,
    transition: Transition,
    what: &'static str,
) -> Result<ProposalState, GateError> {
    let next = proposal.state.after(transition);
    next.ok_or(GateError::State {
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
    wish: NewProposal,
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
    change: impl FnOnce(Proposal) -> Result<Change, GateError>,
) -> Result<Proposal, ActError> {
    let changed = store
        .change_proposal(id, Timestamp::now(), |proposal, _| change(proposal))
        .await?;
    Ok(changed?)
}

pub(super) async fn change(
    stage: &ActionContext,
    id: ProposalId,
    change: impl FnOnce(Proposal, GateView) -> Result<Change, GateError>,
) -> Result<Proposal, ActError> {
    let since = Timestamp::now().minus(policy::memory(&stage.subject.actions));
    let changed = stage.store.change_proposal(id, since, change).await?;
    Ok(changed?)
}

/// A person's yes to a proposal whose digest they saw.
pub async fn approve(
    stage: &ActionContext,
    id: ProposalId,
    plan: &ValidPlan,
    seen: &str,
    mark: Mark,
) -> Result<Proposal, ActError> {
    let rules = &stage.subject.actions;
    change(stage, id, |mut proposal, view| {
        proposal.state = step(
            &proposal,
            Transition::Approved,
            "only what is validated can be approved",
        )?;
        let approval = policy::approval_by(mark, false, plan, &proposal, &view, rules);
        if approval.digest != seen {
            return Err(GateError::Other {
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
        let refusal = rulings.iter().find(|ruling| {
            ruling
                .refuses
                .is_some_and(|weight| weight != Consequence::Defer)
        });
        if let Some(ruling) = refusal {
            return Err(GateError::ByRule {
                id,
                refusal: RuleRefusal {
                    rule: ruling.rule,
                    weight: ruling.refuses.unwrap_or(Consequence::Lapse),
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
        ended_early(proposal, Transition::Rejected, "rejected", mark)
    })
    .await
}

/// Somebody takes a proposal back before it began.
pub async fn cancel(store: &Store, id: ProposalId, mark: &Mark) -> Result<Proposal, ActError> {
    change_freely(store, id, |proposal| {
        if proposal.state == ProposalState::Executing {
            return Err(GateError::State {
                id,
                state: proposal.state,
                what: "`operator kill-switch` stops what runs",
            });
        }
        ended_early(proposal, Transition::Cancelled, "cancelled", mark)
    })
    .await
}

fn ended_early(
    mut proposal: Proposal,
    transition: Transition,
    event: &'static str,
    mark: &Mark,
) -> Result<Change, GateError> {
    proposal.state = step(&proposal, transition, "it is over, or has begun")?;
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
pub(super) async fn reject(
    stage: &ActionContext,
    id: ProposalId,
    why: &str,
) -> Result<Proposal, ActError> {
    let mark = Mark::now(OPERATOR, why);
    refuse(&stage.store, id, &mark).await
}

/// A person has looked at what it left behind.
pub async fn settle(store: &Store, id: ProposalId, mark: Mark) -> Result<Proposal, ActError> {
    change_freely(store, id, |mut proposal| {
        if !proposal.is_unsettled() {
            return Err(GateError::State {
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
pub(super) async fn lapse(stage: &ActionContext, id: ProposalId) -> Result<Proposal, ActError> {
    change(stage, id, |mut proposal, _| {
        let now = Timestamp::now();
        let expired = proposal
            .approval
            .as_ref()
            .is_some_and(|approval| approval.expires_at < now);
        if !expired {
            return Err(GateError::Other {
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
pub(super) fn lapsed(
    proposal: &mut Proposal,
    note: String,
    now: Timestamp,
) -> Result<&'static str, GateError> {
    proposal.note = note;
    proposal.approval = proposal.approval.take().filter(|_| is_half_done(proposal));
    proposal.held_back = None;
    if is_half_done(proposal) {
        proposal.state = step(proposal, Transition::Cancelled, "it is over")?;
        proposal.half_done = true;
        proposal.ended_at = Some(now);
        return Ok("cancelled");
    }
    proposal.state = step(proposal, Transition::Lapsed, "it has begun")?;
    Ok("lapsed")
}

/// Whether a plan that ends otherwise than it says leaves something behind: it has begun, or was to take something back.
pub(super) fn is_half_done(proposal: &Proposal) -> bool {
    proposal.begun_at.is_some() || proposal.undoes.is_some()
}

/// What every rule says of the first call of a plan that is not recorded, as if a person approved it now.
pub async fn rulings(
    stage: &ActionContext,
    plan: &ValidPlan,
    proposal: &Proposal,
) -> Result<Vec<Ruling>, StoreError> {
    let rules = &stage.subject.actions;
    let now = Timestamp::now();
    let since = now.minus(policy::memory(rules));
    let view = stage.store.gate_view(proposal, since).await?;
    let mut proposal = proposal.clone();
    if proposal.approval.is_none() {
        let mark = Mark::now("whoever approves it", "");
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
