//! The daemon's part in acting: begins what is approved, proves what was done, and takes back what did not help.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use operator_model::{
    Assessment, Mark, OPERATOR, OnFailure, Proof, Proposal, ProposalId, ProposalState, Timestamp,
    Transition,
};
use operator_store::{Change, ProposalFilter, Store, StoreError};
use operator_supervisor::Turns;
use serde_json::json;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{Id, JoinError, JoinSet},
};

use super::{
    ActError, ActionContext, GateError, NewProposal, Shutdown, call,
    crash::crash_point,
    executor::chain,
    gate,
    proof::{self, Progress},
    undo,
};

/// Between two searches for what may begin.
pub const TICK: Duration = Duration::from_millis(250);
/// Between two looks for what a dead process left behind.
const SWEEP: Duration = Duration::from_secs(2);
/// So many of the latest are looked through for what was left to be taken back.
const RECENT: u32 = 50;
/// How long a proposal that was held back is left alone at first; twice as long each time, up to the longest.
const PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);
/// What was left to be taken back so long ago is for a person to decide.
const UNDONE_LATE: Duration = Duration::from_mins(15);

/// A proposal that was held back.
#[derive(Debug, Clone, Copy)]
struct Patience {
    until: Instant,
    length: Duration,
}

/// Acts on all subjects of a daemon.
pub struct Engine {
    stages: BTreeMap<String, ActionContext>,
    store: Store,
    /// Request a cycle at once.
    nudges: BTreeMap<String, Arc<Notify>>,
    /// Whether assessments are needed.
    wants_assessments: Arc<AtomicBool>,
    assessments: mpsc::Receiver<Assessment>,
    /// At most one for each subject.
    running: BTreeMap<String, Running>,
    tasks: JoinSet<Performed>,
    memory: Memory,
}

/// A proposal that is being carried out, and the task that does it.
struct Running {
    id: ProposalId,
    task: Id,
}

/// What the engine can do without: a restart forgets it.
#[derive(Default)]
struct Memory {
    /// What was held back, and until when it is left alone.
    patience: BTreeMap<ProposalId, Patience>,
    /// When this process last saw what an unproven proposal did.
    seen: BTreeMap<ProposalId, Timestamp>,
    /// Proposals for which an undoing was looked for.
    undone: BTreeSet<ProposalId>,
    swept: Option<Instant>,
}

impl Engine {
    /// For these subjects. `wants_assessments` is true while the engine needs them.
    pub fn new(
        store: Store,
        stages: impl IntoIterator<Item = ActionContext>,
        nudges: BTreeMap<String, Arc<Notify>>,
        wants_assessments: Arc<AtomicBool>,
        assessments: mpsc::Receiver<Assessment>,
    ) -> Self {
        let named = stages
            .into_iter()
            .map(|stage| (stage.subject.name.clone(), stage));
        Self {
            stages: named.collect(),
            store,
            nudges,
            wants_assessments,
            assessments,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            memory: Memory::default(),
        }
    }

