//! From a plugin file to handles through which a subject is watched and acted on.
//!
//! The only module that touches `libloading` and `abi_stable`. A file is examined without running any of it
//! ([`Plugin::open`]); its code runs in a worker process ([`worker_main`]), or on a thread of the operator's own. Both ways
//! make the same calls into the same session, and the callers here cannot tell which it was.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use operator_model::{Isolation, Sandbox};
use operator_plugin_api::{
    ActionResult, CheckReport, Descriptor, InvokeRequest, ObserveRequest, Source,
    document::ActionList,
};
use operator_policy::{Approved, ValidCall};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

#[cfg(all(target_os = "linux", feature = "probe"))]
mod access;
#[cfg(feature = "probe")]
mod attempts;
mod call;
#[cfg(all(target_os = "linux", feature = "probe"))]
mod caller;
#[cfg(feature = "probe")]
mod client;
mod confine;
mod confinement;
#[cfg(all(target_os = "linux", feature = "probe"))]
mod effects;
mod error;
mod file;
mod find;
#[cfg(all(target_os = "linux", feature = "probe"))]
mod granted;
mod grants;
mod health;
mod image;
#[cfg(all(target_os = "linux", feature = "probe"))]
mod inspect;
mod library;
mod link;
#[cfg(all(target_os = "linux", feature = "probe"))]
mod listener;
#[cfg(all(not(target_os = "linux"), feature = "probe"))]
mod listener {
    //! Elsewhere no system shows one process's calls to another.

    use std::{io, os::fd::OwnedFd, path::PathBuf};

    use super::{Attempt, grants::Grants};

    pub(super) enum Listener {}

    impl Listener {
        pub(super) fn start(_: Vec<OwnedFd>, _: PathBuf, _: &Grants, _: bool) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn attempts(&self) -> io::Result<Vec<Attempt>> {
            match *self {}
        }
    }
}
mod local;
mod log;
#[cfg(all(target_os = "linux", feature = "probe"))]
mod notify;
#[cfg(all(target_os = "linux", feature = "probe"))]
mod path;
mod plugin;
mod probe;
mod process;
mod remote;
mod session;
mod specimen;
mod subject;
#[cfg(all(target_os = "linux", feature = "probe"))]
mod watch;
mod worker;

#[cfg(feature = "probe")]
pub use attempts::Attempt;
#[cfg(feature = "probe")]
pub use client::Probe;
pub use confinement::Confinement;
pub use error::{CallError, LoadError, LoadErrorKind};
pub use find::{find_plugin, list_plugins};
pub use health::PluginHealth;
pub use plugin::{Candidate, Examined, Plugin, examine};
pub use probe::{Method, Payload, ProbeRequest, ProbeResponse, Text, Trespass};
pub use process::how_it_ended;
pub use remote::set_worker_program;
pub use subject::SubjectSpec;
pub use worker::{die_with_parent, take_stdin, worker_main};

use call::Call;
use link::Link;
use serde_json::Value;
use subject::{PluginInstance, parse};

/// An observation as the plugin wrote it, and the part of it that the host reads.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The whole document.
    pub document: Arc<RawValue>,
    /// When the observation was complete. Milliseconds since the Unix epoch.
    pub observed_at_ms: i64,
    /// One line for people.
    pub summary: String,
    /// Service level indicators by name.
    pub slis: BTreeMap<String, Option<f64>>,
    /// Every source that was asked.
    pub sources: Vec<Source>,
}

/// The part of an observation that the host reads.
#[derive(Deserialize)]
struct ObservationHead {
    observed_at_ms: i64,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    slis: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    sources: Vec<Source>,
}

/// Watches one subject. Cheap to clone; clones share the plugin instance.
#[derive(Debug, Clone)]
pub struct Observer(Arc<PluginInstance>);

/// Refers to an [`Observer`] without keeping its plugin instance alive.
#[derive(Debug, Clone)]
pub struct WeakObserver(Weak<PluginInstance>);

impl WeakObserver {
    /// The observer, as long as somebody else holds one.
    pub fn upgrade(&self) -> Option<Observer> {
        self.0.upgrade().map(Observer)
    }
}

/// Acts on one subject, in the plugin instance of an [`Observer`].
///
/// Its one way to change anything takes an [`Approved`], which only the rules of `operator-policy` can make:
///
/// ```compile_fail,E0308
/// # async fn example(invoker: operator_loader::Invoker, request: operator_plugin_api::InvokeRequest) {
/// invoker.invoke(&request, "key").await;
/// # }
/// ```
///
/// ```compile_fail,E0451
/// # fn example(plan: std::sync::Arc<operator_policy::ValidPlan>, call: operator_policy::ValidCall) {
/// let forged = operator_policy::Approved { plan, call, by: String::new() };
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Invoker(Arc<PluginInstance>);

/// A handle to a subject. Nothing is started before the first call.
///
/// Calls need a tokio runtime. They are made one at a time: a call first waits for those before it, each of which ends
/// by its own deadline. A call whose caller stops waiting is finished all the same, and its answer dropped.
pub fn connect(spec: SubjectSpec) -> Observer {
    Observer(Arc::new(PluginInstance::new(spec)))
}

