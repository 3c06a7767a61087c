//! One subject's loop: observe, check, reconcile, write, publish.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use operator_config::SubjectConfig;
use operator_loader::{CallError, LoadError, Observed, Observer, Plugin};
use operator_model::{
    Assessment, MachineClock, OPERATOR, TOLERANCE_MS, TicketKey, Timestamp, slept_ms,
};
use operator_plugin_api::Descriptor;
use operator_store::{Evidence, Quarantined, Store, StoreError};
use operator_subject::SubjectError;
use operator_supervisor::Turns;
use tokio::{
    sync::{Notify, watch},
    time::MissedTickBehavior,
};

use super::{
    CycleOutcome, Event, Hub, LOOP_STALLED, Policy, Rules, Seen, SharedLedger, Status, Verdicts,
    is_own,
    ledger::{Ledger, stop_clocks},
    left_behind,
    limit::limited,
    plugin_memory::PluginMemory,
    policies, reconcile,
    settle::{Settle, Settled},
    tally, verdicts,
};

/// A plugin that dies this many times without a good cycle in between is quarantined. With the loader's backoff this takes
/// about two minutes.
const DEATHS_TO_QUARANTINE: u32 = 10;
/// Between two attempts to start a plugin that cannot be started; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two lines about the same trouble.
const TROUBLE_AGAIN: Duration = Duration::from_mins(1);
/// How often a cycle's changes are computed again when another process changed the tickets meanwhile.
const ATTEMPTS: usize = 5;

/// A connection in the making.
pub type Starting =
    Pin<Box<dyn Future<Output = Result<(Arc<Descriptor>, Observer), SubjectError>> + Send>>;

/// How to connect to a subject, in two steps: between them the plugin file is known and none of its code has run.
pub struct Connect {
    /// Examines the plugin file.
    pub open: Box<dyn Fn() -> Result<Plugin, LoadError> + Send + Sync>,
    /// Starts the plugin.
    pub start: Box<dyn Fn(Arc<Plugin>) -> Starting + Send + Sync>,
}

/// One subject's loop.
pub struct Watch {
    /// How it is watched.
    pub config: SubjectConfig,
    /// How to connect to it; used again at every cycle while it fails.
    pub connect: Connect,
    /// Where its tickets are.
    pub store: Store,
    /// Where it reports.
    pub hub: Hub,
    /// Its tickets as this process knows them; the loop's next start goes on with it.
    pub ledger: SharedLedger,
    /// How long its first cycle waits, so that not all subjects have theirs at the same time.
    pub offset: Duration,
    /// Requests a cycle at once.
    pub nudge: Arc<Notify>,
}

/// The state of a loop between its cycles.
#[derive(Default)]
struct Memory {
    plugin: Option<Arc<Plugin>>,
    observer: Option<Observer>,
    policies: BTreeMap<String, Policy>,
    ledger: Arc<Ledger>,
    /// Absent until it was read from the store: what a plugin returns that was given nothing must not replace it.
    of_plugin: Option<PluginMemory>,
    quarantined: Option<Quarantined>,
    /// In a row.
    deaths: u32,
    pause: Option<Pause>,
    cycles: u64,
    late: u64,
    /// Whether a cycle has run since the loop started.
    is_warm: bool,
    /// How long the machine had slept when the last cycle began. Milliseconds.
    slept_ms: i64,
    /// The trouble last reported, and when.
    trouble: Option<(String, Instant)>,
}

impl Memory {
    /// Before the first cycle only the host's own invariants are known.
    fn new(config: &SubjectConfig) -> Self {
        Self {
            policies: policies(None, config),
            ..Self::default()
        }
    }

    fn verdicts(&self, outcome: &CycleOutcome, observed: Option<&Observed>) -> Verdicts {
        let seen = Seen {
            resources: observed.map_or(&[], |observed| &observed.resources),
            tickets: self.ledger.tickets(),
        };
        verdicts(outcome, seen, &self.policies)
    }