    /// Acts until `ending` is not `None`; calls that are under way are then finished. After a panic it can be run again: what
    /// is being carried out goes on meanwhile.
    pub async fn run(&mut self, turns: Turns, mut ending: watch::Receiver<Shutdown>) {
        self.memory = Memory::default();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = over(&mut ending) => break,
                _ = ticks.tick() => turns.logged_turn(self.tick()).await,
                Some(assessment) = self.assessments.recv() => {
                    turns.logged_turn(self.assess(&assessment)).await;
                }
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
            }
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }

    async fn tick(&mut self) -> Result<(), String> {
        self.sweep().await.map_err(|error| chain(&error))?;
        self.begin_approved().await.map_err(|error| chain(&error))
    }

    async fn begin_approved(&mut self) -> Result<(), StoreError> {
        let filter = ProposalFilter {
            subjects: self.stages.keys().cloned().collect(),
            states: vec![ProposalState::Approved, ProposalState::Completed],
            current: true,
            ..ProposalFilter::default()
        };
        let found = self.store.proposals(&filter).await?;
        let unproven = found.iter().any(is_unproven);
        self.wants_assessments.store(unproven, Ordering::Relaxed);
        let now = Timestamp::now();
        // The oldest first.
        for proposal in found
            .iter()
            .rev()
            .filter(|one| one.state == ProposalState::Approved)
        {
            let expired = proposal
                .approval
                .as_ref()
                .is_some_and(|yes| yes.expires_at < now);
            // What follows another is judged by when that ends.
            if expired && proposal.follows.is_none() {
                self.lapse(proposal).await;
            } else {
                self.begin(proposal, now);
            }
        }
        Ok(())
    }

    async fn lapse(&self, proposal: &Proposal) {
        let running = self.running.get(&proposal.subject);
        if running.is_some_and(|running| running.id == proposal.id) {
            return;
        }
        if let Some(stage) = self.stages.get(&proposal.subject) {
            told(gate::lapse(stage, proposal.id).await);
        }
    }

    /// One at a time on each subject, and only what its own process does not have to run.
    fn begin(&mut self, proposal: &Proposal, now: Timestamp) {
        let id = proposal.id;
        let is_due = proposal.not_before.is_none_or(|at| at <= now);
        let is_left_alone = self
            .memory
            .patience
            .get(&id)
            .is_some_and(|patience| patience.until > Instant::now());
        let is_busy = self.running.contains_key(&proposal.subject);
        if !is_due || is_left_alone || is_busy || proposal.plan.has_secrets {
            return;
        }
        let Some(stage) = self.stages.get(&proposal.subject).cloned() else {
            return;
        };
        let task = self.tasks.spawn(async move {
            let result = stage.perform(id, None).await;
            told(compensate(&stage, id).await);
            Performed {
                id,
                subject: stage.subject.name,
                result,
            }
        });
        let task = task.id();
        self.running
            .insert(proposal.subject.clone(), Running { id, task });
    }

    fn ended(&mut self, ended: Result<(Id, Performed), JoinError>) {
        let performed = match ended {
            Ok((_, performed)) => performed,
            Err(error) => return self.died(&error),
        };
        self.running.remove(&performed.subject);
        if performed.result.is_err() {
            let last = self.memory.patience.get(&performed.id);
            let length = last.map_or(PATIENCE, |last| (last.length * 2).min(LONGEST_PATIENCE));
            let until = Instant::now() + length;
            let patience = Patience { until, length };
            self.memory.patience.insert(performed.id, patience);
        } else {
            self.memory.patience.remove(&performed.id);
            if let Some(nudge) = self.nudges.get(&performed.subject) {
                nudge.notify_one();
            }
        }
        told(performed.result.map(drop));
    }

    /// What the task began is given up when its lease runs out.
    fn died(&mut self, error: &JoinError) {
        for (subject, running) in self
            .running
            .extract_if(.., |_, running| running.task == error.id())
        {
            tracing::error!(
                subject,
                "carrying out {} ended by a defect: {error}",
                running.id
            );
        }
    }

    async fn sweep(&mut self) -> Result<(), StoreError> {
        if self.memory.swept.is_some_and(|at| at.elapsed() < SWEEP) {
            return Ok(());
        }
        self.memory.swept = Some(Instant::now());
        for proposal in self.store.abandoned(Timestamp::now()).await? {
            call::give_up(&self.store, proposal.id).await?;
        }
        self.undo_what_was_left().await
    }

    /// A process that ended, or could not reach the plugin, has not taken back what it should have.
    async fn undo_what_was_left(&mut self) -> Result<(), StoreError> {
        let filter = ProposalFilter {
            subjects: self.stages.keys().cloned().collect(),
            states: vec![ProposalState::NotVerified, ProposalState::Failed],
            limit: Some(RECENT),
            ..ProposalFilter::default()
        };
        let since = Timestamp::now().minus(UNDONE_LATE);
        for proposal in self.store.proposals(&filter).await? {
            let is_late = proposal.ended_at.is_none_or(|at| at < since);
            let wants = proposal.state == ProposalState::NotVerified
                || proposal.plan.on_failure == OnFailure::Compensate;
            let is_settled = proposal.settled.is_some();
            if is_late || !wants || is_settled || !self.memory.undone.insert(proposal.id) {
                continue;
            }
            if let Some(stage) = self.stages.get(&proposal.subject) {
                told(undo_of(stage, &proposal, "that was left to be done").await);
            }
        }
        Ok(())
    }

    /// Takes an assessment into account for each proposal of its subject that is to be proven.
    async fn assess(&mut self, assessment: &Assessment) -> Result<(), String> {
        let Some(stage) = self.stages.get(&assessment.subject).cloned() else {
            return Ok(());
        };
        let filter = ProposalFilter {
            subjects: vec![assessment.subject.clone()],
            states: vec![ProposalState::Completed],
            current: true,
            ..ProposalFilter::default()
        };
        let completed = self.store.proposals(&filter).await;
        let completed = completed.map_err(|error| chain(&error))?;
        for proposal in completed.iter().filter(|one| is_unproven(one)) {
            let last = self.memory.seen.insert(proposal.id, assessment.at);
            let gap = longest_gap(&stage);
            let goes_on = last.is_some_and(|last| last.until(assessment.from) <= gap);
            told(prove(&stage, proposal, assessment, goes_on).await);
        }
        Ok(())
    }
}

