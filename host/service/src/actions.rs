//! What people and programs want done, and what became of it.

use std::time::Duration;

use operator_actions::{
    self as actions, ActError, ActionContext, Consequence, GateError, NewProposal, Registry,
    Ruling, Shutdown, ValidPlan, needs_a_person,
};
use operator_config::{self as config, SubjectConfig};
use operator_model::{
    AuditEntry, Execution, Mark, OnFailure, Plan, PlanStep, Proposal, ProposalId, ProposalState,
    TicketId, Timestamp, When, nearest,
};
use operator_store::{AuditFilter, ProposalFilter, Store};
use serde::Serialize;
use serde_json::Map;
use tokio::sync::watch;

use super::{Service, ServiceError};

/// Between two looks at what another process carries out.
const FOLLOW: Duration = Duration::from_millis(100);

/// What somebody wants done, as they wrote it.
#[derive(Debug, Clone)]
pub enum Wanted<'a> {
    /// One call: an action or a tool, and its parameters as `key=value`.
    Call(&'a str, &'a [String]),
    /// A workflow of the configuration.
    Workflow(&'a str),
}

/// A wish that was proven to fit, and is not recorded yet.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What would be done.
    pub plan: ValidPlan,
    /// Whether a person must agree to it.
    pub needs_a_person: bool,
}

/// What would happen, without anything transition.
#[derive(Debug, Clone, Serialize)]
pub struct DryRun {
    /// The calls, without secrets.
    pub plan: Plan,
    /// What they touch.
    pub resources: Vec<String>,
    /// What every rule says of the first call, as if it were approved now.
    pub rules: Vec<Ruling>,
    /// What the plugin says of each call; none where it offers nothing.
    pub previews: Vec<Option<String>>,
}

/// All that is known of one proposal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProposalStory {
    /// As it is now.
    pub proposal: Proposal,
    /// SHA-256 of what an approval would be given for; absent when its calls do not fit any more, or hold secrets.
    pub digest: Option<String>,
    /// The calls that were made, in order.
    pub executions: Vec<Execution>,
    /// What the audit says of it, in order.
    pub audit: Vec<AuditEntry>,
}

impl Service {
    pub(crate) fn stage(
        &self,
        subject: &SubjectConfig,
        store: Store,
        ending: watch::Receiver<Shutdown>,
    ) -> ActionContext {
        ActionContext {
            store,
            subject: subject.clone(),
            around: self.around().clone(),
            owner: uuid::Uuid::now_v7().to_string(),
            ending,
        }
    }

    /// For what is not carried out here.
    async fn desk(&self, subject: &SubjectConfig) -> Result<ActionContext, ServiceError> {
        let (_, ending) = watch::channel(Shutdown::None);
        Ok(self.stage(subject, self.store().await?.clone(), ending))
    }

    async fn registry(&self, subject: &SubjectConfig) -> Result<Registry, ServiceError> {
        Ok(Registry::new(&subject.name, self.actions(subject).await?))
    }

    /// Proves that a wish fits. Records nothing.
    pub async fn plan(
        &self,
        subject: &SubjectConfig,
        wanted: &Wanted<'_>,
    ) -> Result<Planned, ServiceError> {
        let registry = self.registry(subject).await?;
        let plan = registry.prove(&written(subject, &registry, wanted)?)?;
        Ok(Planned {
            needs_a_person: needs_a_person(&plan, &subject.actions),
            plan,
        })
    }

    /// Records a wish. One that does not fit is recorded as rejected, and answered with its faults.
    pub async fn propose(
        &self,
        subject: &SubjectConfig,
        wanted: &Wanted<'_>,
        wish: impl FnOnce(ValidPlan) -> NewProposal,
        by: &str,
    ) -> Result<Proposal, ServiceError> {
        let registry = self.registry(subject).await?;
        let store = self.store().await?;
        let written = written(subject, &registry, wanted)?;
        match registry.prove(&written) {
            Ok(plan) if plan.shown().has_secrets => Err(ServiceError::Input(format!(
                "`{}` has secret parameters, which are not kept: run it directly, with `operator actions run`",
                written.name
            ))),
            Ok(plan) => {
                let wish = wish(plan);
                self.check_references(&wish, subject).await?;
                Ok(actions::propose(store, &subject.actions, wish).await?)
            }
            Err(fault) => {
                let why = fault.to_string();
                let mark = Mark::now(by, "");
                actions::propose_invalid(store, &subject.name, written, mark, &why).await?;
                Err(fault.into())
            }
        }
    }

