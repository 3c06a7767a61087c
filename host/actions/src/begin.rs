//! The beginning of a call: all rules are consulted, and the intent is recorded, in one transaction. If that fails, nothing runs.

use std::sync::Arc;

use operator_model::{
    AuditEvent, Consequence, Execution, GateView, HeldBack, Lease, OPERATOR, Proof, Proposal,
    ProposalId, ProposalState, RuleRefusal, TicketKey, Timestamp, Transition,
    audit::{self, End, Refused, Why},
};
use operator_plugin_api::Risk;
use operator_policy::{self as policy, Approved, Case, ValidPlan};
use operator_store::Change;
use serde_json::Value;

use super::{
    change::{change, record},
    context::{ActionContext, LEASE, new_key},
    error::{ActError, GateError, wrong_state},
};

/// A call that may be made now, and is recorded to be.
#[derive(Debug)]
pub struct Begun {
    /// How often the kill switch had been engaged by then.
    pub engagements: i64,
    /// The permission.
    pub approved: Approved,
    /// The proposal as it is now.
    pub proposal: Proposal,
    /// The call's row.
    pub execution: Execution,
    /// The call's idempotency key: the same for every attempt.
    pub key: String,
}

/// Lets the next call of a proposal begin, or draws the consequence of the rule that refuses it.
pub(super) async fn begin(
    context: &ActionContext,
    id: ProposalId,
    plan: &Arc<ValidPlan>,
) -> Result<Begun, ActError> {
    let mut begun = None;
    let mut engagements = 0;
    let mut refused = None;
    let changed = change(context, id, |proposal, view| {
        match permitted(context, proposal.clone(), &view, plan) {
            Ok((change, permission)) => {
                begun = Some(permission);
                engagements = view.control.engagements;
                Ok(change)
            }
            // In the same transaction: nobody can begin it between the ruling and its consequence.
            Err(GateError::ByRule { refusal, .. }) => {
                refused = Some(refusal.clone());
                consequence(proposal, &context.owner, &refusal, plan.risk())
            }
            Err(error) => Err(error),
        }
    })
    .await;
    match (changed, begun, refused) {
        (Ok(proposal), Some((approved, execution)), _) => Ok(Begun {
            engagements,
            key: format!("{}-{}", proposal.call_key, execution.step + 1),
            approved,
            proposal,
            execution,
        }),
        (Ok(proposal), _, Some(refusal)) => {
            let fails = proposal.state == ProposalState::Failed;
            Err(GateError::ByRule { id, refusal, fails }.into())
        }
        // The consequence has been drawn before.
        (Err(ActError::Refused(_)), _, Some(refusal)) => {
            let fails = false;
            Err(GateError::ByRule { id, refusal, fails }.into())
        }
        (Err(error), _, _) => Err(error),
        (Ok(proposal), None, None) => Err(GateError::State {
            id,
            state: proposal.state,
            what: "it did not begin",
        }
        .into()),
    }
}

fn permitted(
    context: &ActionContext,
    mut proposal: Proposal,
    view: &GateView,
    plan: &Arc<ValidPlan>,
) -> Result<(Change, (Approved, Execution)), GateError> {
    let id = proposal.id;
    let now = Timestamp::now();
    let refused = wrong_state(id, "only what is approved can begin");
    let is_next_step = proposal.is_executed_by(&context.owner);
    if !is_next_step && proposal.state.after(Transition::Begun).is_none() {
        let state = proposal.state;
        return Err(refused(operator_model::WrongState { state }));
    }
    let case = Case {
        plan,
        step: proposal.step,
        proposal: &proposal,
        view,
        rules: &context.subject.actions,
        now,
    };
    let (approved, rulings) =
        policy::permit(plan, case).map_err(|(refusal, _)| GateError::ByRule {
            id,
            refusal,
            fails: false,
        })?;
    let proof = plan.acts().then(|| proof(context, plan, view, &proposal));
    let lease = Lease {
        owner: context.owner.clone(),
        until: now.plus(LEASE),
    };
    let note = format!("runs {}", approved.described());
    proposal.begin(lease, note, proof, now).map_err(refused)?;
    let execution = execution(&proposal, &approved, now);
    let event = AuditEvent::Begun(audit::Begun {
        call: approved.described(),
        step: execution.step + 1,
        attempt: execution.attempt,
        approved_by: approved.by().to_owned(),
        rules: rulings,
    });
    let record = record(&proposal, approved.by(), event);
    let change = Change {
        begins: Some(execution.clone()),
        ..Change::of(proposal, record)
    };
    Ok((change, (approved, execution)))
}

