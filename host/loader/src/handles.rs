//! Handles to a subject: one observes, one acts.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use operator_model::{Isolation, Sandbox};
use operator_plugin_api::{
    ActionResult, CheckReport, Descriptor, InvokeRequest, Resource, Source,
    bounds::MAX_CLOCK_DIFFERENCE_MS, document::ActionList, now_ms,
};
use operator_policy::{Acting, Approved, ValidCall};
use serde::{Deserialize, Serialize};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::{
    error::CallError,
    file::plugin::Plugin,
    health::PluginHealth,
    instance::{self, PluginInstance, SubjectSpec},
    link::Link,
    received::{self, Received},
    sandbox::confinement::Confinement,
    worker::protocol::Call,
};

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
    /// The parts of the subject that were looked at, and those that are gone.
    pub resources: Vec<Resource>,
    /// What the plugin is to be given with the next `observe`; absent when that is to stay as it is.
    pub memory: Option<Arc<RawValue>>,
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
    #[serde(default)]
    resources: Vec<Resource>,
    #[serde(default)]
    memory: Option<Box<RawValue>>,
}

/// [`operator_plugin_api::ObserveRequest`] with the memory as the text that is kept.
#[derive(Serialize)]
struct ObserveRequest<'a> {
    deadline_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<&'a RawValue>,
}

/// Observes one subject. Cheap to clone; clones share the plugin instance.
#[derive(Debug, Clone)]
pub struct Observer(Arc<PluginInstance>);

/// Refers to an [`Observer`] without keeping its plugin instance alive.
#[derive(Debug, Clone)]
pub struct WeakObserver(Weak<PluginInstance>);

impl WeakObserver {
    /// The observer, if one still exists.
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

/// Creates the handle to a subject. The plugin is started by the first call.
///
/// Calls need a tokio runtime. They are made one at a time: a call waits for the earlier ones, each of which ends by its own
/// deadline. A call whose caller stops waiting is still completed, and its reply dropped.
pub fn connect(spec: SubjectSpec) -> Observer {
    Observer(Arc::new(PluginInstance::new(spec)))
}

/// Calls a plugin's `describe`, in a separate worker (or on a separate thread, for `Isolation::None`).
pub async fn describe(
    plugin: &Plugin,
    isolation: Isolation,
    sandbox: &Sandbox,
    deadline: Duration,
) -> Result<Descriptor, CallError> {
    let name = &plugin.manifest.name;
    let mut link = Link::start(name, plugin, isolation, Arc::default(), sandbox).await?;
    let described = instance::describe(&mut link, plugin, sandbox, deadline).await;
    link.close(deadline).await;
    described
}

/// What the sandbox of such a plugin cannot enforce on this machine. Runs none of the plugin's code.
pub async fn confinement(
    plugin: &Plugin,
    isolation: Isolation,
    sandbox: &Sandbox,
    deadline: Duration,
) -> Result<Confinement, CallError> {
    let name = &plugin.manifest.name;
    let mut link = Link::start(name, plugin, isolation, Arc::default(), sandbox).await?;
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

    /// Observes the subject with a plugin that is given no memory of earlier observations.
    pub async fn observe(&self) -> Result<Observed, CallError> {
        self.observe_again(None).await
    }

    /// Observes the subject. `memory` is the last [`Observed::memory`] of the subject, from whichever instance.
    pub async fn observe_again(&self, memory: Option<&RawValue>) -> Result<Observed, CallError> {
        let request = ObserveRequest {
            deadline_ms: plugin_deadline_ms(self.0.spec.deadlines.observe),
            memory,
        };
        let request = body(Call::Observe, &request)?;
        let begun = now_ms();
        let document = self.0.call(Call::Observe, request).await?;
        let received = received::read(
            Call::Observe,
            document,
            &self.0.secrets,
            |head: &mut ObservationHead, _| {
                received::cut_head(&mut head.summary, &mut head.sources);
            },
        );
        let Received {
            value: head,
            document,
            original,
        } = received.await?;
        check_time(head.observed_at_ms, begun, now_ms())?;
        let document = Arc::from(document);
        self.keep_original(&document, original);
        Ok(Observed {
            document,
            observed_at_ms: head.observed_at_ms,
            summary: head.summary,
            slis: head.slis,
            sources: head.sources,
            resources: head.resources,
            memory: head.memory.map(Arc::from),
        })
    }

    /// Checks the invariants in an observation.
    pub async fn check(&self, observed: &Observed) -> Result<CheckReport, CallError> {
        let report = self.0.call(Call::Check, self.original(observed)).await?;
        let secrets = &self.0.secrets;
        let report = received::read(Call::Check, report, secrets, received::cut_report);
        Ok(report.await?.value)
    }

    /// Keeps an observation as the plugin gave it, until the next one.
    fn keep_original(&self, masked: &Arc<RawValue>, original: Option<Box<RawValue>>) {
        let kept = original.map(|original| (Arc::clone(masked), original));
        *self
            .0
            .original
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// An observation as the plugin gave it: masks must not change what is judged.
    fn original(&self, observed: &Observed) -> Box<RawValue> {
        let kept = self.0.original.lock();
        let kept = kept.unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((masked, original)) if Arc::ptr_eq(masked, &observed.document) => original.clone(),
            _ => (*observed.document).to_owned(),
        }
    }

    /// The actions of the plugin.
    pub async fn list_actions(&self) -> Result<ActionList, CallError> {
        let nothing = RawValue::NULL.to_owned();
        let list = self.0.call(Call::ListActions, nothing).await?;
        let list = received::read(Call::ListActions, list, &self.0.secrets, |_, _| {});
        Ok(list.await?.value)
    }

    /// Starts and failures of the plugin so far.
    pub fn health(&self) -> PluginHealth {
        self.0.health()
    }

    /// Waits for the current call, then drops the plugin instance within its `check` deadline and ends the worker. Later calls
    /// return [`CallError::Closed`].
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}

impl Invoker {
    /// Acts through the plugin instance of this observer. The calls of both are made one at a time.
    pub fn new(observer: &Observer, _: Acting) -> Self {
        Self(Arc::clone(&observer.0))
    }

