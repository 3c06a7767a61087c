//! The daemon's part in acting: begins what is approved, verifies what was completed, and undoes what did not help.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use operator_model::{Assessment, Proposal, ProposalId, ProposalState, Timestamp};
use operator_store::{ProposalFilter, Store, StoreError};
use tokio::{sync::Notify, task::JoinSet};

use super::{
    begin::lapse,
    compensate::{compensate, is_to_be_undone, undo},
    context::{ActionContext, Shutdown},
    error::{ActError, chain},
    finish::give_up,
    prove::{longest_gap, prove},
};

/// Between two looks for what may begin.
const TICK: Duration = Duration::from_millis(250);
/// Between two looks for what a dead process left behind.
const SWEEP: Duration = Duration::from_secs(2);
/// How many of the latest proposals are searched for what was left to be undone.
const RECENT: u32 = 50;
/// How long a proposal that was held back is not tried again, at first; doubled each time, up to the longest.
const PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);
/// What was left to be undone longer ago is for a person to decide.
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
    /// Ask for a look at once.
    nudges: BTreeMap<String, Arc<Notify>>,
    /// Whether anybody needs looks.
    wants_looks: Arc<AtomicBool>,
    /// What was held back, and until when it is left alone.
    patience: BTreeMap<ProposalId, Patience>,
    /// At most one for each subject.
    running: BTreeMap<String, ProposalId>,
    /// When this process last saw what an unproven proposal did.
    seen: BTreeMap<ProposalId, Timestamp>,
    /// Proposals for which an undoing was looked for.
    undone: BTreeSet<ProposalId>,
    swept: Option<Instant>,
}

impl Engine {
    /// For these subjects. `wants_looks` says whether `run` has use for looks.
    pub fn new(
        store: Store,
        stages: impl IntoIterator<Item = ActionContext>,
        nudges: BTreeMap<String, Arc<Notify>>,
        wants_looks: Arc<AtomicBool>,
    ) -> Self {
        let named = stages
            .into_iter()
            .map(|stage| (stage.subject.name.clone(), stage));
        Self {
            stages: named.collect(),
            store,
            nudges,
            wants_looks,
            patience: BTreeMap::new(),
            running: BTreeMap::new(),
            seen: BTreeMap::new(),
            undone: BTreeSet::new(),
            swept: None,
        }
    }

