//! The two ways to a plugin, as one.

use std::{sync::Arc, time::Duration};

use operator_model::{Isolation, Sandbox, Secrets};
use operator_plugin_api::ErrorKind;
use serde_json::value::RawValue;

use super::{
    call::{Call, ConfineRequest, LoadRequest, Outcome},
    error::{CallError, LoadError},
    local::Local,
    plugin::Plugin,
    remote::Worker,
};
use crate::Confinement;

/// A way to a plugin instance.
pub(super) enum Link {
    Worker(Worker),
    Local(Local),
}

impl Link {
    /// Starts the process or the thread. No code of the plugin runs yet.
    pub(super) async fn start(
        name: &str,
        plugin: &Plugin,
        isolation: Isolation,
        secrets: Arc<Secrets>,
    ) -> Result<Self, CallError> {
        let started = match isolation {
            Isolation::Worker => Worker::start(name, &plugin.work_dir(), secrets)
                .await
                .map(Self::Worker),
            Isolation::None => super::file::private_dir(&plugin.work_dir())
                .and_then(|()| Local::start(name))
                .map(Self::Local),
        };
        started.map_err(|error| {
            LoadError::new(
                &plugin.path,
                format!("its worker cannot be started: {error}"),
            )
            .into()
        })
    }

    /// Takes from the plugin what it is not granted; says what cannot be taken.
    pub(super) async fn confine(
        &mut self,
        plugin: &Plugin,
        sandbox: &Sandbox,
        deadline: Duration,
    ) -> Result<Confinement, CallError> {
        if matches!(self, Self::Local(_)) {
            return Ok(Confinement::in_process());
        }
        let request = ConfineRequest {
            sandbox: sandbox.widened(),
            library: plugin.copy.clone(),
            watched: false,
        };
        let body = serde_json::value::to_raw_value(&request)
            .map_err(|error| LoadError::new(&plugin.path, error.to_string()))?;
        let answer = self.call(plugin, Call::Confine, &body, deadline).await?;
        let confinement: Confinement = super::subject::parse(Call::Confine, &answer)?;
        if sandbox.enabled {
            for missing in &confinement.missing {
                tracing::warn!(plugin = %plugin.manifest.name, "sandbox: {missing}");
            }
        }
        Ok(confinement)
    }

    /// Opens the library.
    pub(super) async fn load(
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

    /// One call, and the plugin's document.
    pub(super) async fn call(
        &mut self,
        plugin: &Plugin,
        call: Call,
        body: &RawValue,
        deadline: Duration,
    ) -> Result<Box<RawValue>, CallError> {
        let outcome = match self {
            Self::Worker(worker) => worker.call(call, body, deadline).await?,
            Self::Local(local) => local.call(call, body, deadline).await?,
        };
        let call = call.as_str();
        match outcome {
            Outcome::Answer(document) => Ok(document),
            Outcome::Error {
                kind,
                message,
                retryable,
            } => Err(CallError::Plugin {
                call,
                kind: ErrorKind::from_name(&kind),
                message,
                retryable,
            }),
            Outcome::Bad(why) => Err(CallError::BadAnswer { call, why }),
            Outcome::Refused(refusal, why) => {
                Err(LoadError::refused(&plugin.path, refusal, why).into())
            }
        }
    }

    /// Whether it is still of use after this error. A thread is: it cannot be ended, only waited for.
    pub(super) fn survives(&self, error: &CallError) -> bool {
        match self {
            Self::Local(_) => !error.is_crash(),
            Self::Worker(worker) => worker.is_usable(),
        }
    }

    /// Ends it in good order, within this time, or else without.
    pub(super) async fn close(self, grace: Duration) {
        match self {
            Self::Worker(worker) => worker.close(grace).await,
            Self::Local(local) => local.close(grace).await,
        }
    }
}
