//! What was proposed, what people decided about it, and what became of it.

use operator_actions::{self as actions, ActionContext, NewProposal, Ruling};
use operator_config::SubjectConfig;
use operator_model::{
    AuditEntry, Execution, Mark, Proposal, ProposalId, ProposalState, TicketId, Timestamp,
};
use operator_store::{AuditFilter, ProposalFilter, Store};
use serde::Serialize;

use super::{
    ActionRequest, PlannedCall, Service, ServiceError,
    actions::{shown, written},
};

/// A proposal to be recorded.
#[derive(Debug, Clone)]
pub struct ProposalRequest {
    /// What is to be done, to the ticket's subject or else to the only one.
    pub action: ActionRequest,
    /// The ticket that it is meant to fix.
    pub ticket: Option<TicketId>,
    /// It must not begin before this moment.
    pub not_before: Option<Timestamp>,
    /// It must not begin before this other proposal is done.
    pub follows: Option<ProposalId>,
    /// Who proposes it.
    pub by: String,
    /// Why, for those who decide.
    pub why: String,
}

/// All that is known of one proposal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProposalStory {
    /// As it is now.
    pub proposal: Proposal,
    /// SHA-256 of what an approval would be given for; absent when its calls do not fit any more, or hold secrets.
    pub digest: Option<String>,
    /// Its calls as the plugin defines them now, while it waits; empty when they do not fit any more.
    pub calls: Vec<PlannedCall>,
    /// What every rule decides about the first call, as if it were approved now.
    pub rules: Vec<Ruling>,
    /// How the definitions differ from those that were approved; that makes the approval lapse.
    pub changes: Vec<String>,
    /// The proposal that undoes it.
    pub undone_by: Option<Proposal>,
    /// The calls that were made, in order.
    pub executions: Vec<Execution>,
    /// Its audit entries, in order.
    pub audit: Vec<AuditEntry>,
}

impl Service {
    /// Records a proposal. One that does not fit is recorded as rejected, and answered with its faults.
    pub async fn create_proposal(
        &self,
        request: ProposalRequest,
    ) -> Result<Proposal, ServiceError> {
        let subject = self.subject_of(request.ticket).await?;
        // Opened first: then the descriptor of a plugin that is asked for the first time is kept.
        let store = self.store().await?;
        let registry = self.registry(subject).await?;
        let written = written(subject, &registry, &request.action)?;
        let mark = Mark::now(&request.by, &request.why);
        match registry.prove(&written) {
            Ok(plan) if plan.shown().has_secrets => Err(ServiceError::Input(format!(
                "`{}` has secret parameters, which are not kept: run it directly, with `operator actions run`",
                written.name
            ))),
            Ok(plan) => {
                let new = NewProposal {
                    plan,
                    mark,
                    ticket: request.ticket,
                    not_before: request.not_before,
                    follows: request.follows,
                    undoes: None,
                };
                self.check_references(&new, subject).await?;
                Ok(actions::propose(store, &subject.actions, new).await?)
            }
            Err(fault) => {
                let (name, why) = (&subject.name, fault.to_string());
                let mark = Mark::now(&request.by, "");
                actions::propose_invalid(store, name, written, mark, &why).await?;
                Err(fault.into())
            }
        }
    }

    async fn subject_of(&self, ticket: Option<TicketId>) -> Result<&SubjectConfig, ServiceError> {
        match ticket {
            Some(id) => {
                let ticket = self.store().await?.ticket(id).await?;
                self.subject(Some(&ticket.subject))
            }
            None => self.subject(None),
        }
    }

    /// The ticket and the proposal that a new one names must exist, and the ticket must be of its subject.
    pub(crate) async fn check_references(
        &self,
        new: &NewProposal,
        subject: &SubjectConfig,
    ) -> Result<(), ServiceError> {
        let store = self.store().await?;
        if let Some(id) = new.ticket {
            let ticket = store.ticket(id).await?;
            if ticket.subject != subject.name {
                return Err(ServiceError::Input(format!(
                    "ticket {id} is of subject `{}`, not of `{}`",
                    ticket.subject, subject.name
                )));
            }
        }
        if let Some(id) = new.follows {
            store.proposal(id).await?;
        }
        Ok(())
    }

    /// A person approves a proposal. `seen` is the digest of what they were shown.
    pub async fn approve(
        &self,
        id: ProposalId,
        seen: &str,
        by: &str,
        note: &str,
    ) -> Result<Proposal, ServiceError> {
        let (context, proposal) = self.context_of(id).await?;
        refuse_secrets(&proposal)?;
        let registry = self.registry(&context.subject).await?;
        let plan = registry.prove(&proposal.plan)?;
        Ok(actions::approve(&context, id, &plan, seen, Mark::now(by, note)).await?)
    }