    /// Whether the ticket and the proposal that a wish names are there, and of its subject.
    async fn check_references(
        &self,
        wish: &NewProposal,
        subject: &SubjectConfig,
    ) -> Result<(), ServiceError> {
        let store = self.store().await?;
        if let Some(id) = wish.ticket {
            let ticket = store.ticket(id).await?;
            if ticket.subject != subject.name {
                return Err(ServiceError::Input(format!(
                    "ticket {id} is of subject `{}`, not of `{}`",
                    ticket.subject, subject.name
                )));
            }
        }
        if let Some(id) = wish.follows {
            store.proposal(id).await?;
        }
        Ok(())
    }

    /// Records what a person runs at once: proposed, and approved by them.
    pub async fn propose_and_approve(
        &self,
        subject: &SubjectConfig,
        plan: ValidPlan,
        ticket: Option<TicketId>,
        by: &str,
        note: &str,
    ) -> Result<Proposal, ServiceError> {
        let stage = self.desk(subject).await?;
        let digest = plan.digest(ticket);
        let wish = NewProposal {
            plan: plan.clone(),
            mark: Mark::now(by, note),
            ticket,
            not_before: None,
            follows: None,
            undoes: None,
        };
        self.check_references(&wish, subject).await?;
        let proposal = actions::propose(&stage.store, &subject.actions, wish).await?;
        if proposal.state == ProposalState::Approved {
            return Ok(proposal);
        }
        let approved =
            actions::approve(&stage, proposal.id, &plan, &digest, Mark::now(by, note)).await;
        if approved.is_err() {
            // It was meant for here and now.
            let why = Mark::now(by, "it was refused when it was to run");
            actions::cancel(&stage.store, proposal.id, &why).await?;
        }
        Ok(approved?)
    }

    /// A person's yes to a proposal. `seen` is the digest of what they were shown.
    pub async fn approve(
        &self,
        id: ProposalId,
        seen: &str,
        by: &str,
        note: &str,
    ) -> Result<Proposal, ServiceError> {
        let (stage, proposal) = self.stage_of(id).await?;
        refuse_secrets(&proposal)?;
        let plan = self.registry(&stage.subject).await?.prove(&proposal.plan)?;
        Ok(actions::approve(&stage, id, &plan, seen, Mark::now(by, note)).await?)
    }

    /// A person's no.
    pub async fn reject(
        &self,
        id: ProposalId,
        by: &str,
        note: &str,
    ) -> Result<Proposal, ServiceError> {
        let store = self.swept_store().await?;
        Ok(actions::refuse(store, id, &Mark::now(by, note)).await?)
    }

    /// A person takes a proposal back.
    pub async fn cancel(
        &self,
        id: ProposalId,
        by: &str,
        note: &str,
    ) -> Result<Proposal, ServiceError> {
        let store = self.swept_store().await?;
        Ok(actions::cancel(store, id, &Mark::now(by, note)).await?)
    }

    /// A person has looked at what a proposal left behind.
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

    async fn stage_of(&self, id: ProposalId) -> Result<(ActionContext, Proposal), ServiceError> {
        let proposal = self.swept_store().await?.proposal(id).await?;
        let subject = self.subject(Some(&proposal.subject))?;
        Ok((self.desk(subject).await?, proposal))
    }

    /// Carries out an approved proposal in this process. If it fails, and its plan says so, what takes it back is carried out
    /// too: that is the second one.
    pub async fn perform(
        &self,
        id: ProposalId,
        given: Option<ValidPlan>,
        ending: watch::Receiver<Shutdown>,
    ) -> Result<(Proposal, Option<Proposal>), ServiceError> {
        let store = self.swept_store().await?;
        let proposal = store.proposal(id).await?;
        if given.is_none() {
            refuse_secrets(&proposal)?;
        }
        let subject = self.subject(Some(&proposal.subject))?;
        let stage = self.stage(subject, store.clone(), ending.clone());
        let is_new = given.is_some();
        let performed = stage.perform(id, given).await;
        if is_new && matches!(performed, Err(ActError::Refused(GateError::State { .. }))) {
            // A running daemon takes what is approved as soon as it sees it, also what was meant for this process.
            return Ok((self.follow(id, ending).await?, None));
        }
        let undoing = match actions::compensate(&stage, id).await? {
            Some(undoing) if undoing.state == ProposalState::Approved => {
                Some(stage.perform(undoing.id, None).await?)
            }
            undoing => undoing,
        };
        Ok((performed?, undoing))
    }