fn execution(proposal: &Proposal, approved: &Approved, now: Timestamp) -> Execution {
    let call = approved.call();
    Execution {
        id: new_key(),
        proposal: proposal.id,
        step: proposal.step,
        attempt: proposal.attempt,
        subject: proposal.subject.clone(),
        action: call.definition().name.clone(),
        params: Value::Object(call.shown_params()),
        resources: call.resources(),
        is_tool: call.is_tool(),
        begun_at: now,
        end: None,
    }
}

/// What must hold afterwards, and what did not hold before.
fn proof(context: &ActionContext, plan: &ValidPlan, view: &GateView, proposal: &Proposal) -> Proof {
    let rules = &context.subject.actions;
    let windows = plan
        .calls()
        .map(|call| rules.verify_window(&call.definition().name));
    Proof {
        targets: targets(proposal, view),
        baseline: view.live.iter().map(|ticket| ticket.key.clone()).collect(),
        window_ms: operator_model::millis(windows.max().unwrap_or_default()),
        until: Timestamp(i64::MAX),
        holding_since: None,
        missing: String::new(),
        broke: Vec::new(),
    }
}

/// The ticket's invariant. What undoes another proposal does not fix the ticket, and is not meant to.
fn targets(proposal: &Proposal, view: &GateView) -> Vec<TicketKey> {
    let ticket = view.ticket.iter().filter(|_| proposal.undoes.is_none());
    ticket.map(|ticket| ticket.key.clone()).collect()
}

/// What follows when a rule refuses a call.
fn consequence(
    mut proposal: Proposal,
    owner: &str,
    refusal: &RuleRefusal,
    risk: Risk,
) -> Result<Change, GateError> {
    let event = refuse_call(&mut proposal, owner, refusal)?;
    // Whoever decides about it next must see what it is now.
    proposal.reassess(risk);
    let record = record(&proposal, OPERATOR, event);
    Ok(Change::of(proposal, record))
}

/// Only its owner knows that what is being executed is between two calls.
fn refuse_call(
    proposal: &mut Proposal,
    owner: &str,
    refusal: &RuleRefusal,
) -> Result<AuditEvent, GateError> {
    let id = proposal.id;
    let now = Timestamp::now();
    let held_back = HeldBack::from(refusal);
    let note = held_back.to_string();
    let refused = Refused {
        refusal: refusal.clone(),
    };
    let over = wrong_state(id, "it is over");
    if proposal.state.is_executing() && !proposal.is_executed_by(owner) {
        let state = proposal.state;
        let refused = wrong_state(id, "another process carries it out");
        return Err(refused(operator_model::WrongState { state }));
    }
    if proposal.state.is_executing() {
        proposal.fail_between_calls(note, now).map_err(over)?;
        return Ok(AuditEvent::Failed(End::Rule(refused)));
    }
    match refusal.consequence {
        Consequence::Defer => {
            let known = proposal.held_back.as_ref();
            if known.is_some_and(|known| known.is_by(refusal.rule)) {
                return Err(GateError::Other { id, what: note });
            }
            proposal.hold_back(held_back).map_err(over)?;
            Ok(AuditEvent::HeldBack(refused))
        }
        Consequence::Lapse => {
            let transition = proposal.lapse(note, now).map_err(over)?;
            Ok(lapsed(transition, End::Rule(refused)))
        }
        Consequence::Reject => {
            proposal.reject(note, now).map_err(over)?;
            Ok(AuditEvent::Rejected(End::Rule(refused)))
        }
    }
}

/// The approval of a proposal has expired before it began, or between two attempts.
pub(super) async fn lapse(context: &ActionContext, id: ProposalId) -> Result<Proposal, ActError> {
    change(context, id, |mut proposal, _| {
        let now = Timestamp::now();
        if !proposal.is_expired(now) {
            return Err(GateError::Other {
                id,
                what: "its approval is still valid".to_owned(),
            });
        }
        let why = match &proposal.held_back {
            Some(rule) => format!("its approval expired while it was held back: {rule}"),
            None => "its approval expired".to_owned(),
        };
        let transition = proposal
            .lapse(why.clone(), now)
            .map_err(wrong_state(id, "it has begun"))?;
        let event = lapsed(transition, End::Decision(Why { why }));
        let record = record(&proposal, OPERATOR, event);
        Ok(Change::of(proposal, record))
    })
    .await
}

fn lapsed(transition: Transition, end: End) -> AuditEvent {
    match transition {
        Transition::Cancelled => AuditEvent::Cancelled(end),
        _ => AuditEvent::Lapsed(end),
    }
}

#[cfg(test)]
#[path = "tests/begin.rs"]
mod tests;