async fn over(ending: &mut watch::Receiver<Shutdown>) {
    let _ = ending.wait_for(|ending| *ending != Shutdown::None).await;
}

/// A proposal that was taken in hand.
struct Performed {
    id: ProposalId,
    subject: String,
    result: Result<Proposal, ActError>,
}

fn is_unproven(proposal: &Proposal) -> bool {
    proposal.state == ProposalState::Completed && proposal.proof.is_some()
}

/// What a rule refused is recorded where people look; what went wrong is said.
fn told<T>(result: Result<T, ActError>) {
    match result {
        Ok(_) | Err(ActError::Refused(_) | ActError::Fault(_)) => {}
        Err(error) => tracing::warn!("{}", chain(&error)),
    }
}

/// Takes a look into account.
async fn prove(
    stage: &ActionContext,
    proposal: &Proposal,
    look: &Assessment,
    goes_on: bool,
) -> Result<(), ActError> {
    let (Some(known), Some(begun_at), Some(ended_at)) =
        (&proposal.proof, proposal.begun_at, proposal.ended_at)
    else {
        return Ok(());
    };
    if look.from <= ended_at {
        return Ok(());
    }
    let known = if goes_on {
        known.clone()
    } else {
        resumed(known, look.at)
    };
    let view = stage.store.gate_view(proposal, Timestamp::now()).await?;
    let progress = proof::judge(&known, begun_at, look, &view.live);
    match progress {
        Progress::Open(next) if Some(&next) == proposal.proof.as_ref() => Ok(()),
        Progress::Open(next) => note(stage, proposal.id, next).await,
        Progress::Verified(next) => verified(stage, proposal.id, next).await,
        Progress::Refuted(next) => {
            let refuted = refuted(stage, proposal.id, next).await?;
            crash_point("refuted");
            undo_of(stage, &refuted, "it did not help").await.map(drop)
        }
    }
}

/// Between two looks, as long as all goes well.
fn longest_gap(stage: &ActionContext) -> Duration {
    let deadlines = &stage.subject.deadlines;
    stage.subject.interval * 2 + deadlines.observe + deadlines.check + Duration::from_secs(1)
}

/// Nobody looked since: that is no time in which anything held, nor one in which it could have.
fn resumed(proof: &Proof, now: Timestamp) -> Proof {
    Proof {
        holding_since: None,
        until: proof
            .until
            .max(Timestamp(now.0.saturating_add(proof.window_ms))),
        ..proof.clone()
    }
}

/// What is known so far is kept, but is no event.
async fn note(stage: &ActionContext, id: ProposalId, proof: Proof) -> Result<(), ActError> {
    changed(stage, id, |mut proposal| {
        proposal.proof = Some(proof);
        Ok(Change::silent(proposal))
    })
    .await
    .map(drop)
}