    /// Acts until `ending` says otherwise; calls that are under way are then finished.
    pub async fn run(
        mut self,
        mut looks: tokio::sync::mpsc::Receiver<Assessment>,
        mut ending: tokio::sync::watch::Receiver<Shutdown>,
    ) {
        let mut tasks = JoinSet::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = over(&mut ending) => break,
                _ = ticks.tick() => {
                    if let Err(error) = self.tick(&mut tasks).await {
                        tracing::warn!("{}", chain(&error));
                    }
                }
                Some(look) = looks.recv() => self.look(&look).await,
                Some(ended) = tasks.join_next() => self.ended(ended),
            }
        }
        while let Some(ended) = tasks.join_next().await {
            self.ended(ended);
        }
    }

    async fn tick(&mut self, tasks: &mut JoinSet<Performed>) -> Result<(), StoreError> {
        self.sweep().await?;
        let filter = ProposalFilter {
            subjects: self.stages.keys().cloned().collect(),
            states: vec![ProposalState::Approved, ProposalState::Completed],
            current: true,
            ..ProposalFilter::default()
        };
        let found = self.store.proposals(&filter).await?;
        let unproven = found.iter().any(is_unproven);
        self.wants_looks.store(unproven, Ordering::Relaxed);
        let now = Timestamp::now();
        // The oldest first.
        for proposal in found
            .iter()
            .rev()
            .filter(|one| one.state == ProposalState::Approved)
        {
            let expired = proposal.is_expired(now);
            // The approval of what follows another proposal is valid from the end of that one.
            if expired && proposal.follows.is_none() {
                self.lapse(proposal).await;
            } else {
                self.begin(proposal, now, tasks);
            }
        }
        Ok(())
    }

    async fn lapse(&self, proposal: &Proposal) {
        if self.running.get(&proposal.subject) == Some(&proposal.id) {
            return;
        }
        if let Some(stage) = self.stages.get(&proposal.subject) {
            told(lapse(stage, proposal.id).await);
        }
    }

    /// One at a time on each subject, and only what its own process does not have to run.
    fn begin(&mut self, proposal: &Proposal, now: Timestamp, tasks: &mut JoinSet<Performed>) {
        let id = proposal.id;
        let is_due = proposal.not_before.is_none_or(|at| at <= now);
        let is_left_alone = self
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
        self.running.insert(proposal.subject.clone(), id);
        tasks.spawn(async move {
            let result = stage.perform(id, None).await;
            told(compensate(&stage, id).await);
            Performed {
                id,
                subject: stage.subject.name,
                result,
            }
        });
    }

    fn ended(&mut self, ended: Result<Performed, tokio::task::JoinError>) {
        let performed = match ended {
            Ok(performed) => performed,
            Err(error) => {
                tracing::error!("a task that acts ended badly: {error}");
                self.running.clear();
                return;
            }
        };
        self.running.remove(&performed.subject);
        if performed.result.is_err() {
            let last = self.patience.get(&performed.id);
            let length = last.map_or(PATIENCE, |last| (last.length * 2).min(LONGEST_PATIENCE));
            let until = Instant::now() + length;
            self.patience
                .insert(performed.id, Patience { until, length });
        } else {
            self.patience.remove(&performed.id);
            if let Some(nudge) = self.nudges.get(&performed.subject) {
                nudge.notify_one();
            }
        }
        told(performed.result.map(drop));
    }

    async fn sweep(&mut self) -> Result<(), StoreError> {
        if self.swept.is_some_and(|at| at.elapsed() < SWEEP) {
            return Ok(());
        }
        self.swept = Some(Instant::now());
        for proposal in self.store.abandoned(Timestamp::now()).await? {
            give_up(&self.store, proposal.id).await?;
        }
        self.undo_what_was_left().await
    }

    /// A process that ended, or could not reach the plugin, has not undone what it should have.
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
            let wants = is_to_be_undone(&proposal);
            let is_settled = proposal.settled.is_some();
            if is_late || !wants || is_settled || !self.undone.insert(proposal.id) {
                continue;
            }
            if let Some(stage) = self.stages.get(&proposal.subject) {
                told(undo(stage, &proposal, "that was left to be done").await);
            }
        }
        Ok(())
    }

    async fn look(&mut self, look: &Assessment) {
        let Some(stage) = self.stages.get(&look.subject).cloned() else {
            return;
        };
        let filter = ProposalFilter {
            subjects: vec![look.subject.clone()],
            states: vec![ProposalState::Completed],
            current: true,
            ..ProposalFilter::default()
        };
        match self.store.proposals(&filter).await {
            Ok(completed) => {
                for proposal in completed.iter().filter(|one| is_unproven(one)) {
                    let last = self.seen.insert(proposal.id, look.at);
                    let gap = longest_gap(&stage);
                    let goes_on = last.is_some_and(|last| last.until(look.from) <= gap);
                    told(prove(&stage, proposal, look, goes_on).await);
                }
            }
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
    }
}

async fn over(ending: &mut tokio::sync::watch::Receiver<Shutdown>) {
    let _ = ending.wait_for(|ending| *ending != Shutdown::None).await;
}

/// A proposal that was carried out, or could not be.
struct Performed {
    id: ProposalId,
    subject: String,
    result: Result<Proposal, ActError>,
}

fn is_unproven(proposal: &Proposal) -> bool {
    proposal.is_unproven()
}

/// What a rule refused is recorded in the audit; anything else is a warning in the log.
fn told<T>(result: Result<T, ActError>) {
    match result {
        Ok(_) | Err(ActError::Refused(_) | ActError::Fault(_)) => {}
        Err(error) => tracing::warn!("{}", chain(&error)),
    }
}
