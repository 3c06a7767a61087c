//! The daemon: from a configuration to running loops, and to an end in good order.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use operator_actions::{self as actions, Engine, Shutdown};
use operator_config::{Fault, Faults, KeyPath, Origin, SubjectConfig};
use operator_loader::LoadError;
use operator_model::{Assessment, AuditEntry, Retention, Timestamp};
use operator_monitor::{Connect, Event, Hub, Watch};
use operator_store::{AuditFilter, Store, StoreError};
use operator_subject::{self as subject, SubjectContext};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::MissedTickBehavior,
};

use crate::{Service, ServiceError, no_subject};

/// Between two looks for what is past its time.
const HOUSEKEEPING: Duration = Duration::from_hours(1);
/// Between two looks for what was done, by whomever.
const TELLING: Duration = Duration::from_millis(500);
/// Between the end of a loop by a defect and its new beginning.
const AFTER_A_DEFECT: Duration = Duration::from_secs(5);
/// So many looks may wait for whoever proves what actions did.
const LOOKS: usize = 256;

/// A daemon that has been set up and does not run yet.
pub struct Daemon {
    service: Service,
    store: Store,
    hub: Hub,
    looks: mpsc::Receiver<Assessment>,
    acts: mpsc::UnboundedSender<AuditEntry>,
}

impl Daemon {
    /// Proves the configuration, opens the store and looks for what an earlier process left unfinished. Watches nothing
    /// yet. Its loops will report to `hub`; what is proposed, approved and done is told to `acts`, whoever does it.
    pub async fn new(
        service: Service,
        hub: Hub,
        acts: mpsc::UnboundedSender<AuditEntry>,
    ) -> Result<Self, ServiceError> {
        if service.loaded().config.subjects.is_empty() {
            return Err(no_subject());
        }
        refuse_bad_input(&service).await?;
        let store = service.store().await?.clone();
        let (tell_looks, looks) = mpsc::channel(LOOKS);
        Ok(Self {
            service,
            store,
            hub: hub.with_looks(tell_looks),
            looks,
            acts,
        })
    }

    /// Watches every subject until `stop` turns true, and then finishes the cycles and the calls in hand.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let mut nudges = BTreeMap::new();
        let mut stages = Vec::new();
        let (end, ending) = watch::channel(Shutdown::None);
        for subject in &self.service.loaded().config.subjects {
            let nudge = Arc::new(Notify::new());
            nudges.insert(subject.name.clone(), nudge.clone());
            tasks.spawn(self.watching(subject.clone(), nudge, stop.clone()));
            let store = self.store.clone();
            stages.push(self.service.stage(subject, store, ending.clone()));
        }
        let retention = self.retention();
        let wants_looks = self.hub.wants_looks().clone();
        let engine = Engine::new(self.store.clone(), stages, nudges, wants_looks);
        tasks.spawn(engine.run(self.looks, ending));
        tasks.spawn(ending_with(stop.clone(), end));
        tasks.spawn(housekeeping(self.store.clone(), retention, stop.clone()));
        let subjects = self.service.loaded().config.subjects.iter();
        let subjects = subjects.map(|subject| subject.name.clone()).collect();
        tasks.spawn(telling(self.store.clone(), subjects, self.acts, stop));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a task of the daemon ended badly: {error}");
            }
        }
        self.store.close().await;
    }

    /// What the gate's limits look back at is kept.
    fn retention(&self) -> Retention {
        let config = &self.service.loaded().config;
        let memories = config
            .subjects
            .iter()
            .map(|subject| actions::memory(&subject.actions));
        Retention {
            actions: memories
                .max()
                .unwrap_or_default()
                .max(config.retention.actions),
            ..config.retention
        }
    }

    /// A loop that ends by a defect is told, and begun anew.
    fn watching(
        &self,
        subject: SubjectConfig,
        nudge: Arc<Notify>,
        stop: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let (around, store, hub) = (
            self.service.around().clone(),
            self.store.clone(),
            self.hub.clone(),
        );
        async move {
            loop {
                let watch = Watch {
                    config: subject.clone(),
                    connect: connector(subject.clone(), around.clone()),
                    store: store.clone(),
                    hub: hub.clone(),
                    nudge: nudge.clone(),
                };
                let Err(error) = tokio::spawn(watch.run(stop.clone())).await else {
                    return;
                };
                hub.tell(Event::Trouble {
                    subject: subject.name.clone(),
                    message: format!(
                        "watching it ended by a defect of the operator, and begins anew: {error}"
                    ),
                });
                tokio::time::sleep(AFTER_A_DEFECT).await;
            }
        }
    }
}

