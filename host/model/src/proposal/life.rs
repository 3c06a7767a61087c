//! The life of a proposal, in its order. Each method makes one transition, and keeps what belongs together: only what is
//! executing has an owner and a lease, only what is over has an end.

use super::{
    Approval, Proof, Proposal, ProposalId, ProposalParts, ProposalState, Transition, WrongState,
};
use crate::{HeldBack, Mark, OnFailure, Timestamp};
use operator_plugin_api::Risk;

/// Who carries out a proposal, and until when that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The process.
    pub owner: String,
    /// If it is not renewed by then, the process is taken for dead.
    pub until: Timestamp,
}

impl Proposal {
    /// Gives it the number under which it is kept.
    pub fn number(&mut self, id: ProposalId) {
        self.0.id = id;
    }

    /// Its calls were checked and fit.
    pub fn validate(&mut self) -> Result<(), WrongState> {
        self.enter(Transition::Validated)
    }

    /// It may run, as long as the approval is valid.
    pub fn approve(&mut self, approval: Approval) -> Result<(), WrongState> {
        self.enter(Transition::Approved)?;
        self.0.approval = Some(approval);
        Ok(())
    }

    /// A rule keeps it from beginning for now; its approval stays.
    pub fn hold_back(&mut self, by: HeldBack) -> Result<(), WrongState> {
        if self.state != ProposalState::Approved {
            return Err(WrongState { state: self.state });
        }
        self.0.note = by.to_string();
        self.0.held_back = Some(by);
        Ok(())
    }

    /// Its approval is no longer valid. What has not begun may be approved anew; what has, or was to undo something, is over
    /// and keeps the approval that it began with. Answers which of them happened.
    pub fn lapse(&mut self, note: String, now: Timestamp) -> Result<Transition, WrongState> {
        if self.state.after(Transition::Lapsed).is_none() {
            return Err(WrongState { state: self.state });
        }
        if self.leaves_something() {
            self.over(Transition::Cancelled, note, now)?;
            self.0.half_done = true;
            return Ok(Transition::Cancelled);
        }
        self.enter(Transition::Lapsed)?;
        self.0.approval = None;
        self.0.note = note;
        Ok(Transition::Lapsed)
    }

    /// It will never run, or not go on.
    pub fn reject(&mut self, note: String, now: Timestamp) -> Result<(), WrongState> {
        self.over(Transition::Rejected, note, now)?;
        self.0.half_done = self.leaves_something();
        Ok(())
    }

    /// It is ended before it does anything more. Between two calls only the steps that were done are left behind.
    pub fn cancel(&mut self, note: String, now: Timestamp) -> Result<(), WrongState> {
        let has_acted = if self.state.is_executing() {
            self.step > 0 || self.undoes.is_some()
        } else {
            self.leaves_something()
        };
        self.over(Transition::Cancelled, note, now)?;
        self.0.half_done = has_acted;
        Ok(())
    }

    /// The owner of the lease is about to make the next call. The first call sets what must be proven afterwards.
    pub fn begin(
        &mut self,
        lease: Lease,
        note: String,
        proof: Option<Proof>,
        now: Timestamp,
    ) -> Result<(), WrongState> {
        if !self.is_executed_by(&lease.owner) {
            self.enter(Transition::Begun)?;
        }
        if self.begun_at.is_none() {
            self.0.begun_at = Some(now);
            self.0.proof = proof;
        }
        self.0.attempt += 1;
        self.0.owner = Some(lease.owner);
        self.0.lease_until = Some(lease.until);
        self.0.not_before = None;
        self.0.note = note;
        Ok(())
    }

    /// Whether this process carries it out.
    pub fn is_executed_by(&self, owner: &str) -> bool {
        self.state.is_executing() && self.owner.as_deref() == Some(owner)
    }

