//! Carrying out an action or a proposal in this process, at once.

use std::time::Duration;

use operator_actions::{self as actions, ActError, GateError, NewProposal, Shutdown, ValidPlan};
use operator_config::SubjectConfig;
use operator_model::{Mark, Proposal, ProposalId, ProposalState, TicketId};
use tokio::sync::watch;

use super::{Plan, Service, ServiceError, proposals::refuse_secrets};

/// How often a proposal that another process carries out is read again.
const POLL: Duration = Duration::from_millis(100);

/// What a person runs at once, and why.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// What they were shown.
    pub plan: Plan,
    /// The ticket that it is meant to fix.
    pub ticket: Option<TicketId>,
    /// Who runs it.
    pub by: String,
    /// Why, for the audit.
    pub why: String,
}

/// What became of a proposal that was carried out.
#[derive(Debug, Clone)]
pub struct Performed {
    /// As it is now.
    pub proposal: Proposal,
    /// The proposal that undid it, if it failed and its plan demands that.
    pub undone_by: Option<Proposal>,
}

/// Ends what is being carried out. Cheap to clone; clones interrupt the same.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Sender<Shutdown>);

impl Default for Interrupt {
    fn default() -> Self {
        Self(watch::channel(Shutdown::None).0)
    }
}

impl Interrupt {
    /// Waits for no call that is under way. `signal` is recorded as the reason.
    pub fn now(&self, signal: &'static str) {
        self.0.send_replace(Shutdown::Immediate(signal));
    }

    fn listen(&self) -> watch::Receiver<Shutdown> {
        self.0.subscribe()
    }
}

impl Service {
    /// Records what a person runs at once, as proposed and approved by them, and carries it out.
    pub async fn run(
        &self,
        request: RunRequest,
        interrupt: &Interrupt,
    ) -> Result<Performed, ServiceError> {
        let plan = request.plan.valid().clone();
        let subject = self.subject(Some(plan.subject()))?;
        let by = request.by.clone();
        let id = self.propose_and_approve(subject, request).await?.id;
        match self.perform(id, Some(plan), interrupt).await {
            // It was meant for now: it must not run later, unexpected.
            Err(error @ ServiceError::Refused(GateError::ByRule { .. })) => {
                // One that the rule has ended already cannot be cancelled, and need not be.
                let _ = self
                    .cancel(id, &by, "it was refused when it was to run")
                    .await;
                Err(error)
            }
            performed => performed,
        }
    }

    /// Carries out an approved proposal.
    pub async fn run_proposal(
        &self,
        id: ProposalId,
        interrupt: &Interrupt,
    ) -> Result<Performed, ServiceError> {
        self.perform(id, None, interrupt).await
    }

    async fn propose_and_approve(
        &self,
        subject: &SubjectConfig,
        request: RunRequest,
    ) -> Result<Proposal, ServiceError> {
        let context = self.recording(subject).await?;
        let plan = request.plan.into_valid();
        let mark = Mark::now(&request.by, &request.why);
        let digest = plan.digest(request.ticket);
        let new = NewProposal {
            plan: plan.clone(),
            mark: mark.clone(),
            ticket: request.ticket,
            not_before: None,
            follows: None,
            undoes: None,
        };
        self.check_references(&new, subject).await?;
        let proposal = actions::propose(&context.store, &subject.actions, new).await?;
        if proposal.state == ProposalState::Approved {
            return Ok(proposal);
        }
        let approved = actions::approve(&context, proposal.id, &plan, &digest, mark).await;
        if approved.is_err() {
            let why = Mark::now(&request.by, "it was refused when it was to run");
            actions::cancel(&context.store, proposal.id, &why).await?;
        }
        Ok(approved?)
    }

    /// `given` is the plan with its secrets, where it was made in this process.
    async fn perform(
        &self,
        id: ProposalId,
        given: Option<ValidPlan>,
        interrupt: &Interrupt,
    ) -> Result<Performed, ServiceError> {
        let store = self.swept_store().await?;
        let proposal = store.proposal(id).await?;
        if given.is_none() {
            refuse_secrets(&proposal)?;
        }
        let subject = self.subject(Some(&proposal.subject))?;
        let context = self.action_context(subject, store.clone(), interrupt.listen());
        let is_new = given.is_some();
        let performed = context.perform(id, given).await;
        if is_new && matches!(performed, Err(ActError::Refused(GateError::State { .. }))) {
            // A running daemon takes what is approved as soon as it sees it, also what was meant for this process.
            return Ok(Performed {
                proposal: self.follow(id, interrupt).await?,
                undone_by: None,
            });
        }
        let undone_by = match actions::compensate(&context, &performed).await? {
            Some(undoing) if undoing.state == ProposalState::Approved => {
                Some(context.perform(undoing.id, None).await?)
            }
            undoing => undoing,
        };
        Ok(Performed {
            proposal: performed?,
            undone_by,
        })
    }

    /// Waits for the end of what another process carries out, or for the interrupt.
    async fn follow(
        &self,
        id: ProposalId,
        interrupt: &Interrupt,
    ) -> Result<Proposal, ServiceError> {
        let mut interrupted = interrupt.listen();
        loop {
            let proposal = self.store().await?.proposal(id).await?;
            if !matches!(
                proposal.state,
                ProposalState::Approved | ProposalState::Executing
            ) {
                return Ok(proposal);
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                Ok(_) = interrupted.wait_for(|state| *state != Shutdown::None) => return Ok(proposal),
            }
        }
    }
}