/// Those who act are told that the daemon ends, as those who watch are.
async fn ending_with(mut stop: watch::Receiver<bool>, end: watch::Sender<Shutdown>) {
    let _ = stop.wait_for(|stop| *stop).await;
    end.send_replace(Shutdown::Graceful);
}

async fn housekeeping(store: Store, retention: Retention, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        match store.prune(&retention, Timestamp::now()).await {
            Ok((0, 0)) => {}
            Ok((tickets, observations)) => {
                tracing::info!(tickets, observations, "removed what is past its time");
            }
            Err(error) => tracing::warn!("{}", operator_monitor::chain(&error)),
        }
    }
}

/// Tells what the audit says of the subjects, whoever did it and in whatever process.
async fn telling(
    store: Store,
    subjects: Vec<String>,
    acts: mpsc::UnboundedSender<AuditEntry>,
    mut stop: watch::Receiver<bool>,
) {
    let mut last = None;
    loop {
        let is_over = *stop.borrow();
        match tell_after(&store, &subjects, last, &acts).await {
            Ok(told) => last = Some(told),
            Err(error) => tracing::warn!("{}", operator_monitor::chain(&error)),
        }
        if is_over {
            return;
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep(TELLING) => {}
        }
    }
}

/// The number of the last entry that there is. What was there at the start is not told.
async fn tell_after(
    store: &Store,
    subjects: &[String],
    last: Option<i64>,
    acts: &mpsc::UnboundedSender<AuditEntry>,
) -> Result<i64, StoreError> {
    let Some(last) = last else {
        return Ok(store.audit_head().await?.n);
    };
    let filter = AuditFilter {
        subjects: subjects.to_vec(),
        after: last,
        ..AuditFilter::default()
    };
    let mut latest = last;
    for entry in store.audit(&filter).await? {
        latest = entry.n;
        // They are recorded; nobody need listen.
        let _ = acts.send(entry);
    }
    Ok(latest)
}

/// What a person typed wrongly is said at once, and nothing is watched. A plugin that is refused or fails is something
/// else: it must not keep the other subjects from being watched, and gets a ticket.
async fn refuse_bad_input(service: &Service) -> Result<(), ServiceError> {
    let mut proofs = JoinSet::new();
    for (position, subject) in service.loaded().config.subjects.iter().enumerate() {
        let (service, subject) = (service.clone(), subject.clone());
        proofs.spawn(async move {
            let proof = prove(&service, &subject).await;
            (position, subject, proof)
        });
    }
    let mut proven = Vec::new();
    while let Some(proof) = proofs.join_next().await {
        proven.extend(proof.ok());
    }
    proven.sort_by_key(|(position, ..)| *position);
    let mut faults = Vec::new();
    for (_, subject, proof) in proven {
        let Err(error) = proof else {
            continue;
        };
        let key = KeyPath::new(["subjects", &subject.name, "plugin"]);
        let origin = service.loaded().origins.around(&key);
        match error {
            ServiceError::Config(found) => faults.extend(found.0),
            error @ ServiceError::Store(_) => return Err(error),
            // Somebody is at the keyboard and waits for this very plugin.
            error if matches!(origin, Origin::Flag(_)) => return Err(error),
            ServiceError::Load(LoadError { path, why, .. }) if !path.exists() => {
                faults.push(Fault {
                    origin,
                    key: Some(key),
                    what: format!("{}: {why}", path.display()),
                    fix: String::new(),
                });
            }
            ServiceError::Plugin(error) if error.is_config() => faults.push(Fault {
                origin,
                key: Some(KeyPath::new(["subjects", &subject.name, "config"])),
                what: error.to_string(),
                fix: String::new(),
            }),
            error => tracing::warn!(subject = subject.name, "{error}"),
        }
    }
    Faults(faults).or(())?;
    Ok(())
}

/// Proves that a subject can be watched, running no code that is in quarantine.
async fn prove(service: &Service, subject: &SubjectConfig) -> Result<(), ServiceError> {
    let plugin = subject::open(subject, service.around())?;
    let quarantined = service.quarantined().await?;
    if quarantined
        .iter()
        .all(|entry| entry.sha256 != plugin.sha256)
    {
        service.prove_with(subject, Arc::new(plugin)).await?;
    }
    Ok(())
}

/// Watching a subject takes its observer alone; the invoker is for whoever may act.
fn connector(subject: SubjectConfig, around: Arc<SubjectContext>) -> Connect {
    let (subject, opened) = (Arc::new(subject), around.clone());
    let of = subject.clone();
    Connect {
        open: Box::new(move || subject::open(&of, &opened)),
        start: Box::new(move |plugin| {
            let (subject, around) = (subject.clone(), around.clone());
            Box::pin(async move {
                let started = subject::start(&subject, plugin, &around).await?;
                Ok((started.descriptor, started.observer))
            })
        }),
    }
}
