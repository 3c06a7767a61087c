//! How a proposal comes to be: it is recorded, and approved at once where the rules require no person.

use operator_model::{
    ActionRules, Approval, AuditEvent, Mark, Mode, OPERATOR, Plan, PlanStep, Proposal, ProposalId,
    ProposalParts, Record, TicketId, Timestamp,
    audit::{Approved, End, Nothing, Proposed, Why},
};
use operator_plugin_api::Risk;
use operator_policy::{self as policy, ValidPlan};
use operator_store::{Draft, Store, StoreError};

use super::{change::record, context::new_key, error::ActError};

/// A plan to be recorded as a proposal.
#[derive(Debug, Clone)]
pub struct NewProposal {
    /// What is to be done.
    pub plan: ValidPlan,
    /// Who proposes it, when and why.
    pub mark: Mark,
    /// The ticket that it is meant to fix.
    pub ticket: Option<TicketId>,
    /// It does not begin before this.
    pub not_before: Option<Timestamp>,
    /// It does not begin before this other one is done.
    pub follows: Option<ProposalId>,
    /// What it undoes.
    pub undoes: Option<Undone>,
}

/// A proposal that is to be undone.
#[derive(Debug, Clone)]
pub struct Undone {
    /// Which.
    pub id: ProposalId,
    /// What it did, with the definitions as they are now.
    pub plan: ValidPlan,
    /// The approval that it began with.
    pub approval: Option<Approval>,
}

/// Records a plan whose calls fit. Where the rules require no person, and actions run, it is approved at once.
pub async fn propose(
    store: &Store,
    rules: &ActionRules,
    new: NewProposal,
) -> Result<Proposal, ActError> {
    let plan = new.plan;
    let parts = ProposalParts {
        ticket: new.ticket,
        call_key: new_key(),
        not_before: new.not_before,
        follows: new.follows,
        undoes: new.undoes.as_ref().map(|undone| undone.id),
        ..ProposalParts::new(plan.subject(), plan.shown(), plan.risk(), new.mark)
    };
    let mut proposal = Proposal::from(parts);
    let proposed = AuditEvent::Proposed(Proposed::Valid {
        calls: calls(&proposal),
        risk: proposal.risk,
        why: proposal.proposed.note.clone(),
        undoes: proposal.undoes,
        digest: plan.digest(proposal.ticket),
    });
    let mut records = vec![record(&proposal, &proposal.proposed.by, proposed)];
    if proposal.validate().is_ok() {
        let validated = AuditEvent::Validated(Nothing {});
        records.push(record(&proposal, OPERATOR, validated));
    }
    let undone = new.undoes.as_ref();
    records.extend(approved_by_rule(store, rules, &plan, undone, &mut proposal).await?);
    Ok(store.propose(Draft { proposal, records }).await??)
}

/// Approves a proposal for which the rules require no person, while actions run.
async fn approved_by_rule(
    store: &Store,
    rules: &ActionRules,
    plan: &ValidPlan,
    undone: Option<&Undone>,
    proposal: &mut Proposal,
) -> Result<Option<Record>, StoreError> {
    let why = match undone {
        Some(Undone {
            id,
            plan: done,
            approval,
        }) if policy::may_undo(plan, done, approval.as_ref(), rules) => {
            format!("the rules allow to undo {id} without another approval")
        }
        None if !policy::needs_a_person(plan, rules) => "the rules require no approval".to_owned(),
        _ => return Ok(None),
    };
    // The ticket that the approval is bound to, and the mode, are read before the transaction: if they change meanwhile, the
    // rules refuse the beginning of the first call.
    let since = Timestamp::now().minus(policy::memory(rules));
    let view = store.gate_view(proposal, since).await?;
    if view.control.mode(&proposal.subject, rules.mode) != Mode::Execute {
        return Ok(None);
    }
    let mark = Mark::now(OPERATOR, &why);
    let approval = policy::approval_by(mark, true, plan, proposal, &view, rules);
    let event = AuditEvent::Approved(Approved::ByRule(Box::new(approval.clone())));
    let approved = proposal.approve(approval);
    Ok(approved.ok().map(|()| record(proposal, OPERATOR, event)))
}

/// Records a plan that does not fit, as it was written, and rejects it.
pub async fn propose_invalid(
    store: &Store,
    subject: &str,
    plan: Plan,
    mark: Mark,
    fault: &str,
) -> Result<Proposal, ActError> {
    // Parameters that were not checked may hold anything.
    let steps = plan.steps.into_iter().map(|step| PlanStep {
        params: serde_json::Map::new(),
        ..step
    });
    let plan = Plan {
        steps: steps.collect(),
        ..plan
    };
    let mut proposal = Proposal::from(ProposalParts {
        call_key: new_key(),
        ..ProposalParts::new(subject, plan, Risk::High, mark)
    });
    let proposed = AuditEvent::Proposed(Proposed::Invalid {
        calls: calls(&proposal),
        why: proposal.proposed.note.clone(),
    });
    let mut records = vec![record(&proposal, &proposal.proposed.by, proposed)];
    if proposal.reject(fault.to_owned(), Timestamp::now()).is_ok() {
        let why = fault.to_owned();
        let rejected = AuditEvent::Rejected(End::Decision(Why { why }));
        records.push(record(&proposal, OPERATOR, rejected));
    }
    Ok(store.propose(Draft { proposal, records }).await??)
}

/// The calls of a plan as they are recorded, without secrets.
pub(super) fn calls(proposal: &Proposal) -> Vec<String> {
    let steps = proposal.plan.steps.iter();
    steps.map(ToString::to_string).collect()
}
