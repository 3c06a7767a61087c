//! Proposes what undoes a plan that failed or did not help.

use operator_model::{
    AuditEvent, Mark, OPERATOR, OnFailure, Proposal, ProposalId, ProposalState, Timestamp,
    audit::Why,
};
use operator_store::Change;

use super::{
    change::{change_freely, escalation, record},
    context::ActionContext,
    crash::crash_point,
    error::{ActError, GateError},
    inverse::{Inverted, inverse},
    propose::{NewProposal, Undone, propose},
};

/// A plan that failed is undone, if it demands so: by the process that has performed it, and by no other that only tried to.
pub async fn compensate(
    context: &ActionContext,
    performed: &Result<Proposal, ActError>,
) -> Result<Option<Proposal>, ActError> {
    let Some(id) = failed_here(performed) else {
        return Ok(None);
    };
    let proposal = context.store.proposal(id).await?;
    if proposal.state != ProposalState::Failed || !is_to_be_undone(&proposal) {
        return Ok(None);
    }
    undo(context, &proposal, "its plan failed").await
}

/// The proposal that has failed while this process performed it.
fn failed_here(performed: &Result<Proposal, ActError>) -> Option<ProposalId> {
    match performed {
        Ok(proposal) => (proposal.state == ProposalState::Failed).then_some(proposal.id),
        Err(ActError::Refused(GateError::ByRule { id, fails, .. })) => fails.then_some(*id),
        Err(_) => None,
    }
}

/// Whether a proposal that ended is to be undone: it did not help, or it failed and its plan demands it.
pub(super) fn is_to_be_undone(proposal: &Proposal) -> bool {
    match proposal.state {
        ProposalState::NotVerified => true,
        ProposalState::Failed => proposal.plan.on_failure == OnFailure::Compensate,
        _ => false,
    }
}

/// Proposes what undoes a proposal; where the rules allow, that is approved at once. What undoes another one is not undone itself.
pub(super) async fn undo(
    context: &ActionContext,
    proposal: &Proposal,
    why: &str,
) -> Result<Option<Proposal>, ActError> {
    // What is kept of secret parameters is not what an inverse needs.
    let is_impossible = proposal.undoes.is_some() || proposal.plan.has_secrets;
    if is_impossible || context.store.undone_by(proposal.id).await?.is_some() {
        return Ok(None);
    }
    crash_point("undoing");
    let (connected, registry) = context.connect().await?;
    connected.observer.shutdown().await;
    let plan = registry.prove(&proposal.plan)?;
    let executions = context.store.executions(proposal.id).await?;
    let Inverted {
        plan: inverse,
        irreversible,
        faults,
    } = inverse(&plan, &executions);
    if !irreversible.is_empty() {
        tracing::warn!(
            "{} of {}: nothing undoes {}",
            proposal.subject,
            proposal.id,
            irreversible.join(", ")
        );
    }
    if !faults.is_empty() {
        not_undone(context, proposal.id, &faults.join("; ")).await?;
    }
    let Some(inverse) = inverse else {
        return Ok(None);
    };
    let inverse = match registry.prove(&inverse) {
        Ok(inverse) => inverse,
        Err(fault) => {
            let why = format!("its inverse does not fit: {fault}");
            not_undone(context, proposal.id, &why).await?;
            return Ok(None);
        }
    };
    let new = NewProposal {
        plan: inverse,
        mark: Mark::now(OPERATOR, &format!("undoes {}: {why}", proposal.id)),
        ticket: proposal.ticket,
        not_before: None,
        follows: None,
        undoes: Some(Undone {
            id: proposal.id,
            plan,
            approval: proposal.approval.clone(),
        }),
    };
    unless_undone(propose(&context.store, &context.subject.actions, new).await)
}

/// What was declared possible and is not: recorded once, with the proposal that is not undone and its ticket.
async fn not_undone(context: &ActionContext, id: ProposalId, why: &str) -> Result<(), ActError> {
    let remark = format!("not undone: {why}");
    let proposal = context.store.proposal(id).await?;
    if proposal.note.contains(&remark) {
        return Ok(());
    }
    change_freely(&context.store, id, |mut proposal| {
        proposal.remark(&remark);
        let why = why.to_owned();
        let record = record(&proposal, OPERATOR, AuditEvent::NotUndone(Why { why }));
        let note = format!("{id} {}: {remark}", proposal.calls());
        Ok(Change {
            ticket_event: Some(escalation(Timestamp::now(), note)),
            ..Change::of(proposal, record)
        })
    })
    .await
    .map(drop)
}

/// Another process may have been faster: what is undone needs nothing more.
fn unless_undone(proposed: Result<Proposal, ActError>) -> Result<Option<Proposal>, ActError> {
    match proposed {
        Err(ActError::AlreadyUndone(_)) => Ok(None),
        proposed => proposed.map(Some),
    }
}

#[cfg(test)]
#[path = "tests/compensate.rs"]
mod tests;