    /// A person rejects a proposal.
    pub async fn reject(
        &self,
        id: ProposalId,
        by: &str,
        note: &str,
    ) -> Result<Proposal, ServiceError> {
        let store = self.swept_store().await?;
        Ok(actions::refuse(store, id, &Mark::now(by, note)).await?)
    }

    /// A person withdraws a proposal before it has begun.
    pub async fn cancel(
        &self,
        id: ProposalId,
        by: &str,
        note: &str,
    ) -> Result<Proposal, ServiceError> {
        let store = self.swept_store().await?;
        Ok(actions::cancel(store, id, &Mark::now(by, note)).await?)
    }

    /// A person has inspected what a proposal left behind.
    pub async fn settle(
        &self,
        id: ProposalId,
        by: &str,
        note: &str,
    ) -> Result<Proposal, ServiceError> {
        let store = self.swept_store().await?;
        Ok(actions::settle(store, id, Mark::now(by, note)).await?)
    }

    /// The store, after what dead processes left there has been given up: there may be no daemon to do it.
    pub(crate) async fn swept_store(&self) -> Result<&Store, ServiceError> {
        let store = self.store().await?;
        for proposal in store.abandoned(Timestamp::now()).await? {
            actions::give_up(store, proposal.id).await?;
        }
        Ok(store)
    }

    async fn context_of(&self, id: ProposalId) -> Result<(ActionContext, Proposal), ServiceError> {
        let proposal = self.swept_store().await?.proposal(id).await?;
        let subject = self.subject(Some(&proposal.subject))?;
        Ok((self.recording(subject).await?, proposal))
    }

    /// Proposals for a listing, the latest first.
    pub async fn proposals(&self, filter: &ProposalFilter) -> Result<Vec<Proposal>, ServiceError> {
        Ok(self.reading().await?.proposals(filter).await?)
    }

    /// All that is known of one proposal.
    pub async fn proposal(&self, id: ProposalId) -> Result<ProposalStory, ServiceError> {
        let store = self.reading().await?;
        let proposal = store.proposal(id).await?;
        let filter = AuditFilter {
            proposal: Some(id),
            ..AuditFilter::default()
        };
        let undone_by = match store.undone_by(id).await? {
            Some(undoing) => Some(store.proposal(undoing).await?),
            None => None,
        };
        let pending = self.pending(&proposal).await.unwrap_or_default();
        Ok(ProposalStory {
            digest: pending.digest,
            calls: pending.calls,
            rules: pending.rules,
            changes: pending.changes,
            undone_by,
            executions: store.executions(id).await?,
            audit: store.audit(&filter).await?,
            proposal,
        })
    }

    /// What is shown of a proposal that waits for an approval or for its beginning; none if its calls do not fit any more.
    async fn pending(&self, proposal: &Proposal) -> Option<Pending> {
        let is_validated = proposal.state == ProposalState::Validated;
        let is_approved = proposal.state == ProposalState::Approved;
        if !(is_validated || is_approved) || proposal.plan.has_secrets {
            return None;
        }
        let subject = self.subject(Some(&proposal.subject)).ok()?;
        let registry = self.registry(subject).await.ok()?;
        let plan = registry.prove(&proposal.plan).ok()?;
        let context = self.recording(subject).await.ok()?;
        let rules = actions::rulings(&context, &plan, proposal.ticket).await;
        let approval = proposal.approval.as_ref().filter(|_| is_approved);
        let changes =
            approval.map(|approval| actions::changes(&approval.definitions, &plan.definitions()));
        Some(Pending {
            digest: is_validated.then(|| plan.digest(proposal.ticket)),
            calls: shown(&plan),
            rules: rules.ok()?,
            changes: changes.unwrap_or_default(),
        })
    }
}

#[derive(Default)]
struct Pending {
    digest: Option<String>,
    calls: Vec<PlannedCall>,
    rules: Vec<Ruling>,
    changes: Vec<String>,
}

/// A plan without its secret parameters is not what was proposed.
pub(crate) fn refuse_secrets(proposal: &Proposal) -> Result<(), ServiceError> {
    if proposal.plan.has_secrets {
        return Err(ServiceError::Input(format!(
            "proposal {} has secret parameters, which are not kept; run the action again with `operator actions run`",
            proposal.id
        )));
    }
    Ok(())
}
