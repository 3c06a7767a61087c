//! One subject: its plugin instance, brought up when needed, one call at a time.

use std::{
    fmt,
    sync::{Arc, Mutex as StdMutex},
    time::Duration,
};

use operator_model::{Deadlines, Isolation, Sandbox, Secrets};
use operator_plugin_api::Descriptor;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use super::{
    Plugin,
    call::Call,
    error::{CallError, LoadError},
    health::{PluginHealth, Record},
    link::Link,
};

/// The deadline of a call.
pub(super) fn deadline(deadlines: &Deadlines, call: Call) -> Duration {
    match call {
        Call::Confine | Call::Load | Call::Describe | Call::Create => deadlines.create,
        Call::Observe => deadlines.observe,
        Call::Check | Call::ListActions | Call::Drop | Call::Probe => deadlines.check,
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
    /// What `create` is given: a JSON object. May hold secrets.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Where the plugin runs.
    pub isolation: Isolation,
    /// What it may reach in a worker.
    pub sandbox: Sandbox,
    /// How long its calls may take.
    pub deadlines: Deadlines,
}

impl fmt::Debug for SubjectSpec {
    /// Names the configuration's keys, never its values.
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

/// What `Observer` and `Invoker` share.
pub(super) struct PluginInstance {
    pub(super) spec: Arc<SubjectSpec>,
    state: Arc<Mutex<State>>,
    record: Arc<StdMutex<Record>>,
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
    record: Arc<StdMutex<Record>>,
    secrets: Arc<Secrets>,
    link: Option<Link>,
    /// Whether the link's plugin has been configured.
    is_ready: bool,
    is_closed: bool,
    killed: watch::Receiver<bool>,
}

impl PluginInstance {
    pub(super) fn new(spec: SubjectSpec) -> Self {
        let spec = Arc::new(spec);
        let record = Arc::<StdMutex<Record>>::default();
        let (killed, watched) = watch::channel(false);
        let state = State {
            spec: Arc::clone(&spec),
            record: Arc::clone(&record),
            secrets: Arc::default(),
            link: None,
            is_ready: false,
            is_closed: false,
            killed: watched,
        };
        Self {
            spec,
            state: Arc::new(Mutex::new(state)),
            record,
            killed,
        }
    }

    /// Ends a worker at once, in whatever call it is. A thread cannot be ended: it is left to itself.
    pub(super) fn kill(&self) {
        self.killed.send_replace(true);
    }

    pub(super) fn health(&self) -> PluginHealth {
        lock(&self.record, |record| record.health.clone())
    }

    /// One call, after those that are under way.
    ///
    /// The call runs on even when the caller stops waiting, until it has ended or its deadline has: so no answer is ever
    /// left behind for the next call to find.
    pub(super) async fn call(
        &self,
        call: Call,
        body: Box<RawValue>,
    ) -> Result<Box<RawValue>, CallError> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let running = tokio::spawn(async move { state.call(call, &body).await });
        // Only when the runtime is shut down under it, or when there is a defect here.
        running.await.unwrap_or_else(|error| {
            Err(CallError::Died {
                call: call.as_str(),
                how: format!("was abandoned: {error}"),
                log: None,
            })
        })
    }

    pub(super) async fn shutdown(&self) {
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
        self.bring_up().await?;
        let deadline = deadline(&self.spec.deadlines, call);
        let plugin = Arc::clone(&self.spec.plugin);
        let mut killed = self.killed.clone();
        let result = match &mut self.link {
            Some(link) => tokio::select! {
                result = link.call(&plugin, call, body, deadline) => result,
                _ = killed.wait_for(|killed| *killed) => Err(CallError::Died {
                    call: call.as_str(),
                    how: "was ended by the operator".to_owned(),
                    log: None,
                }),
            },
            None => Err(CallError::Closed {
                call: call.as_str(),
            }),
        };
        if *self.killed.borrow() {
            // Dropping a worker kills it.
            self.is_closed = true;
            self.link = None;
        }
        self.judge(call.as_str(), result)
    }

    /// Has the plugin loaded and configured, unless it failed too short a time ago.
    async fn bring_up(&mut self) -> Result<(), CallError> {
        if self.is_ready {
            return Ok(());
        }
        if let Some(waiting) = lock(&self.record, |record| record.wait()) {
            return Err(waiting);
        }
        let brought_up = self.start().await.map_err(|error| match error {
            // What was left of it for the last step means nothing to a person.
            CallError::Deadline { call, .. } => CallError::Deadline {
                call,
                deadline: self.spec.deadlines.create,
            },
            error => error,
        });
        self.judge(Call::Create.as_str(), brought_up)?;
        self.is_ready = true;
        Ok(())
    }

    async fn start(&mut self) -> Result<(), CallError> {
        let spec = Arc::clone(&self.spec);
        if self.link.is_none() {
            let secrets = Arc::clone(&self.secrets);
            let link = Link::start(&spec.name, &spec.plugin, spec.isolation, secrets).await?;
            self.link = Some(link);
        }
        let Some(link) = &mut self.link else {
            return Err(LoadError::new(&spec.plugin.path, "has no worker").into());
        };
        lock(&self.record, Record::started);
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

    /// Draws the consequences of a call's result: keeps count, and lets go of a plugin that is of no more use.
    fn judge<T>(
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
        // A plugin that could not be configured is started anew, after a pause.
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

/// Confines the plugin, loads the library and asks it for its descriptor.
pub(super) async fn describe(
    link: &mut Link,
    plugin: &Plugin,
    sandbox: &Sandbox,
    deadline: Duration,
) -> Result<Descriptor, CallError> {
    let until = Instant::now() + deadline;
    link.confine(plugin, sandbox, deadline).await?;
    let left = until.saturating_duration_since(Instant::now());
    link.load(plugin, left).await?;
    let left = until.saturating_duration_since(Instant::now());
    let document = link
        .call(plugin, Call::Describe, RawValue::NULL, left)
        .await?;
    parse(Call::Describe, &document)
}

/// The document as the type that it must be.
pub(super) fn parse<T: DeserializeOwned>(call: Call, document: &RawValue) -> Result<T, CallError> {
    serde_json::from_str(document.get()).map_err(|error| CallError::BadAnswer {
        call: call.as_str(),
        why: format!("answered with a document of another shape: {error}"),
    })
}

fn lock<T>(record: &StdMutex<Record>, use_it: impl FnOnce(&mut Record) -> T) -> T {
    let mut record = record
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    use_it(&mut record)
}