    /// Waits for the end of what another process carries out, or of this one.
    async fn follow(
        &self,
        id: ProposalId,
        mut ending: watch::Receiver<Shutdown>,
    ) -> Result<Proposal, ServiceError> {
        loop {
            let proposal = self.store().await?.proposal(id).await?;
            if !matches!(
                proposal.state,
                ProposalState::Approved | ProposalState::Executing
            ) {
                return Ok(proposal);
            }
            tokio::select! {
                () = tokio::time::sleep(FOLLOW) => {}
                Ok(_) = ending.wait_for(|ending| *ending != Shutdown::None) => return Ok(proposal),
            }
        }
    }

    /// What a wish would do. Nothing is done and nothing is recorded.
    pub async fn dry_run(
        &self,
        subject: &SubjectConfig,
        plan: &ValidPlan,
        ticket: Option<TicketId>,
    ) -> Result<DryRun, ServiceError> {
        let stage = self.desk(subject).await?;
        let rules = actions::rulings(&stage, plan, ticket).await?;
        let forbidden = rules.iter().any(|ruling| {
            ruling
                .refuses
                .is_some_and(|weight| weight != Consequence::Defer)
        });
        let (connected, _) = stage.connect().await?;
        let mut previews = Vec::new();
        for call in plan.calls() {
            // Whether a plugin keeps its word on a dry run is not tried where nothing may run.
            let preview = if forbidden {
                Ok(None)
            } else {
                stage.preview(call, &connected).await
            };
            previews.push(preview);
        }
        connected.observer.shutdown().await;
        Ok(DryRun {
            plan: plan.shown(),
            resources: plan.resources(),
            rules,
            previews: previews.into_iter().collect::<Result<_, _>>()?,
        })
    }

    /// Proposals for a listing, the latest first.
    pub async fn proposals(&self, filter: &ProposalFilter) -> Result<Vec<Proposal>, ServiceError> {
        Ok(self.store().await?.proposals(filter).await?)
    }

    /// All that is known of one proposal.
    pub async fn proposal(&self, id: ProposalId) -> Result<ProposalStory, ServiceError> {
        let store = self.store().await?;
        let proposal = store.proposal(id).await?;
        let filter = AuditFilter {
            proposal: Some(id),
            ..AuditFilter::default()
        };
        Ok(ProposalStory {
            digest: self.digest(&proposal).await,
            executions: store.executions(id).await?,
            audit: store.audit(&filter).await?,
            proposal,
        })
    }

    /// What an approval would be given for now.
    async fn digest(&self, proposal: &Proposal) -> Option<String> {
        if proposal.state != ProposalState::Validated || proposal.plan.has_secrets {
            return None;
        }
        let subject = self.subject(Some(&proposal.subject)).ok()?;
        let registry = self.registry(subject).await.ok()?;
        let plan = registry.prove(&proposal.plan).ok()?;
        Some(plan.digest(proposal.ticket))
    }
}

/// What is kept of secret parameters is no longer what was meant.
fn refuse_secrets(proposal: &Proposal) -> Result<(), ServiceError> {
    if proposal.plan.has_secrets {
        return Err(ServiceError::Input(format!(
            "proposal {} has secret parameters, which are not kept; run it anew with `operator actions run`",
            proposal.id
        )));
    }
    Ok(())
}

/// The plan as it was written, with what was typed read by the schemas.
fn written(
    subject: &SubjectConfig,
    registry: &Registry,
    wanted: &Wanted<'_>,
) -> Result<Plan, ServiceError> {
    match wanted {
        Wanted::Call(action, arguments) => {
            let params = match registry.find(action) {
                Some(definition) => config::arguments(&definition.params_schema, arguments)?,
                None => Map::new(),
            };
            Ok(Plan {
                name: (*action).to_owned(),
                steps: vec![PlanStep {
                    action: (*action).to_owned(),
                    params,
                    when: When::Done,
                }],
                on_failure: OnFailure::Stop,
                has_secrets: false,
            })
        }
        Wanted::Workflow(name) => {
            let names = subject.workflows.keys().map(String::as_str);
            let workflow = subject.workflows.get(*name).ok_or_else(|| {
                let fix = nearest(name, names)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                ServiceError::Input(format!(
                    "subject `{}` has no workflow `{name}`{fix}",
                    subject.name
                ))
            })?;
            Ok(workflow.plan.clone())
        }
    }
}