    /// The store has what the plugin is to know again.
    fn mark_written(&mut self) {
        if let Some(of_plugin) = &mut self.of_plugin {
            of_plugin.mark_written();
        }
    }

    /// What was looked at, by invariant.
    fn listed(&self, verdicts: &Verdicts) -> BTreeMap<String, BTreeSet<String>> {
        let on_a_kind = self.policies.iter().filter_map(|(name, policy)| {
            let kind = policy.on.as_deref()?;
            Some((name.clone(), verdicts.listed.names(kind)))
        });
        on_a_kind.collect()
    }
}

/// Time given to a plugin that could not be started.
struct Pause {
    until: Instant,
    length: Duration,
    why: String,
}

impl Pause {
    /// The first, or twice as long as the last.
    fn after(last: Option<&Self>, why: String) -> Self {
        let length = last.map_or(FIRST_PAUSE, |last| (last.length * 2).min(LONGEST_PAUSE));
        Self {
            until: Instant::now() + length,
            length,
            why,
        }
    }
}

impl Watch {
    /// Runs cycles until `stop` turns true; a cycle under way is finished. The plugin is shut down.
    pub async fn run(self, turns: Turns, mut stop: watch::Receiver<bool>) {
        let mut memory = self.memory();
        let mut due = Instant::now() + self.offset;
        let mut ticks = tokio::time::interval_at(due.into(), self.config.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !*stop.borrow() {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                at = ticks.tick() => {
                    memory.late += missed(due, at.into_std(), self.config.interval);
                    due = at.into_std() + self.config.interval;
                }
                () = self.nudge.notified() => {}
            }
            // A failed cycle has been published as trouble.
            turns.turn(self.cycle(&mut memory)).await;
        }
        if let Err(error) = self
            .keep_plugin_memory(&mut memory, PluginMemory::unwritten)
            .await
        {
            self.trouble(&mut memory, &error);
        }
        if let Some(observer) = memory.observer {
            observer.shutdown().await;
        }
    }

    /// After a restart the counts go on.
    fn memory(&self) -> Memory {
        let statuses = self.hub.statuses();
        let last = statuses.get(&self.config.name);
        Memory {
            cycles: last.map_or(0, |status| status.cycles),
            late: last.map_or(0, |status| status.late),
            ledger: Arc::new(self.ledger.get().after_a_pause()),
            ..Memory::new(&self.config)
        }
    }

    async fn cycle(&self, memory: &mut Memory) -> Result<(), String> {
        let started = Instant::now();
        let from = Timestamp::now();
        let refreshed = self.refresh(memory).await;
        let (outcome, observed) = self.observe(memory).await;
        let mut verdicts = memory.verdicts(&outcome, observed.as_ref());
        left_behind(&mut verdicts, memory.ledger.unsettled(), &memory.policies);
        let settled = self
            .settle(memory, &verdicts, observed.as_ref(), refreshed)
            .await;
        let result = settled.map_err(|error| self.trouble(memory, &error));
        if result.is_ok() {
            memory.trouble = None;
        }
        self.hub
            .assess(|| assessment(memory, &self.config.name, from, &outcome, &verdicts));
        memory.is_warm = true;
        memory.cycles += 1;
        self.hub.set_status(Status {
            subject: self.config.name.clone(),
            cycles: memory.cycles,
            late: memory.late,
            at: Timestamp::now(),
            took_ms: started.elapsed().as_secs_f64() * 1000.0,
            tally: tally(&verdicts, &memory.policies),
            observed: matches!(outcome, CycleOutcome::Judged(_)) && !verdicts.blames_plugin(),
            interval_ms: operator_model::millis(self.config.interval),
            summary: match outcome {
                CycleOutcome::Judged(_) => observed.map(|o| o.summary).unwrap_or_default(),
                CycleOutcome::Unobservable(why) | CycleOutcome::PluginFailing(why) => why,
            },
        });
        result
    }