    /// A call has ended, and its plan goes on with this step.
    pub fn advance(&mut self, step: usize, note: String) -> Result<(), WrongState> {
        if !self.state.is_executing() {
            return Err(WrongState { state: self.state });
        }
        self.0.step = step;
        self.0.attempt = 0;
        self.0.note = note;
        Ok(())
    }

    /// A call will be made again, not before this.
    pub fn postpone(&mut self, until: Timestamp, note: String) -> Result<(), WrongState> {
        self.enter(Transition::Postponed)?;
        self.0.not_before = Some(until);
        self.0.note = note;
        Ok(())
    }

    /// All of it was done.
    pub fn complete(&mut self, note: String, now: Timestamp) -> Result<(), WrongState> {
        self.over(Transition::Completed, note, now)
    }

    /// A call failed, and the plan ends.
    pub fn fail(&mut self, note: String, now: Timestamp) -> Result<(), WrongState> {
        self.over(Transition::Failed, note, now)?;
        self.0.half_done = self.undoes.is_some();
        Ok(())
    }

    /// A rule refused a later step: between two calls there is nothing to wait for.
    pub fn fail_between_calls(&mut self, note: String, now: Timestamp) -> Result<(), WrongState> {
        self.over(Transition::Failed, note, now)?;
        self.0.half_done = self.plan.on_failure == OnFailure::Stop;
        Ok(())
    }

    /// The effect of a call is not known.
    pub fn lose_track(&mut self, note: String, now: Timestamp) -> Result<(), WrongState> {
        self.over(Transition::LostTrack, note, now)
    }

    /// If it is not verified by then, it has not helped.
    pub fn prove_by(&mut self, until: Timestamp) {
        if let Some(proof) = &mut self.0.proof {
            proof.until = until;
        }
    }

    /// What is known after another cycle.
    pub fn prove(&mut self, proof: Proof) -> Result<(), WrongState> {
        if self.state != ProposalState::Completed {
            return Err(WrongState { state: self.state });
        }
        self.0.proof = Some(proof);
        Ok(())
    }

    /// Later observations have shown that it helped and broke nothing.
    pub fn verify(&mut self, proof: Proof, note: String) -> Result<(), WrongState> {
        self.judge(Transition::Verified, proof, note)
    }

    /// Later observations have not shown that.
    pub fn refute(&mut self, proof: Proof, note: String) -> Result<(), WrongState> {
        self.judge(Transition::Refuted, proof, note)
    }

    /// Something is to be known of how it ended.
    pub fn remark(&mut self, remark: &str) {
        self.0.note = format!("{}; {remark}", self.note);
    }

    /// Its calls are riskier, or less, than when it was proposed.
    pub fn reassess(&mut self, risk: Risk) {
        self.0.risk = risk;
    }

    /// A person has inspected what it left behind.
    pub fn settle(&mut self, mark: Mark) -> Result<(), WrongState> {
        if !self.is_unsettled() {
            return Err(WrongState { state: self.state });
        }
        self.0.settled = Some(mark);
        Ok(())
    }

    fn judge(
        &mut self,
        transition: Transition,
        proof: Proof,
        note: String,
    ) -> Result<(), WrongState> {
        self.enter(transition)?;
        self.0.proof = Some(proof);
        self.0.note = note;
        Ok(())
    }

    fn over(
        &mut self,
        transition: Transition,
        note: String,
        now: Timestamp,
    ) -> Result<(), WrongState> {
        self.enter(transition)?;
        self.0.note = note;
        self.0.ended_at = Some(now);
        Ok(())
    }

    /// The one place that sets the state. What moves on is no longer held back, and what is not executing has no owner.
    fn enter(&mut self, transition: Transition) -> Result<(), WrongState> {
        let state = self.state;
        let parts: &mut ProposalParts = &mut self.0;
        parts.state = state.after(transition).ok_or(WrongState { state })?;
        parts.held_back = None;
        parts.owner = None;
        parts.lease_until = None;
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
