//! Whether what was completed has helped: each cycle of the subject is taken into account.

use std::time::Duration;

use operator_model::{
    Assessment, AuditEvent, OPERATOR, Proof, Proposal, ProposalId, Timestamp, audit::Judged,
};
use operator_store::Change;

use super::{
    change::{change_freely, escalation, record},
    compensate::undo,
    context::ActionContext,
    crash::crash_point,
    error::{ActError, wrong_state},
    proof::{self, Progress},
};

const NOT_COMPLETED: &str = "only what is completed is verified";

/// Takes a cycle into account. `is_continuous`: this process has seen all cycles since the last one that counted.
pub(super) async fn prove(
    context: &ActionContext,
    proposal: &Proposal,
    assessment: &Assessment,
    is_continuous: bool,
) -> Result<(), ActError> {
    let (Some(known), Some(begun_at), Some(ended_at)) =
        (&proposal.proof, proposal.begun_at, proposal.ended_at)
    else {
        return Ok(());
    };
    if assessment.from <= ended_at {
        return Ok(());
    }
    let known = if is_continuous {
        known.clone()
    } else {
        resumed(known, assessment.at)
    };
    let view = context.store.gate_view(proposal, Timestamp::now()).await?;
    let progress = proof::judge(&known, begun_at, assessment, &view.live);
    match progress {
        Progress::Open(next) if Some(&next) == proposal.proof.as_ref() => Ok(()),
        Progress::Open(next) => note(context, proposal.id, next).await,
        Progress::Verified(next) => verified(context, proposal.id, next).await,
        Progress::Refuted(next) => {
            let refuted = refuted(context, proposal.id, next).await?;
            crash_point("refuted");
            undo(context, &refuted, "it did not help").await.map(drop)
        }
    }
}

/// The longest time between two cycles, as long as all goes well.
pub(super) fn longest_gap(context: &ActionContext) -> Duration {
    let deadlines = &context.subject.deadlines;
    context.subject.interval * 2 + deadlines.observe + deadlines.check + Duration::from_secs(1)
}

/// Nothing was observed since: in that time nothing is known to have held, nor could it have been seen to.
fn resumed(proof: &Proof, now: Timestamp) -> Proof {
    Proof {
        holding_since: None,
        until: proof
            .until
            .max(Timestamp(now.0.saturating_add(proof.window_ms))),
        ..proof.clone()
    }
}

/// What is known so far is kept, without an entry in the audit.
async fn note(context: &ActionContext, id: ProposalId, proof: Proof) -> Result<(), ActError> {
    change_freely(&context.store, id, |mut proposal| {
        proposal
            .prove(proof)
            .map_err(wrong_state(id, NOT_COMPLETED))?;
        Ok(Change::silent(proposal))
    })
    .await
    .map(drop)
}

async fn verified(context: &ActionContext, id: ProposalId, proof: Proof) -> Result<(), ActError> {
    let targets: Vec<_> = proof.targets.iter().map(ToString::to_string).collect();
    let window = Duration::from_millis(proof.window_ms.unsigned_abs());
    let window = humantime::format_duration(window);
    let message = if targets.is_empty() {
        format!("nothing was newly broken for {window}")
    } else {
        let targets = targets.join(", ");
        format!("{targets} held and nothing was newly broken for {window}")
    };
    change_freely(&context.store, id, |mut proposal| {
        proposal
            .verify(proof, message.clone())
            .map_err(wrong_state(id, NOT_COMPLETED))?;
        let event = AuditEvent::Verified(judged(&proposal, message));
        let record = record(&proposal, OPERATOR, event);
        Ok(Change::of(proposal, record))
    })
    .await
    .map(drop)
}

async fn refuted(
    context: &ActionContext,
    id: ProposalId,
    proof: Proof,
) -> Result<Proposal, ActError> {
    let message = format!("not verified: {}", proof.missing);
    change_freely(&context.store, id, |mut proposal| {
        proposal
            .refute(proof, message.clone())
            .map_err(wrong_state(id, NOT_COMPLETED))?;
        let note = format!("{id} {}: {message}", proposal.calls());
        let event = AuditEvent::NotVerified(judged(&proposal, message));
        let record = record(&proposal, OPERATOR, event);
        Ok(Change {
            ticket_event: Some(escalation(Timestamp::now(), note)),
            ..Change::of(proposal, record)
        })
    })
    .await
}

fn judged(proposal: &Proposal, message: String) -> Judged {
    Judged {
        message,
        proof: proposal.proof.clone(),
    }
}