    /// Observes and checks, unless the plugin may not be started.
    async fn observe(&self, memory: &mut Memory) -> (CycleOutcome, Option<Observed>) {
        let observer = match self.observer(memory).await {
            Ok(observer) => observer,
            Err(why) => return (CycleOutcome::PluginFailing(why), None),
        };
        let known = memory.of_plugin.as_ref().and_then(PluginMemory::latest);
        let observed = match observer.observe_again(known.as_deref()).await {
            Ok(observed) => observed,
            Err(error) => return (self.failed(memory, &error).await, None),
        };
        match observer.check(&observed).await {
            Ok(report) => {
                memory.deaths = 0;
                if let Some(of_plugin) = &mut memory.of_plugin {
                    of_plugin.learn(observed.memory.as_ref());
                }
                (CycleOutcome::Judged(report), Some(observed))
            }
            Err(error) => (self.failed(memory, &error).await, Some(observed)),
        }
    }

    /// The subject's observer, or why it has none.
    async fn observer(&self, memory: &mut Memory) -> Result<Observer, String> {
        if memory.plugin.is_none() {
            wait(memory)?;
            let opened = (self.connect.open)();
            let plugin = opened.map_err(|error| pause(memory, error.to_string()))?;
            memory.plugin = Some(Arc::new(plugin));
            let read = self.read_quarantine(memory).await;
            read.map_err(|error| chain(&error))?;
        }
        if let Some(entry) = &memory.quarantined {
            let why = format!(
                "plugin {} is quarantined: {}; `operator plugins quarantine lift {}` lets it start again",
                entry.plugin,
                entry.reason,
                entry.sha256.get(..12).unwrap_or(&entry.sha256),
            );
            // Another file may be put in its place.
            memory.plugin = None;
            memory.observer = None;
            return Err(pause(memory, why));
        }
        match (&memory.observer, &memory.plugin) {
            (Some(observer), _) => Ok(observer.clone()),
            (None, Some(plugin)) => self.start(memory, plugin.clone()).await,
            (None, None) => Err("no plugin".to_owned()),
        }
    }

    async fn start(&self, memory: &mut Memory, plugin: Arc<Plugin>) -> Result<Observer, String> {
        wait(memory)?;
        match (self.connect.start)(plugin).await {
            Ok((descriptor, observer)) => {
                memory.pause = None;
                memory.policies = policies(Some(&descriptor), &self.config);
                memory.observer = Some(observer.clone());
                Ok(observer)
            }
            Err(error) => {
                if let SubjectError::Describe { source, .. } = &error {
                    self.count_death(memory, source).await;
                }
                // The file may be fixed before the next attempt.
                memory.plugin = None;
                Err(pause(memory, with_fix_of(&error)))
            }
        }
    }

    /// Distinguishes a subject that cannot be observed from a plugin that fails.
    async fn failed(&self, memory: &mut Memory, error: &CallError) -> CycleOutcome {
        // A pause is reported as its cause: how long it still lasts would be stale in a ticket.
        let cause = match error {
            CallError::BackingOff { after, .. } => after,
            error => error,
        };
        if error.is_subjects_fault() {
            memory.deaths = 0;
            return CycleOutcome::Unobservable(cause.to_string());
        }
        self.count_death(memory, error).await;
        if matches!(error, CallError::Load(_)) {
            // The private copy is gone or corrupt; the file is examined again.
            memory.plugin = None;
            memory.observer = None;
        }
        CycleOutcome::PluginFailing(with_fix(cause, cause.fix()))
    }

    async fn count_death(&self, memory: &mut Memory, error: &CallError) {
        if error.is_crash() {
            memory.deaths += 1;
        }
        let Some(plugin) = &memory.plugin else {
            return;
        };
        if memory.deaths >= DEATHS_TO_QUARANTINE {
            let entry = Quarantined {
                sha256: plugin.sha256.clone(),
                plugin: plugin.manifest.name.clone(),
                reason: format!(
                    "died {} times in a row, the last time: {error}",
                    memory.deaths
                ),
                actor: OPERATOR.to_owned(),
                at: Timestamp::now(),
            };
            memory.deaths = 0;
            match self.store.quarantine(&entry).await {
                Ok(()) => memory.quarantined = Some(entry),
                Err(error) => {
                    self.trouble(memory, &error);
                }
            }
        }
    }

