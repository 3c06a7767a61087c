//! A subject's plugin instance. It is started when it is first needed, and receives one call at a time.

use std::{
    fmt,
    sync::{Arc, Mutex as StdMutex},
    time::Duration,
};

use operator_model::{Deadlines, Isolation, Sandbox, Secrets};
use operator_plugin_api::Descriptor;
use serde_json::value::{RawValue, to_raw_value};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use crate::{
    error::CallError,
    file::{error::LoadError, plugin::Plugin},
    health::{HealthRecord, PluginHealth},
    link::Link,
    received,
    worker::{client::STILL_RUNS, protocol::Call},
};

/// The deadline of a call.
pub(crate) fn deadline(deadlines: &Deadlines, call: Call) -> Duration {
    match call {
        Call::Confine | Call::Load | Call::Describe | Call::Create => deadlines.create,
        Call::Observe => deadlines.observe,
        Call::Check | Call::ListActions | Call::Drop => deadlines.check,
        #[cfg(feature = "probe")]
        Call::Probe => deadlines.check,
        Call::Invoke => deadlines.invoke,
    }
}

/// One subject to connect.
#[derive(Clone)]
pub struct SubjectSpec {
    /// Its name in the configuration.
    pub name: String,
    /// The plugin that watches it.
    pub plugin: Arc<Plugin>,
    /// The configuration that `create` receives. Can hold secrets.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Where the plugin runs.
    pub isolation: Isolation,
    /// What it can access in a worker.
    pub sandbox: Sandbox,
    /// The deadlines of its calls.
    pub deadlines: Deadlines,
}

impl fmt::Debug for SubjectSpec {
    /// Prints the configuration's keys, never its values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectSpec")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("config", &self.config.keys().collect::<Vec<_>>())
            .field("isolation", &self.isolation)
            .field("sandbox", &self.sandbox)
            .field("deadlines", &self.deadlines)
            .finish()
    }
}

/// Shared by the `Observer` and the `Invoker` of a subject.
pub(crate) struct PluginInstance {
    pub(crate) spec: Arc<SubjectSpec>,
    pub(crate) secrets: Arc<Secrets>,
    /// The last observation without its secrets, and as the plugin gave it, where they differ.
    pub(crate) original: StdMutex<Option<(Arc<RawValue>, Box<RawValue>)>>,
    state: Arc<Mutex<State>>,
    record: Arc<StdMutex<HealthRecord>>,
    killed: watch::Sender<bool>,
}

impl fmt::Debug for PluginInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PluginInstance")
            .field(&self.spec.name)
            .finish()
    }
}

struct State {
    spec: Arc<SubjectSpec>,
    record: Arc<StdMutex<HealthRecord>>,
    secrets: Arc<Secrets>,
    link: Option<Link>,
    /// Whether the link's plugin has been configured.
    is_ready: bool,
    is_closed: bool,
    /// False if it was killed and has not ended.
    has_ended: bool,
    killed: watch::Receiver<bool>,
}

impl PluginInstance {
    pub(crate) fn new(spec: SubjectSpec) -> Self {
        let spec = Arc::new(spec);
        let record = Arc::<StdMutex<HealthRecord>>::default();
        let secrets = Arc::<Secrets>::default();
        let (killed, watched) = watch::channel(false);
        let state = State {
            spec: Arc::clone(&spec),
            record: Arc::clone(&record),
            secrets: Arc::clone(&secrets),
            link: None,
            is_ready: false,
            is_closed: false,
            has_ended: true,
            killed: watched,
        };
        Self {
            spec,
            secrets,
            original: StdMutex::default(),
            state: Arc::new(Mutex::new(state)),
            record,
            killed,
        }
    }

    /// Kills a worker immediately, even during a call. A thread cannot be ended and is abandoned. Returns whether it has ended.
    pub(crate) async fn kill(&self) -> bool {
        self.killed.send_replace(true);
        self.state.lock().await.end().await
    }

    pub(crate) fn health(&self) -> PluginHealth {
        lock(&self.record, |record| record.health.clone())
    }

    /// Makes one call, after those that were started before it.
    ///
    /// The call continues even if the caller stops waiting, until it returns or its deadline passes. So its reply is never
    /// taken for the reply of the next call.
    pub(crate) async fn call(
        &self,
        call: Call,
        body: Box<RawValue>,
    ) -> Result<Box<RawValue>, CallError> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let running = tokio::spawn(async move { state.call(call, &body).await });
        // Only if the runtime shuts down, or if this code has a defect.
        running.await.unwrap_or_else(|error| {
            Err(CallError::Died {
                call: call.as_str(),
                how: format!("was abandoned: {error}"),
                log: None,
            })
        })
    }

    pub(crate) async fn shutdown(&self) {
        let grace = deadline(&self.spec.deadlines, Call::Drop);
        let mut state = self.state.lock().await;
        state.is_closed = true;
        if let Some(link) = state.link.take() {
            link.close(grace).await;
        }
    }
}