    /// Makes the approved call. After an error, [`CallError::outcome_unknown`] is true if it can have had an effect.
    ///
    /// `idempotency_key` is the same for every attempt at one execution.
    pub async fn invoke(
        &self,
        approved: &Approved,
        idempotency_key: &str,
    ) -> Result<ActionResult, CallError> {
        self.call(approved.call(), idempotency_key, false).await
    }

    /// Asks the plugin what a call would do (`dry_run`). `None` if the action does not support that.
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
            deadline_ms: plugin_deadline_ms(self.0.spec.deadlines.invoke),
            idempotency_key: idempotency_key.to_owned(),
            dry_run,
        };
        let result = self
            .0
            .call(Call::Invoke, body(Call::Invoke, &request)?)
            .await?;
        let secrets = &self.0.secrets;
        let result = received::read(Call::Invoke, result, secrets, received::cut_result);
        Ok(result.await?.value)
    }

    /// Ends the plugin immediately, even during a call, whose outcome is then unknown. Returns whether it has ended: a worker in
    /// which the kernel waits for a device ends later, and with `Isolation::None` a thread is abandoned.
    pub async fn kill(&self) -> bool {
        self.0.kill().await
    }
}

/// The deadline that a plugin receives, in milliseconds: a tenth earlier than it is killed, so that it can reply in time.
fn plugin_deadline_ms(deadline: Duration) -> u64 {
    u64::try_from(deadline.mul_f64(0.9).as_millis()).unwrap_or(u64::MAX)
}

fn body<T: Serialize>(call: Call, request: &T) -> Result<Box<RawValue>, CallError> {
    to_raw_value(request).map_err(|error| CallError::BadAnswer {
        call: "request",
        why: format!(
            "the request of {} cannot be encoded: {error}",
            call.as_str()
        ),
    })
}

/// Refuses an observation that was not made during the call: it would count as current. If the clock was set during the call,
/// any time between is one.
fn check_time(observed_at: i64, begun: i64, ended: i64) -> Result<(), CallError> {
    let earliest = begun.min(ended) - MAX_CLOCK_DIFFERENCE_MS;
    let latest = begun.max(ended) + MAX_CLOCK_DIFFERENCE_MS;
    if (earliest..=latest).contains(&observed_at) {
        return Ok(());
    }
    Err(CallError::BadAnswer {
        call: Call::Observe.as_str(),
        why: format!(
            "`observed_at_ms` is {observed_at}, and the call ended at {ended}; it is the time of the observation, in \
             milliseconds since 1970, and at most {} s away from the call",
            MAX_CLOCK_DIFFERENCE_MS / 1000
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_from_the_time_of_its_call() {
        let now = now_ms();
        for at in [now - 60_000, now - 10, now, now + 61_000] {
            assert!(check_time(at, now - 1_000, now + 1_000).is_ok(), "{at}");
        }
        for at in [
            0,
            now / 1000,
            now - 62_000,
            now + 62_000,
            253_370_764_800_000,
            i64::MAX,
            i64::MIN,
        ] {
            assert!(check_time(at, now - 1_000, now + 1_000).is_err(), "{at}");
        }
        // The clock was set back by an hour.
        let hour = 3_600_000;
        for at in [now, now - hour] {
            assert!(check_time(at, now, now - hour).is_ok(), "{at}");
        }
    }
}