    /// Reads the subject's tickets again when another process changed them. Those of stalled loops are not a cycle's to judge.
    async fn refresh(&self, memory: &mut Memory) -> Result<(), StoreError> {
        let slept_ms = slept_ms();
        if slept_ms - memory.slept_ms > TOLERANCE_MS {
            self.change(memory, |ledger| *ledger = ledger.after_a_pause());
        }
        memory.slept_ms = slept_ms;
        self.follow_clock(memory);
        if memory.of_plugin.is_none() {
            let kept = self.store.memory(&self.config.name).await?;
            memory.of_plugin = Some(PluginMemory::kept(kept));
        }
        let revision = self.store.revision(&self.config.name).await?;
        if memory.ledger.is_of(revision) {
            if memory.ledger.is_unsure() {
                self.change(memory, Ledger::confirm);
            }
            return Ok(());
        }
        if memory.is_warm && MachineClock::measured().ahead_ms() != 0 {
            // Another process of this machine has moved the stored times already; this one is about to follow.
            return Ok(());
        }
        let since = Timestamp::now().minus(self.config.reopen_within);
        let mut state = self.store.subject_state(&self.config.name, since).await?;
        state
            .tickets
            .retain(|ticket| ticket.key.invariant != LOOP_STALLED);
        if !memory.is_warm {
            stop_clocks(&mut state.tickets);
        }
        if memory.quarantined.take().is_some() {
            memory.pause = None;
        }
        self.read_quarantine(memory).await?;
        self.change(memory, |ledger| ledger.adopt(state));
        Ok(())
    }

    /// The times that are known move with the clock of this process.
    fn follow_clock(&self, memory: &mut Memory) {
        let clock = MachineClock::adopted();
        if !memory.ledger.is_by_clock(clock.offset_ms) {
            self.change(memory, |ledger| ledger.follow_clock(clock.offset_ms));
        }
    }

    fn change(&self, memory: &mut Memory, change: impl FnOnce(&mut Ledger)) {
        let mut ledger = Ledger::clone(&memory.ledger);
        change(&mut ledger);
        memory.ledger = self.ledger.set(ledger);
    }

    async fn read_quarantine(&self, memory: &mut Memory) -> Result<(), StoreError> {
        let Some(plugin) = &memory.plugin else {
            return Ok(());
        };
        let entries = self.store.quarantined().await?;
        memory.quarantined = entries
            .into_iter()
            .find(|entry| entry.sha256 == plugin.sha256);
        Ok(())
    }

    /// Computes the changes of the tickets, writes and publishes them. While the store cannot be read or written, they are
    /// published all the same, and written later.
    async fn settle(
        &self,
        memory: &mut Memory,
        verdicts: &Verdicts,
        observed: Option<&Observed>,
        mut read: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            self.follow_clock(memory);
            let now = Timestamp::now();
            let rules = Rules {
                subject: &self.config.name,
                policies: &memory.policies,
                reopen_within: self.config.reopen_within,
            };
            let verdicts = limited(verdicts, memory.ledger.tickets());
            let changes = reconcile(memory.ledger.tickets(), &verdicts, rules, now);
            if changes.is_empty() && (read.is_err() || memory.ledger.is_written()) {
                let since = now.minus(self.config.reopen_within);
                if let Some(ledger) = memory.ledger.without_old(since) {
                    memory.ledger = self.ledger.set(ledger);
                }
                read?;
                return self.keep_plugin_memory(memory, PluginMemory::due).await;
            }
            let settle = Settle {
                store: &self.store,
                hub: &self.hub,
                subject: &self.config.name,
                is_readable: read.is_ok(),
            };
            let evidence = observed.map(|observed| Evidence {
                at: now,
                document: observed.document.get().as_bytes(),
                memory: memory.of_plugin.as_ref().and_then(PluginMemory::unwritten),
            });
            match settle.settle(memory.ledger.with(&changes), evidence).await {
                Settled::Told(ledger, error) => {
                    memory.ledger = self.ledger.set(*ledger);
                    if observed.is_some() && memory.ledger.is_written() {
                        memory.mark_written();
                    }
                    return error.map_or(read, Err);
                }
                Settled::Conflict => read = self.refresh(memory).await,
            }
        }
        Ok(())
    }

    /// Writes what is to be written of the plugin's memory.
    async fn keep_plugin_memory(
        &self,
        memory: &mut Memory,
        what: impl Fn(&PluginMemory) -> Option<&str>,
    ) -> Result<(), StoreError> {
        let Some(of_plugin) = &mut memory.of_plugin else {
            return Ok(());
        };
        if let Some(text) = what(of_plugin) {
            let now = Timestamp::now();
            self.store.keep_memory(&self.config.name, text, now).await?;
            of_plugin.mark_written();
        }
        Ok(())
    }

    /// Publishes the same trouble once a minute. Its message.
    fn trouble(&self, memory: &mut Memory, error: &StoreError) -> String {
        let message = chain(error);
        let is_known = memory
            .trouble
            .as_ref()
            .is_some_and(|(known, at)| *known == message && at.elapsed() < TROUBLE_AGAIN);
        if is_known {
            return message;
        }
        memory.trouble = Some((message.clone(), Instant::now()));
        self.hub.publish(Event::Trouble {
            subject: self.config.name.clone(),
            message: message.clone(),
        });
        message
    }
}

