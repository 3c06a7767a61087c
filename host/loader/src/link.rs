//! One interface to a plugin, in a worker process or on a thread of the operator.

use std::{sync::Arc, time::Duration};

use operator_model::{Isolation, Sandbox, Secrets};
use operator_plugin_api::ErrorKind;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    bounds,
    error::CallError,
    file::{copy::private_dir, error::LoadError, plugin::Plugin},
    sandbox::confinement::Confinement,
    worker::{
        client::Worker,
        in_process::PluginThread,
        protocol::{Call, ConfineRequest, LoadRequest, Reply},
    },
};

/// Where a plugin's code runs.
pub(crate) enum Link {
    Worker(Worker),
    Thread(PluginThread),
}

impl Link {
    /// Starts the process or the thread. No code of the plugin runs yet.
    pub(crate) async fn start(
        name: &str,
        plugin: &Plugin,
        isolation: Isolation,
        secrets: Arc<Secrets>,
        sandbox: &Sandbox,
    ) -> Result<Self, CallError> {
        let started = match isolation {
            Isolation::Worker => Worker::start(name, &plugin.work_dir(), secrets, sandbox)
                .await
                .map(Self::Worker),
            Isolation::None => private_dir(&plugin.work_dir())
                .and_then(|()| PluginThread::start(name))
                .map(Self::Thread),
        };
        started.map_err(|error| {
            LoadError::new(
                &plugin.path,
                format!("its worker cannot be started: {error}"),
            )
            .into()
        })
    }

    /// Confines the worker to what the sandbox grants. Returns, and logs, what could not be enforced.
    pub(crate) async fn confine(
        &mut self,
        plugin: &Plugin,
        sandbox: &Sandbox,
        deadline: Duration,
    ) -> Result<Confinement, CallError> {
        if matches!(self, Self::Thread(_)) {
            return Ok(Confinement::in_process());
        }
        let request = ConfineRequest {
            sandbox: sandbox.widened(),
            library: plugin.copy.clone(),
            watched: false,
        };
        let body = serde_json::value::to_raw_value(&request)
            .map_err(|error| LoadError::new(&plugin.path, error.to_string()))?;
        let document = self.call(plugin, Call::Confine, &body, deadline).await?;
        let confinement: Confinement = parse(Call::Confine, &document)?;
        if sandbox.enabled {
            for missing in &confinement.missing {
                tracing::warn!(plugin = %plugin.manifest.name, "sandbox: {missing}");
            }
        }
        Ok(confinement)
    }

    /// Opens the library.
    pub(crate) async fn load(
        &mut self,
        plugin: &Plugin,
        deadline: Duration,
    ) -> Result<(), CallError> {
        let request = LoadRequest {
            library: plugin.copy.clone(),
            report: plugin.work_dir().join("load-error.txt"),
        };
        let body = serde_json::value::to_raw_value(&request)
            .map_err(|error| LoadError::new(&plugin.path, error.to_string()))?;
        self.call(plugin, Call::Load, &body, deadline).await?;
        Ok(())
    }

    /// Makes one call and returns the plugin's document.
    pub(crate) async fn call(
        &mut self,
        plugin: &Plugin,
        call: Call,
        body: &RawValue,
        deadline: Duration,
    ) -> Result<Box<RawValue>, CallError> {
        let reply = match self {
            Self::Worker(worker) => worker.call(call, body, deadline).await?,
            Self::Thread(thread) => thread.call(call, body, deadline).await?,
        };
        let call = call.as_str();
        match reply {
            Reply::Document(document) => Ok(document),
            Reply::Error {
                kind,
                message,
                retryable,
            } => Err(CallError::Plugin {
                call,
                kind: ErrorKind::from_name(&kind),
                message,
                retryable,
            }),
            Reply::Invalid(why) => Err(CallError::BadAnswer { call, why }),
            Reply::LoadFailed(kind, why) => Err(LoadError::of_kind(kind, &plugin.path, why).into()),
        }
    }

    /// Whether it can be used after this error. A thread can: there is no way to replace it.
    pub(crate) fn survives(&self, error: &CallError) -> bool {
        match self {
            Self::Thread(_) => !error.is_crash(),
            Self::Worker(worker) => worker.is_usable(),
        }
    }

    /// Ends it at once. False if a worker has not ended yet although it was killed; a thread is abandoned.
    pub(crate) async fn end(self) -> bool {
        match self {
            Self::Worker(mut worker) => worker.end().await,
            Self::Thread(_) => false,
        }
    }

    /// Drops the plugin instance within this time. A worker is killed after it.
    pub(crate) async fn close(self, grace: Duration) {
        match self {
            Self::Worker(worker) => worker.close(grace).await,
            Self::Thread(thread) => thread.close(grace).await,
        }
    }
}

/// Parses a document of the plugin.
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    call: Call,
    document: &'a RawValue,
) -> Result<T, CallError> {
    serde_json::from_str(document.get()).map_err(|error| CallError::BadAnswer {
        call: call.as_str(),
        why: bounds::malformed(&error),
    })
}
