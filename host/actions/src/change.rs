//! The transaction in which a proposal changes: it reads what the rules judge by, decides, and writes everything or nothing.

use operator_model::{
    AuditEvent, EventKind, GateView, OPERATOR, Proposal, ProposalId, Record, TicketEvent, Timestamp,
};
use operator_policy as policy;
use operator_store::{Change, Store};

use super::{
    context::ActionContext,
    error::{ActError, GateError},
};

/// Changes a proposal by what the rules judge by.
pub(super) async fn change(
    context: &ActionContext,
    id: ProposalId,
    change: impl FnOnce(Proposal, GateView) -> Result<Change, GateError>,
) -> Result<Proposal, ActError> {
    let since = Timestamp::now().minus(policy::memory(&context.subject.actions));
    let changed = context.store.change_proposal(id, since, change).await?;
    Ok(changed?)
}

/// Changes a proposal where no rule is consulted.
pub(super) async fn change_freely(
    store: &Store,
    id: ProposalId,
    change: impl FnOnce(Proposal) -> Result<Change, GateError>,
) -> Result<Proposal, ActError> {
    let changed = store
        .change_proposal(id, Timestamp::now(), |proposal, _| change(proposal))
        .await?;
    Ok(changed?)
}

/// What is recorded in the audit about a proposal.
pub(super) fn record(proposal: &Proposal, actor: &str, event: AuditEvent) -> Record {
    Record {
        actor: actor.to_owned(),
        event,
        subject: proposal.subject.clone(),
        proposal: Some(proposal.id),
        ticket: proposal.ticket,
    }
}

/// The event of a ticket which a person must now inspect.
pub(super) fn escalation(at: Timestamp, note: String) -> TicketEvent {
    TicketEvent {
        at,
        kind: EventKind::Escalated,
        actor: OPERATOR.to_owned(),
        note,
    }
}
