//! Where the actions of one subject are carried out, and when that is to stop.

use std::{sync::Arc, time::Duration};

use operator_config::SubjectConfig;
use operator_model::Isolation;
use operator_policy::Registry;
use operator_store::Store;
use operator_subject::{self as subject, PreparedSubject, SubjectContext, SubjectError};
use tokio::sync::watch;

use super::error::ActError;

/// How long an executing process may be silent before it is taken for dead.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// What the actions of one subject need.
#[derive(Debug, Clone)]
pub struct ActionContext {
    /// Where everything is recorded.
    pub store: Store,
    /// The subject and its rules.
    pub subject: SubjectConfig,
    /// What is needed to start its plugin.
    pub around: Arc<SubjectContext>,
    /// Identifies this process among those that share the store.
    pub owner: String,
    /// Whether the process is to end.
    pub ending: watch::Receiver<Shutdown>,
}

/// Whether a process that executes is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shutdown {
    /// No.
    #[default]
    None,
    /// A call of an action that is under way is finished; nothing more is begun.
    Graceful,
    /// Nothing is waited for. The name of the signal.
    Immediate(&'static str),
}

impl ActionContext {
    /// Starts a plugin instance for actions alone: the subject is watched meanwhile, and the kill switch can end the instance.
    pub async fn connect(&self) -> Result<(PreparedSubject, Registry), ActError> {
        let plugin = subject::open(&self.subject, &self.around).map_err(SubjectError::from)?;
        let quarantined = self.store.quarantined().await?;
        if let Some(entry) = quarantined
            .iter()
            .find(|entry| entry.sha256 == plugin.sha256)
        {
            return Err(ActError::Quarantined(entry.reason.clone()));
        }
        let plugin = Arc::new(plugin);
        // Whatever isolation the subject is watched with: the kill switch can only end a process.
        let subject = SubjectConfig {
            isolation: Isolation::Worker,
            ..self.subject.clone()
        };
        let kept = self.store.descriptor(&subject.name).await?;
        let connected = match kept.filter(|kept| kept.sha256 == plugin.sha256) {
            Some(kept) => subject::prepare(&subject, plugin, kept.descriptor, &self.around).await?,
            None => Box::pin(subject::start(&subject, plugin, &self.around)).await?,
        };
        match connected.observer.list_actions().await {
            Ok(list) => Ok((connected, Registry::new(&self.subject.name, list))),
            Err(error) => {
                connected.observer.shutdown().await;
                Err(error.into())
            }
        }
    }

    /// Waits until the process is to end: at once, or, if `graceful` is enough, at all. Answers how.
    pub(super) async fn shutdown(&self, graceful: bool) -> Shutdown {
        let mut ending = self.ending.clone();
        let requested = ending.wait_for(|ending| match ending {
            Shutdown::None => false,
            Shutdown::Graceful => graceful,
            Shutdown::Immediate(_) => true,
        });
        let requested = requested.await.map(|ending| *ending);
        match requested {
            Ok(shutdown) => shutdown,
            // The sender is gone: nothing will ever be requested.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A unique key; version 7 sorts by time.
pub(super) fn new_key() -> String {
    uuid::Uuid::now_v7().to_string()
}
