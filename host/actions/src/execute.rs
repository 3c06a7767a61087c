//! Carries out what was approved, call by call: the intent is recorded before each call, the outcome after it.

use std::{sync::Arc, time::Duration};

use operator_loader::Invoker;
use operator_model::{Mark, OPERATOR, Proposal, ProposalId, ProposalState, Timestamp};
use operator_plugin_api::Outcome;
use operator_policy::{Registry, ValidPlan};
use operator_subject::PreparedSubject;

use super::{
    begin::{Begun, begin},
    call::CallEnd,
    context::{ActionContext, new_key},
    crash::crash_point,
    decide,
    error::{ActError, chain},
    finish::finish,
};

/// Between attempts to record a known outcome. The outcome is worth some patience.
const RECORDING_PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

impl ActionContext {
    /// Carries out an approved proposal, to its end or to the point where it has to wait. `given` is the plan
    /// with its secrets, when it was proposed in this very process.
    pub async fn perform(
        &self,
        id: ProposalId,
        given: Option<ValidPlan>,
    ) -> Result<Proposal, ActError> {
        // A new one each time: what one task has begun, no other continues.
        let context = Self {
            owner: new_key(),
            ..self.clone()
        };
        let (connected, registry) = context.connect().await?;
        let performed = context.perform_with(id, given, &connected, &registry).await;
        // A worker that was killed, or is still busy, is not asked to end.
        if matches!(&performed, Ok(proposal) if proposal.state != ProposalState::OutcomeUnknown) {
            connected.observer.shutdown().await;
        } else {
            let invoker = Invoker::new(&connected.observer, operator_policy::Acting);
            invoker.kill().await;
        }
        performed
    }

    async fn perform_with(
        &self,
        id: ProposalId,
        given: Option<ValidPlan>,
        connected: &PreparedSubject,
        registry: &Registry,
    ) -> Result<Proposal, ActError> {
        let proposal = self.store.proposal(id).await?;
        let plan = match given {
            Some(plan) => plan,
            None => match registry.prove(&proposal.plan) {
                Ok(plan) => plan,
                Err(fault) => {
                    let mark = Mark::now(OPERATOR, &fault.to_string());
                    decide::refuse(&self.store, id, &mark).await?;
                    return Err(fault.into());
                }
            },
        };
        let plan = Arc::new(plan);
        loop {
            crash_point("approved");
            let begun = begin(self, id, &plan).await?;
            crash_point("begun");
            let called = self.call(&begun, connected).await;
            crash_point("answered");
            let proposal = self.record(begun, called).await?;
            crash_point("recorded");
            match (proposal.state, proposal.not_before) {
                (ProposalState::Executing, _) => {}
                (ProposalState::Approved, Some(at)) if self.wait_until(at).await => {}
                _ => return Ok(proposal),
            }
        }
    }

    /// Waits for the time of another attempt. False when the process is to end first; then the next process makes it.
    async fn wait_until(&self, until: Timestamp) -> bool {
        tokio::select! {
            () = tokio::time::sleep(Timestamp::now().until(until)) => true,
            _ = self.shutdown(true) => false,
        }
    }

    /// Records how a call ended, trying a few times.
    async fn record(&self, begun: Begun, ended: CallEnd) -> Result<Proposal, ActError> {
        for pause in RECORDING_PAUSES {
            match finish(self, &begun, &ended).await {
                Err(ActError::Store(error)) => {
                    tracing::debug!("tried again in {pause:?}: {}", chain(&error));
                }
                recorded => return recorded,
            }
            tokio::time::sleep(pause).await;
        }
        finish(self, &begun, &ended)
            .await
            .map_err(|error| match error {
                ActError::Store(cause) => ActError::Unrecorded {
                    what: format!("{}: {}", word(ended.end.outcome), ended.end.message),
                    cause,
                },
                error => error,
            })
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Unknown => "outcome unknown",
    }
}
