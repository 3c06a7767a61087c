//! The façade that every user interface calls: everything that can be asked of the operator or changed in it.
//!
//! Requests and replies are owned values. A process that runs the daemon answers from its running workers; any other starts a
//! worker for the question. What happens reaches an interface through [`Service::subscribe`].
//!
//! It cannot act: an `Invoker` is made with a value of `operator-policy`, on which this crate does not depend.
//!
//! ```compile_fail,E0433
//! fn invoker(observer: &operator_loader::Observer) -> operator_loader::Invoker {
//!     operator_loader::Invoker::new(observer, operator_policy::Acting)
//! }
//! ```

mod actions;
mod control;
mod daemon;
mod daemons;
mod events;
mod machine;
mod plugins;
mod proposals;
mod run;
mod running;
mod stop;
mod subjects;
mod tickets;

use std::sync::Arc;

use operator_actions::ActError;
use operator_config::{Environment, Fault, Faults, Loaded, Origin, SubjectConfig};
use operator_loader::{CallError, LoadError};
use operator_model::nearest;
use operator_store::{Store, StoreError};
use operator_subject::{SubjectContext, SubjectError};
use tokio::sync::OnceCell;

use events::Publisher;
use running::RunningSubjects;

pub use actions::{ActionRequest, DryRun, Plan, PlannedCall};
pub use control::SubjectMode;
pub use daemon::Daemon;
pub use daemons::{DaemonHealth, KnownDaemon};
pub use events::{Subscription, Update};
pub use operator_actions::{CallFault, Consequence, GateError, Ruling};
pub use operator_loader::Observed;
pub use operator_monitor::{Event, Status, Tally};
pub use operator_store::{
    AuditFilter, Cancelled, Engaged, ProposalFilter, Quarantined, TicketFilter, log_filter,
};
pub use plugins::{Inspected, Listed};
pub use proposals::{ProposalRequest, ProposalStory};
pub use run::{Interrupt, Performed, RunRequest};
pub use stop::Stop;
pub use subjects::{Checked, SloResult, SubjectHealth};
pub use tickets::{Guidance, TicketStory};

/// Why the operator could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// What was asked for does not exist or is not possible. The caller can fix it.
    #[error("{0}")]
    Input(String),
    /// The configuration is at fault.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The configuration does not grant what a plugin needs.
    #[error(transparent)]
    NotGranted(Faults),
    /// A call of an action does not fit.
    #[error(transparent)]
    Call(#[from] CallFault),
    /// A plugin file is refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] CallError),
    /// A plugin gives no descriptor.
    #[error("plugin {plugin}: {source}")]
    Describe {
        /// Name of the plugin.
        plugin: String,
        /// Why.
        source: CallError,
    },
    /// A plugin declares its configuration by a schema that cannot be used.
    #[error("plugin {plugin}: {why}; tell the author of the plugin")]
    Schema {
        /// Name of the plugin.
        plugin: String,
        /// Why.
        why: String,
    },
    /// There is no database to answer from.
    #[error("{0}")]
    NoDatabase(String),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// Something was done, and that could not be recorded.
    #[error("{0}")]
    Unrecorded(String),
    /// A rule of the gate refuses.
    #[error(transparent)]
    Refused(#[from] GateError),
}

impl From<ActError> for ServiceError {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Refused(refused) => Self::Refused(refused),
            ActError::Fault(fault) => Self::Call(fault),
            ActError::Subject(error) => error.into(),
            error @ (ActError::Quarantined(_) | ActError::AlreadyUndone(_)) => {
                Self::Input(error.to_string())
            }
            ActError::Plugin(error) => Self::Plugin(error),
            ActError::Store(error) => error.into(),
            error @ ActError::Unrecorded { .. } => Self::Unrecorded(error.to_string()),
        }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing { .. } => Self::Input(error.to_string()),
            StoreError::Absent { .. } => Self::NoDatabase(error.to_string()),
            error => Self::Store(error),
        }
    }
}

impl From<SubjectError> for ServiceError {
    fn from(error: SubjectError) -> Self {
        match error {
            SubjectError::Load(error) => Self::Load(error),
            SubjectError::Config(faults) => Self::Config(faults),
            SubjectError::NotGranted(faults) => Self::NotGranted(faults),
            SubjectError::Describe { plugin, source } => Self::Describe { plugin, source },
            SubjectError::Schema { plugin, why } => Self::Schema { plugin, why },
        }
    }
}

/// The façade. Opens the store when something first needs it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Service {
    loaded: Arc<Loaded>,
    subject_context: Arc<SubjectContext>,
    store: Arc<OnceCell<Store>>,
    /// The same database, opened to be read.
    reading: Arc<OnceCell<Store>>,
    publisher: Publisher,
    running: RunningSubjects,
}

impl Service {
    /// A service over this configuration. Opens and starts nothing.
    pub fn new(loaded: Loaded, environment: &Environment) -> Self {
        Self {
            subject_context: Arc::new(SubjectContext::new(&loaded, environment)),
            loaded: Arc::new(loaded),
            store: Arc::default(),
            reading: Arc::default(),
            publisher: Publisher::default(),
            running: RunningSubjects::default(),
        }
    }

    /// The same over another store, with no subject connected yet. Its updates reach the same subscribers.
    pub(crate) fn over(&self, store: Store) -> Self {
        Self {
            store: Arc::new(OnceCell::new_with(Some(store))),
            reading: Arc::default(),
            running: RunningSubjects::default(),
            ..self.clone()
        }
    }

    /// The configuration of this process.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    pub(crate) fn subject_context(&self) -> &Arc<SubjectContext> {
        &self.subject_context
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The store, opened if it is not yet.
    pub(crate) async fn store(&self) -> Result<&Store, ServiceError> {
        let open = || Store::open(&self.loaded.config.database);
        self.store
            .get_or_try_init(open)
            .await
            .map_err(ServiceError::from)
    }

    /// The store for a question that changes nothing. Creates no database, and reads one that this process cannot write.
    pub(crate) async fn reading(&self) -> Result<&Store, ServiceError> {
        if let Some(open) = self.store.get() {
            return Ok(open);
        }
        let open = || Store::open_to_read(&self.loaded.config.database);
        self.reading
            .get_or_try_init(open)
            .await
            .map_err(ServiceError::from)
    }

    /// A subject by its name, or the only one.
    pub fn subject(&self, name: Option<&str>) -> Result<&SubjectConfig, ServiceError> {
        let subjects = &self.loaded.config.subjects;
        let names = || subjects.iter().map(|subject| subject.name.as_str());
        match (name, subjects.as_slice()) {
            (None, [only]) => Ok(only),
            (None, []) => Err(no_subject()),
            (None, _) => Err(ServiceError::Input(format!(
                "there are several subjects; pick one with --subject: {}",
                names().collect::<Vec<_>>().join(", ")
            ))),
            (Some(name), _) => subjects.iter().find(|s| s.name == name).ok_or_else(|| {
                let fix = nearest(name, names())
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                ServiceError::Input(format!("there is no subject `{name}`{fix}"))
            }),
        }
    }
}

/// Nothing is configured: the first error that a new user meets.
pub fn no_subject() -> ServiceError {
    ServiceError::Config(Faults::one(Fault {
        origin: Origin::Default,
        key: None,
        what: "there is no subject to watch".to_owned(),
        fix: "name a plugin with --plugin PATH, or write subjects into a file: `operator config default` prints one"
            .to_owned(),
    }))
}
