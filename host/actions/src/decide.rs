//! What people decide about a proposal, and what the rules would decide.

use operator_model::{
    AuditEvent, Consequence, Mark, Proposal, ProposalId, ProposalParts, Ruling, TicketId,
    Timestamp,
    audit::{Approved, End, Why},
};
use operator_policy::{self as policy, Case, ValidPlan};
use operator_store::{Change, Store, StoreError};

use super::{
    change::{change, change_freely, record},
    context::ActionContext,
    error::{ActError, GateError, wrong_state},
    propose::calls,
};

/// A person approves a proposal whose digest they saw.
pub async fn approve(
    context: &ActionContext,
    id: ProposalId,
    plan: &ValidPlan,
    seen: &str,
    mark: Mark,
) -> Result<Proposal, ActError> {
    let rules = &context.subject.actions;
    change(context, id, |mut proposal, view| {
        let approval = policy::approval_by(mark, false, plan, &proposal, &view, rules);
        proposal
            .approve(approval.clone())
            .map_err(wrong_state(id, "only what is validated can be approved"))?;
        proposal.reassess(plan.risk());
        if approval.digest != seen {
            let what = "its calls or parameters are not those that were shown, or the definitions of its actions have changed since; show it again";
            return Err(GateError::Other {
                id,
                what: what.to_owned(),
            });
        }
        let rulings = policy::rulings(Case {
            plan,
            step: 0,
            proposal: &proposal,
            view: &view,
            rules,
            now: Timestamp::now(),
        });
        // What would never let it run is reported now. What only delays it does not prevent an approval.
        let mut refusals = rulings.iter().filter_map(Ruling::refusal);
        if let Some(refusal) = refusals.find(|one| one.consequence != Consequence::Defer) {
            return Err(GateError::ByRule {
                id,
                refusal,
                fails: false,
            });
        }
        let by = approval.mark.by.clone();
        let approved = AuditEvent::Approved(Approved::ByPerson {
            approval: Box::new(approval),
            calls: calls(&proposal),
            rules: rulings,
        });
        let record = record(&proposal, &by, approved);
        Ok(Change::of(proposal, record))
    })
    .await
}

/// A person rejects a proposal.
pub async fn refuse(store: &Store, id: ProposalId, mark: &Mark) -> Result<Proposal, ActError> {
    change_freely(store, id, |mut proposal| {
        proposal
            .reject(noted("rejected", mark), mark.at)
            .map_err(wrong_state(id, "it is over, or has begun"))?;
        let record = record(&proposal, &mark.by, AuditEvent::Rejected(decision(mark)));
        Ok(Change::of(proposal, record))
    })
    .await
}

/// Withdraws a proposal before it began.
pub async fn cancel(store: &Store, id: ProposalId, mark: &Mark) -> Result<Proposal, ActError> {
    change_freely(store, id, |mut proposal| {
        if proposal.state.is_executing() {
            return Err(GateError::State {
                id,
                state: proposal.state,
                what: "`operator kill-switch` stops what runs",
            });
        }
        proposal
            .cancel(noted("cancelled", mark), mark.at)
            .map_err(wrong_state(id, "it is over, or has begun"))?;
        let record = record(&proposal, &mark.by, AuditEvent::Cancelled(decision(mark)));
        Ok(Change::of(proposal, record))
    })
    .await
}

fn noted(event: &str, mark: &Mark) -> String {
    match mark.note.as_str() {
        "" => format!("{event} by {}", mark.by),
        note => format!("{event} by {}: {note}", mark.by),
    }
}

fn decision(mark: &Mark) -> End {
    End::Decision(Why {
        why: mark.note.clone(),
    })
}

/// A person has inspected what it left behind.
pub async fn settle(store: &Store, id: ProposalId, mark: Mark) -> Result<Proposal, ActError> {
    change_freely(store, id, |mut proposal| {
        let event = AuditEvent::Settled(Why {
            why: mark.note.clone(),
        });
        let record = record(&proposal, &mark.by, event);
        proposal
            .settle(mark)
            .map_err(wrong_state(id, "there is nothing to settle"))?;
        Ok(Change::of(proposal, record))
    })
    .await
}

/// What every rule decides about the first call of a plan that is not recorded, as if a person approved it now.
pub async fn rulings(
    context: &ActionContext,
    plan: &ValidPlan,
    ticket: Option<TicketId>,
) -> Result<Vec<Ruling>, StoreError> {
    let rules = &context.subject.actions;
    let now = Timestamp::now();
    let mark = Mark::now("the person who approves it", "");
    let mut parts =
        ProposalParts::new(plan.subject(), plan.shown(), plan.risk(), Mark::now("", ""));
    parts.ticket = ticket;
    let since = now.minus(policy::memory(rules));
    let view = context
        .store
        .gate_view(&Proposal::from(parts.clone()), since)
        .await?;
    let approval = policy::approval_by(mark, false, plan, &parts, &view, rules);
    parts.approval = Some(approval);
    Ok(policy::rulings(Case {
        plan,
        step: 0,
        proposal: &parts,
        view: &view,
        rules,
        now,
    }))
}