/// A cycle's verdicts, for the proof of actions.
fn assessment(
    memory: &Memory,
    subject: &str,
    from: Timestamp,
    outcome: &CycleOutcome,
    verdicts: &Verdicts,
) -> Assessment {
    let blind = match outcome {
        CycleOutcome::Judged(_) if verdicts.blames_plugin() => {
            Some("its plugin broke its contract".to_owned())
        }
        CycleOutcome::Judged(_) => None,
        CycleOutcome::Unobservable(why) | CycleOutcome::PluginFailing(why) => Some(why.clone()),
    };
    let of_plugin = |key: &&TicketKey| !is_own(&key.invariant);
    Assessment {
        subject: subject.to_owned(),
        from,
        at: Timestamp::now(),
        blind,
        broken: verdicts
            .findings
            .keys()
            .filter(of_plugin)
            .cloned()
            .collect(),
        unknown: verdicts.unknown.keys().cloned().collect(),
        judged: verdicts.judged.clone(),
        listed: memory.listed(verdicts),
    }
}

/// The error, and how to fix it.
fn with_fix_of(error: &SubjectError) -> String {
    match error {
        SubjectError::Describe { source, .. } => with_fix(error, source.fix()),
        SubjectError::Load(_)
        | SubjectError::Schema { .. }
        | SubjectError::Config(_)
        | SubjectError::NotGranted(_) => error.to_string(),
    }
}

fn with_fix(error: &impl std::fmt::Display, fix: Option<String>) -> String {
    match fix {
        Some(fix) => format!("{error}; {fix}"),
        None => error.to_string(),
    }
}

/// Whether enough time has passed since the last failed attempt.
fn wait(memory: &Memory) -> Result<(), String> {
    match &memory.pause {
        Some(pause) if pause.until > Instant::now() => Err(pause.why.clone()),
        _ => Ok(()),
    }
}

/// Gives a plugin time. Returns the reason.
fn pause(memory: &mut Memory, why: String) -> String {
    memory.pause = Some(Pause::after(memory.pause.as_ref(), why.clone()));
    why
}

/// How many ticks passed unused since one was due.
fn missed(due: Instant, at: Instant, interval: Duration) -> u64 {
    let behind = at.saturating_duration_since(due).as_nanos();
    u64::try_from(behind / interval.as_nanos().max(1)).unwrap_or(u64::MAX)
}

/// An error and its sources in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    let messages: Vec<_> = std::iter::once(error.to_string())
        .chain(sources.map(ToString::to_string))
        .collect();
    messages.join(": ")
}

#[cfg(test)]
#[path = "tests/watch.rs"]
mod tests;
