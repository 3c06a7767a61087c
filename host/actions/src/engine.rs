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
use operator_supervisor::Turns;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{Id, JoinError, JoinSet},
};

use super::{
    begin::lapse,
    compensate::{compensate, is_to_be_undone, undo},
    context::{ActionContext, Shutdown},
    error::{ActError, chain},
    finish::give_up,
    prove::{longest_gap, prove},
};

/// Between two searches for what may begin.
pub const TICK: Duration = Duration::from_millis(250);
/// Between two searches for what a dead process left behind.
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
    contexts: BTreeMap<String, ActionContext>,
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
    /// What was held back, and until when it is not tried again.
    patience: BTreeMap<ProposalId, Patience>,
    /// When this process last assessed the effect of an unproven proposal.
    seen: BTreeMap<ProposalId, Timestamp>,
    /// Proposals that this process has tried to undo.
    undone: BTreeSet<ProposalId>,
    swept: Option<Instant>,
}

impl Memory {
    /// Keeps what is listed as approved or completed, or is being carried out.
    fn forget_all_but(&mut self, listed: &[Proposal], running: &BTreeMap<String, Running>) {
        let mut kept = ids(listed);
        kept.extend(running.values().map(|running| running.id));
        self.patience.retain(|id, _| kept.contains(id));
        self.seen.retain(|id, _| kept.contains(id));
    }
}

fn ids(proposals: &[Proposal]) -> BTreeSet<ProposalId> {
    proposals.iter().map(|one| one.id).collect()
}