/// What a plugin says of itself, asked in a worker of its own (or in this process, for `Isolation::None`).
pub async fn describe(
    plugin: &Plugin,
    isolation: Isolation,
    sandbox: &Sandbox,
    deadline: Duration,
) -> Result<Descriptor, CallError> {
    let name = &plugin.manifest.name;
    let mut link = Link::start(name, plugin, isolation, Arc::default()).await?;
    let described = subject::describe(&mut link, plugin, sandbox, deadline).await;
    link.close(deadline).await;
    described
}

/// What a plugin that runs like this is kept from on this machine. Runs none of its code.
pub async fn confinement(
    plugin: &Plugin,
    isolation: Isolation,
    sandbox: &Sandbox,
    deadline: Duration,
) -> Result<Confinement, CallError> {
    let name = &plugin.manifest.name;
    let mut link = Link::start(name, plugin, isolation, Arc::default()).await?;
    link.confine(plugin, sandbox, deadline).await
}

impl Observer {
    /// The subject's name in the configuration.
    pub fn name(&self) -> &str {
        &self.0.spec.name
    }

    /// A reference that does not keep the plugin instance alive.
    pub fn downgrade(&self) -> WeakObserver {
        WeakObserver(Arc::downgrade(&self.0))
    }

    /// Looks at the subject.
    pub async fn observe(&self) -> Result<Observed, CallError> {
        let deadline = self.0.spec.deadlines.observe;
        let request = ObserveRequest {
            deadline_ms: told(deadline),
        };
        let document = self
            .0
            .call(Call::Observe, body(Call::Observe, &request)?)
            .await?;
        let head: ObservationHead = parse(Call::Observe, &document)?;
        Ok(Observed {
            document: Arc::from(document),
            observed_at_ms: head.observed_at_ms,
            summary: head.summary,
            slis: head.slis,
            sources: head.sources,
        })
    }

    /// Judges an observation.
    pub async fn check(&self, observed: &Observed) -> Result<CheckReport, CallError> {
        let document = (*observed.document).to_owned();
        let report = self.0.call(Call::Check, document).await?;
        parse(Call::Check, &report)
    }

    /// What can be done to the subject.
    pub async fn list_actions(&self) -> Result<ActionList, CallError> {
        let nothing = RawValue::NULL.to_owned();
        let list = self.0.call(Call::ListActions, nothing).await?;
        parse(Call::ListActions, &list)
    }

    /// How the plugin has fared.
    pub fn health(&self) -> PluginHealth {
        self.0.health()
    }

    /// Ends the plugin in good order, within its `check` deadline, and without it after that. A call that is under way
    /// is waited for. Later calls answer [`CallError::Closed`].
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}

impl Invoker {
    /// Acts in the plugin instance of this observer. Calls of both are made one at a time.
    pub fn new(observer: &Observer) -> Self {
        Self(Arc::clone(&observer.0))
    }

    /// Makes the approved call. [`CallError::outcome_unknown`] says whether it may have had an effect when there is no result.
    ///
    /// `idempotency_key` is the same for every attempt at one execution.
    pub async fn invoke(
        &self,
        approved: &Approved,
        idempotency_key: &str,
    ) -> Result<ActionResult, CallError> {
        self.call(approved.call(), idempotency_key, false).await
    }

    /// Asks the plugin what a call would do (`dry_run`). None where its action does not offer that.
    pub async fn preview(
        &self,
        call: &ValidCall,
        idempotency_key: &str,
    ) -> Result<Option<ActionResult>, CallError> {
        if !call.definition().dry_run || call.is_tool() {
            return Ok(None);
        }
        self.call(call, idempotency_key, true).await.map(Some)
    }

    async fn call(
        &self,
        call: &ValidCall,
        idempotency_key: &str,
        dry_run: bool,
    ) -> Result<ActionResult, CallError> {
        let request = InvokeRequest {
            action: call.definition().name.clone(),
            params: Value::Object(call.params().clone()),
            deadline_ms: told(self.0.spec.deadlines.invoke),
            idempotency_key: idempotency_key.to_owned(),
            dry_run,
        };
        let result = self
            .0
            .call(Call::Invoke, body(Call::Invoke, &request)?)
            .await?;
        parse(Call::Invoke, &result)
    }

    /// Ends the plugin at once, in whatever call it is; what that call did is then not known. With `Isolation::None` its
    /// thread goes on alone.
    pub fn kill(&self) {
        self.0.kill();
    }
}

/// The deadline that a plugin is told, in milliseconds: a tenth before it is ended, so that it can answer by itself.
fn told(deadline: Duration) -> u64 {
    u64::try_from(deadline.mul_f64(0.9).as_millis()).unwrap_or(u64::MAX)
}

fn body<T: Serialize>(call: Call, request: &T) -> Result<Box<RawValue>, CallError> {
    to_raw_value(request).map_err(|error| CallError::BadAnswer {
        call: "request",
        why: format!("{} cannot be asked: {error}", call.as_str()),
    })
}
