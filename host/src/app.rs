//! The daemon: from a configuration to running loops, and to an end in good order.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::MissedTickBehavior,
};

use crate::{
    actions,
    config::{Fault, Faults, KeyPath, Origin, SubjectConfig},
    loader::LoadError,
    monitor::{Connect, Hub, Watch},
    service::{Service, ServiceError, no_subject},
    store::{Execution, Store, StoreError},
    subject::{self, Surroundings},
};

/// Between two looks for what is past its time.
const HOUSEKEEPING: Duration = Duration::from_hours(1);
/// Between two looks for actions that somebody began and never ended.
const SWEEP: Duration = Duration::from_secs(30);

/// A daemon that has been set up and does not run yet.
pub struct Daemon {
    service: Service,
    store: Store,
    hub: Hub,
    abandoned: mpsc::UnboundedSender<Execution>,
}

impl Daemon {
    /// Proves the configuration, opens the store and looks for what an earlier process left unfinished. Watches nothing
    /// yet. Its loops will report to `hub`; actions whose process ended before their outcome was known are told to
    /// `abandoned`, now and while it runs.
    pub async fn new(
        service: Service,
        hub: Hub,
        abandoned: mpsc::UnboundedSender<Execution>,
    ) -> Result<Self, ServiceError> {
        if service.loaded().config.subjects.is_empty() {
            return Err(no_subject());
        }
        refuse_bad_input(&service).await?;
        let store = service.store().await?.clone();
        sweep(&store, &abandoned).await?;
        Ok(Self {
            service,
            store,
            hub,
            abandoned,
        })
    }

    /// Watches every subject until `stop` turns true, and then finishes the cycles in hand.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        for subject in &self.service.loaded().config.subjects {
            tasks.spawn(self.watch(subject).run(stop.clone()));
        }
        tasks.spawn(self.housekeeping(stop.clone()));
        let (store, abandoned) = (self.store.clone(), self.abandoned.clone());
        tasks.spawn(sweeping(store, SWEEP, abandoned, stop));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a task of the daemon ended badly: {error}");
            }
        }
        self.store.close().await;
    }

    fn watch(&self, subject: &SubjectConfig) -> Watch {
        Watch {
            config: subject.clone(),
            connect: connector(subject.clone(), self.service.around().clone()),
            store: self.store.clone(),
            hub: self.hub.clone(),
            nudge: Arc::new(Notify::new()),
        }
    }

    fn housekeeping(&self, mut stop: watch::Receiver<bool>) -> impl Future<Output = ()> + use<> {
        let store = self.store.clone();
        let retention = self.service.loaded().config.retention;
        async move {
            let mut ticks = tokio::time::interval(HOUSEKEEPING);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while !*stop.borrow() {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    _ = ticks.tick() => {}
                }
                match store
                    .prune(&retention, crate::model::Timestamp::now())
                    .await
                {
                    Ok((0, 0)) => {}
                    Ok((tickets, observations)) => {
                        tracing::info!(tickets, observations, "removed what is past its time");
                    }
                    Err(error) => tracing::warn!("{}", crate::monitor::chain(&error)),
                }
            }
        }
    }
}

/// Gives up on actions whose process is gone, again and again.
async fn sweeping(
    store: Store,
    every: Duration,
    abandoned: mpsc::UnboundedSender<Execution>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(every) => {}
        }
        if let Err(error) = sweep(&store, &abandoned).await {
            tracing::warn!("{}", crate::monitor::chain(&error));
        }
    }
}

async fn sweep(
    store: &Store,
    abandoned: &mpsc::UnboundedSender<Execution>,
) -> Result<(), StoreError> {
    for execution in actions::sweep(store).await? {
        // They are recorded; nobody need listen.
        let _ = abandoned.send(execution);
    }
    Ok(())
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
                    mend: String::new(),
                });
            }
            ServiceError::Plugin(error) if error.is_config() => faults.push(Fault {
                origin,
                key: Some(KeyPath::new(["subjects", &subject.name, "config"])),
                what: error.to_string(),
                mend: String::new(),
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
fn connector(subject: SubjectConfig, around: Arc<Surroundings>) -> Connect {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[tokio::test]
    async fn an_action_that_nobody_ended_is_told_while_the_daemon_runs() {
        let folder = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", folder.path().join("operator.db").display());
        let store = Store::open(&url).await.expect("a new database");
        let (tell, mut abandoned) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let every = Duration::from_millis(20);
        let sweeping = tokio::spawn(sweeping(store.clone(), every, tell, stopped));
        let execution = Execution {
            id: "key".to_owned(),
            subject: "db".to_owned(),
            action: "restart".to_owned(),
            params: serde_json::json!({}),
            actor: "anna".to_owned(),
            begun_at: Timestamp(0),
            deadline_at: Timestamp(1),
            end: None,
        };
        store.begin_execution(&execution).await.expect("recorded");
        let told = abandoned.recv().await.expect("it is told");
        assert_eq!(told.id, "key");
        let end = told.end.expect("an end");
        assert_eq!(end.outcome, operator_plugin_api::Outcome::Unknown);
        stop.send_replace(true);
        sweeping.await.expect("it ends");
        assert!(abandoned.try_recv().is_err(), "it was told twice");
    }
}