impl Engine {
    /// For these subjects. `wants_assessments` is true while the engine needs them.
    pub fn new(
        store: Store,
        contexts: impl IntoIterator<Item = ActionContext>,
        nudges: BTreeMap<String, Arc<Notify>>,
        wants_assessments: Arc<AtomicBool>,
        assessments: mpsc::Receiver<Assessment>,
    ) -> Self {
        let named = contexts
            .into_iter()
            .map(|context| (context.subject.name.clone(), context));
        Self {
            contexts: named.collect(),
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
                _ = ticks.tick() => turns.logged_turn(Box::pin(self.tick())).await,
                Some(assessment) = self.assessments.recv() => {
                    turns.logged_turn(Box::pin(self.assess(&assessment))).await;
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
            subjects: self.contexts.keys().cloned().collect(),
            states: vec![ProposalState::Approved, ProposalState::Completed],
            current: true,
            ..ProposalFilter::default()
        };
        let found = self.store.proposals(&filter).await?;
        self.memory.forget_all_but(&found, &self.running);
        let unproven = found.iter().any(|one| one.is_unproven());
        self.wants_assessments.store(unproven, Ordering::Relaxed);
        let now = Timestamp::now();
        // The oldest first.
        for proposal in found
            .iter()
            .rev()
            .filter(|one| one.state == ProposalState::Approved)
        {
            // The approval of what follows another proposal is valid from the end of that one.
            if proposal.is_expired(now) && proposal.follows.is_none() {
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
        if let Some(context) = self.contexts.get(&proposal.subject) {
            warn_of(lapse(context, proposal.id).await);
        }
    }

    /// One at a time on each subject, and nothing that only the process which proposed it can run.
    fn begin(&mut self, proposal: &Proposal, now: Timestamp) {
        let id = proposal.id;
        let is_due = proposal.not_before.is_none_or(|at| at <= now);
        let is_backing_off = self
            .memory
            .patience
            .get(&id)
            .is_some_and(|patience| patience.until > Instant::now());
        let is_busy = self.running.contains_key(&proposal.subject);
        if !is_due || is_backing_off || is_busy || proposal.plan.has_secrets {
            return;
        }
        let Some(context) = self.contexts.get(&proposal.subject).cloned() else {
            return;
        };
        let task = self.tasks.spawn(async move {
            let result = context.perform(id, None).await;
            warn_of(compensate(&context, &result).await);
            Performed {
                id,
                subject: context.subject.name,
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
            self.hold_back(performed.id);
        } else {
            self.memory.patience.remove(&performed.id);
            if let Some(nudge) = self.nudges.get(&performed.subject) {
                nudge.notify_one();
            }
        }
        warn_of(performed.result.map(drop));
    }

    /// It is tried again later, each time after twice as long.
    fn hold_back(&mut self, id: ProposalId) {
        let last = self.memory.patience.get(&id);
        let length = last.map_or(PATIENCE, |last| (last.length * 2).min(LONGEST_PATIENCE));
        let until = Instant::now() + length;
        self.memory.patience.insert(id, Patience { until, length });
    }

    /// What the task began is given up when its lease runs out.
    fn died(&mut self, error: &JoinError) {
        let of_task = |_: &String, running: &mut Running| running.task == error.id();
        let died: Vec<_> = self.running.extract_if(.., of_task).collect();
        for (subject, Running { id, .. }) in died {
            tracing::error!(subject, "carrying out {id} ended by a defect: {error}");
            self.hold_back(id);
        }
    }

    async fn sweep(&mut self) -> Result<(), StoreError> {
        if self.memory.swept.is_some_and(|at| at.elapsed() < SWEEP) {
            return Ok(());
        }
        self.memory.swept = Some(Instant::now());
        for proposal in self.store.abandoned(Timestamp::now()).await? {
            give_up(&self.store, proposal.id).await?;
        }
        self.undo_what_was_left().await
    }

    /// A process that ended, or could not reach the plugin, has not undone what it should have.
    async fn undo_what_was_left(&mut self) -> Result<(), StoreError> {
        let filter = ProposalFilter {
            subjects: self.contexts.keys().cloned().collect(),
            states: vec![ProposalState::NotVerified, ProposalState::Failed],
            limit: Some(RECENT),
            ..ProposalFilter::default()
        };
        let since = Timestamp::now().minus(UNDONE_LATE);
        let found = self.store.proposals(&filter).await?;
        let listed = ids(&found);
        self.memory.undone.retain(|id| listed.contains(id));
        for proposal in found {
            let is_late = proposal.ended_at.is_none_or(|at| at < since);
            let is_wanted = is_to_be_undone(&proposal) && proposal.settled.is_none();
            if is_late || !is_wanted || !self.memory.undone.insert(proposal.id) {
                continue;
            }
            if let Some(context) = self.contexts.get(&proposal.subject) {
                warn_of(undo(context, &proposal, "that was left to be done").await);
            }
        }
        Ok(())
    }

    /// Takes an assessment into account for each proposal of its subject that is to be proven.
    async fn assess(&mut self, assessment: &Assessment) -> Result<(), String> {
        let Some(context) = self.contexts.get(&assessment.subject).cloned() else {
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
        for proposal in completed.iter().filter(|one| one.is_unproven()) {
            let last = self.memory.seen.insert(proposal.id, assessment.at);
            let gap = longest_gap(&context);
            let is_continuous = last.is_some_and(|last| last.until(assessment.from) <= gap);
            warn_of(prove(&context, proposal, assessment, is_continuous).await);
        }
        Ok(())
    }
}

async fn over(ending: &mut watch::Receiver<Shutdown>) {
    let _ = ending.wait_for(|ending| *ending != Shutdown::None).await;
}

/// A proposal that was carried out, or could not be.
struct Performed {
    id: ProposalId,
    subject: String,
    result: Result<Proposal, ActError>,
}

/// What a rule refused is recorded in the audit; anything else is a warning in the log.
fn warn_of<T>(result: Result<T, ActError>) {
    match result {
        Ok(_) | Err(ActError::Refused(_) | ActError::Fault(_)) => {}
        Err(error) => tracing::warn!("{}", chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use operator_model::ProposalParts;

    use super::*;
    use crate::tests::{approved, context, kept, two_steps};

    #[tokio::test]
    async fn a_task_that_dies_frees_its_own_subject_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}/operator.db", folder.path().display());
        let store = Store::open(&url).await.expect("it opens");
        let (_send, assessments) = mpsc::channel(1);
        let mut engine = Engine::new(store, [], BTreeMap::new(), Arc::default(), assessments);
        let dying = engine.tasks.spawn(async { panic!("a defect") }).id();
        let lasting = engine.tasks.spawn(std::future::pending()).id();
        for (subject, id, task) in [("dying", 1, dying), ("lasting", 2, lasting)] {
            let id = ProposalId(id);
            engine.running.insert(subject.into(), Running { id, task });
        }
        let ended = engine.tasks.join_next_with_id().await.expect("one ends");
        engine.ended(ended);
        assert_eq!(engine.running.keys().collect::<Vec<_>>(), ["lasting"]);
        // It may die in the same way again.
        assert!(engine.memory.patience.contains_key(&ProposalId(1)));
    }

    #[tokio::test]
    async fn what_is_no_longer_listed_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let context = context(&folder).await;
        let store = context.store.clone();
        let waiting = kept(&store, approved(&two_steps())).await.id;
        let mut parts = ProposalParts::clone(&approved(&two_steps()));
        parts.state = ProposalState::Failed;
        parts.ended_at = Some(Timestamp(0));
        let failed = kept(&store, parts.into()).await.id;
        let (running, gone) = (ProposalId(98), ProposalId(99));
        let (_send, assessments) = mpsc::channel(1);
        let mut engine = Engine::new(
            store,
            [context],
            BTreeMap::new(),
            Arc::default(),
            assessments,
        );
        let task = engine.tasks.spawn(std::future::pending()).id();
        // One that runs on the same subject, so that the one that waits does not begin.
        let runs = Running { id: running, task };
        engine.running.insert("db".into(), runs);
        for id in [waiting, failed, running, gone] {
            engine.hold_back(id);
            engine.memory.seen.insert(id, Timestamp(0));
            engine.memory.undone.insert(id);
        }
        engine.tick().await.expect("it works");
        let memory = &engine.memory;
        let patient: Vec<_> = memory.patience.keys().copied().collect();
        assert_eq!(patient, [waiting, running]);
        let seen: Vec<_> = memory.seen.keys().copied().collect();
        assert_eq!(seen, [waiting, running]);
        let undone: Vec<_> = memory.undone.iter().copied().collect();
        assert_eq!(undone, [failed]);
    }
}