async fn verified(stage: &ActionContext, id: ProposalId, proof: Proof) -> Result<(), ActError> {
    changed(stage, id, |mut proposal| {
        let next = proposal.state.after(Transition::Verified);
        proposal.state = next.ok_or_else(|| not_completed(&proposal))?;
        let targets: Vec<_> = proof.targets.iter().map(ToString::to_string).collect();
        let window =
            humantime::format_duration(Duration::from_millis(proof.window_ms.unsigned_abs()));
        proposal.note = if targets.is_empty() {
            format!("nothing was newly broken for {window}")
        } else {
            format!(
                "{} held and nothing was newly broken for {window}",
                targets.join(", ")
            )
        };
        proposal.proof = Some(proof);
        let body = json!({"message": proposal.note, "proof": proposal.proof});
        let said = gate::record(&proposal, "verified", OPERATOR, body);
        Ok(Change::of(proposal, said))
    })
    .await
    .map(drop)
}

async fn refuted(
    stage: &ActionContext,
    id: ProposalId,
    proof: Proof,
) -> Result<Proposal, ActError> {
    changed(stage, id, |mut proposal| {
        let next = proposal.state.after(Transition::Refuted);
        proposal.state = next.ok_or_else(|| not_completed(&proposal))?;
        proposal.note = format!("not verified: {}", proof.missing);
        proposal.proof = Some(proof);
        let body = json!({"message": proposal.note, "proof": proposal.proof});
        let said = gate::record(&proposal, "not_verified", OPERATOR, body);
        let note = format!("{} {}: {}", proposal.id, proposal.calls(), proposal.note);
        Ok(Change {
            ticket_event: Some(call::escalation(Timestamp::now(), &note)),
            ..Change::of(proposal, said)
        })
    })
    .await
}

fn not_completed(proposal: &Proposal) -> GateError {
    GateError::State {
        id: proposal.id,
        state: proposal.state,
        what: "only what is completed is proven",
    }
}

async fn changed(
    stage: &ActionContext,
    id: ProposalId,
    change: impl FnOnce(Proposal) -> Result<Change, GateError>,
) -> Result<Proposal, ActError> {
    let changed = stage
        .store
        .change_proposal(id, Timestamp::now(), |proposal, _| change(proposal))
        .await?;
    Ok(changed?)
}

/// A plan that failed takes back what it has done, if it says so.
pub async fn compensate(
    stage: &ActionContext,
    id: ProposalId,
) -> Result<Option<Proposal>, ActError> {
    let proposal = stage.store.proposal(id).await?;
    let wants = proposal.state == ProposalState::Failed
        && proposal.plan.on_failure == OnFailure::Compensate;
    if !wants {
        return Ok(None);
    }
    undo_of(stage, &proposal, "its plan failed").await
}

/// Proposes what takes a proposal back; where the rules allow, that is approved at once. What was an undoing itself is left.
async fn undo_of(
    stage: &ActionContext,
    proposal: &Proposal,
    why: &str,
) -> Result<Option<Proposal>, ActError> {
    // What is kept of secret parameters is not what an inverse needs.
    let cannot = proposal.undoes.is_some() || proposal.plan.has_secrets;
    if cannot || stage.store.is_undone(proposal.id).await? {
        return Ok(None);
    }
    crash_point("undoing");
    let (connected, registry) = stage.connect().await?;
    connected.observer.shutdown().await;
    let plan = registry.prove(&proposal.plan)?;
    let executions = stage.store.executions(proposal.id).await?;
    let (inverse, final_ones) = undo::inverse(&plan, &executions);
    if !final_ones.is_empty() {
        tracing::warn!(
            "{} of {}: nothing takes back {}",
            proposal.subject,
            proposal.id,
            final_ones.join(", ")
        );
    }
    let Some(inverse) = inverse else {
        return Ok(None);
    };
    let wish = NewProposal {
        plan: registry.prove(&inverse)?,
        mark: Mark::now(OPERATOR, &format!("takes back {}: {why}", proposal.id)),
        ticket: proposal.ticket,
        not_before: None,
        follows: None,
        undoes: Some(proposal.id),
    };
    Ok(Some(
        gate::propose(&stage.store, &stage.subject.actions, wish).await?,
    ))
}