impl State {
    async fn call(&mut self, call: Call, body: &RawValue) -> Result<Box<RawValue>, CallError> {
        if self.is_closed {
            return Err(CallError::Closed {
                call: call.as_str(),
            });
        }
        self.ensure_ready().await?;
        let deadline = deadline(&self.spec.deadlines, call);
        let plugin = Arc::clone(&self.spec.plugin);
        let mut killed = self.killed.clone();
        let result = match &mut self.link {
            Some(link) => tokio::select! {
                result = link.call(&plugin, call, body, deadline) => Some(result),
                _ = killed.wait_for(|killed| *killed) => None,
            },
            None => Some(Err(CallError::Closed {
                call: call.as_str(),
            })),
        };
        let is_killed = *self.killed.borrow();
        let has_ended = !is_killed || self.end().await;
        let result = result.unwrap_or_else(|| {
            let how = if has_ended {
                "was killed by the operator".to_owned()
            } else {
                STILL_RUNS.to_owned()
            };
            Err(CallError::Died {
                call: call.as_str(),
                how,
                log: None,
            })
        });
        self.record_result(call.as_str(), result)
    }

    /// Ends the plugin for good. Returns whether it has ended.
    async fn end(&mut self) -> bool {
        self.is_closed = true;
        if let Some(link) = self.link.take() {
            self.has_ended = link.end().await;
        }
        self.has_ended
    }

    /// Loads and configures the plugin if necessary. An error during the pause after a failure.
    async fn ensure_ready(&mut self) -> Result<(), CallError> {
        if self.is_ready {
            return Ok(());
        }
        if let Some(waiting) = lock(&self.record, |record| record.wait()) {
            return Err(waiting);
        }
        let whole = self.spec.deadlines.create;
        let started = self.start().await.map_err(|error| of_whole(error, whole));
        self.record_result(Call::Create.as_str(), started)?;
        self.is_ready = true;
        Ok(())
    }

    async fn start(&mut self) -> Result<(), CallError> {
        let spec = Arc::clone(&self.spec);
        if self.link.is_none() {
            let secrets = Arc::clone(&self.secrets);
            let (plugin, isolation) = (&spec.plugin, spec.isolation);
            let link = Link::start(&spec.name, plugin, isolation, secrets, &spec.sandbox);
            self.link = Some(link.await?);
        }
        let Some(link) = &mut self.link else {
            return Err(LoadError::new(&spec.plugin.path, "has no worker").into());
        };
        lock(&self.record, HealthRecord::started);
        let until = Instant::now() + spec.deadlines.create;
        let descriptor = describe(link, &spec.plugin, &spec.sandbox, spec.deadlines.create).await?;
        self.secrets.learn(&descriptor.config_schema, &spec.config);
        let config = to_raw_value(&spec.config).map_err(|error| CallError::BadAnswer {
            call: Call::Create.as_str(),
            why: error.to_string(),
        })?;
        let left = until.saturating_duration_since(Instant::now());
        link.call(&spec.plugin, Call::Create, &config, left).await?;
        Ok(())
    }

    /// Counts a call's result, and drops a plugin that can no longer be used.
    fn record_result<T>(
        &mut self,
        call: &'static str,
        result: Result<T, CallError>,
    ) -> Result<T, CallError> {
        let error = match result {
            Ok(value) => {
                lock(&self.record, |record| record.succeeded(call));
                return Ok(value);
            }
            Err(error) => error.masked(&self.secrets),
        };
        let survives = self.link.as_ref().is_some_and(|link| link.survives(&error));
        // A plugin that could not be configured is restarted after a pause.
        let ended = !survives || !self.is_ready;
        if ended {
            self.is_ready = false;
            self.link
                .take_if(|link| matches!(link, Link::Worker(_)) || !survives);
        }
        let is_busy = matches!(error, CallError::Busy { .. });
        lock(&self.record, |record| {
            record.failed(call, &error, ended && !is_busy);
        });
        Err(error)
    }
}

/// Confines the worker, opens the library and calls `describe`.
pub(crate) async fn describe(
    link: &mut Link,
    plugin: &Plugin,
    sandbox: &Sandbox,
    deadline: Duration,
) -> Result<Descriptor, CallError> {
    let until = Instant::now() + deadline;
    let left = || until.saturating_duration_since(Instant::now());
    let described = async {
        link.confine(plugin, sandbox, left()).await?;
        link.load(plugin, left()).await?;
        link.call(plugin, Call::Describe, RawValue::NULL, left())
            .await
    };
    let document = described.await.map_err(|error| of_whole(error, deadline))?;
    // The plugin has not been given any.
    let no_secrets = Arc::default();
    let described = received::read(Call::Describe, document, &no_secrets, |_, _| {});
    Ok(described.await?.value)
}

/// The steps of a start share one deadline; a person knows only the whole.
fn of_whole(error: CallError, deadline: Duration) -> CallError {
    match error {
        CallError::Deadline { call, .. } => CallError::Deadline { call, deadline },
        error => error,
    }
}

fn lock<T>(record: &StdMutex<HealthRecord>, use_it: impl FnOnce(&mut HealthRecord) -> T) -> T {
    let mut record = record
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    use_it(&mut record)
}
