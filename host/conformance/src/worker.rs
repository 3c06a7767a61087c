//! A plugin in a worker, and the calls that a case makes. A failed call is attributed to the case that tests for it.

use std::{path::Path, time::Duration};

use operator_loader::{
    CallError, LoadErrorKind, Method, Payload, Probe, ProbeRequest, ProbeResponse, Text,
};
use operator_plugin_api::{
    ActionDefinition, ActionResult, CheckReport, Descriptor, ErrorKind, InvokeRequest,
    ObserveRequest, document::ActionList,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    process::Process,
    verdict::{Status, Stop},
};

/// The cases that test for a plugin that ends its process.
pub(super) const DEATHS: [&str; 3] = [
    "robustness.exit",
    "robustness.segfault",
    "robustness.stack-overflow",
];
/// The cases that test for a call that does not return.
pub(super) const HANGS: [&str; 2] = ["robustness.spin", "robustness.lock"];

/// A worker, with or without the plugin's library opened.
pub(super) struct Worker {
    pub(super) probe: Probe,
    /// The limit of one call.
    pub(super) call: Duration,
}

impl Worker {
    /// Opens the library.
    pub(super) fn load(&mut self) -> Result<(), Stop> {
        self.probe.load(self.call).map_err(|error| match &error {
            CallError::Load(refused) => {
                let case = match refused.kind {
                    LoadErrorKind::Linker => "load.undefined-symbol",
                    _ => "load.layout",
                };
                Stop::blocked(&[case], Status::Fail, refused.why.clone())
            }
            CallError::Deadline { .. } => {
                Stop::blocked(&["load.time"], Status::Hang, "loading took too long")
            }
            _ => Stop::blocked(
                &["load.constructor-panic"],
                Status::Crash,
                described(&error),
            ),
        })
    }

    pub(super) fn load_other(&mut self, library: &Path) -> Result<(), Stop> {
        let loaded = self.probe.load_other(library, self.call);
        loaded.map_err(|error| Stop::fail(described(&error)))
    }

    pub(super) fn ask(&mut self, ask: ProbeRequest) -> Result<ProbeResponse, Stop> {
        self.probe.call(ask, self.call).map_err(ended)
    }

    pub(super) fn ask_together(
        &mut self,
        asks: Vec<ProbeRequest>,
    ) -> Result<Vec<ProbeResponse>, Stop> {
        self.probe.call_concurrently(asks, self.call).map_err(ended)
    }

    pub(super) fn repeat(
        &mut self,
        asks: Vec<ProbeRequest>,
        times: u32,
    ) -> Result<Vec<ProbeResponse>, Stop> {
        self.probe
            .call_repeatedly(asks, times, self.call)
            .map_err(ended)
    }

    pub(super) fn process(&self) -> Result<Process, Stop> {
        let pid = self.probe.pid();
        pid.map(Process)
            .ok_or_else(|| Stop::blocked(&DEATHS, Status::Crash, "the plugin's process has ended"))
    }

    pub(super) fn describe(&mut self) -> Result<Descriptor, Stop> {
        let payload = self.ask(ProbeRequest::Describe { module: 0 })?.payload;
        document("describe", payload).map_err(|stop| stop.attributed_to(&["describe.valid"]))
    }

    /// Creates an instance, which must succeed.
    pub(super) fn create(
        &mut self,
        instance: u32,
        config: &Map<String, Value>,
    ) -> Result<(), Stop> {
        let config = Value::Object(config.clone()).to_string();
        match self.try_create(instance, config)? {
            Payload::Text(_) => Ok(()),
            other => Err(Stop::blocked(
                &["config.example-accepted"],
                Status::Fail,
                format!("create {}", shown(&other)),
            )),
        }
    }

    pub(super) fn try_create(
        &mut self,
        instance: u32,
        config: impl Into<Text>,
    ) -> Result<Payload, Stop> {
        let config = config.into();
        let ask = ProbeRequest::Create {
            module: 0,
            instance,
            config,
        };
        Ok(self.ask(ask)?.payload)
    }

    pub(super) fn observe(
        &mut self,
        instance: u32,
        deadline: Duration,
    ) -> Result<ProbeResponse, Stop> {
        self.ask(observe(instance, deadline))
    }

    pub(super) fn check(&mut self, instance: u32, observation: &str) -> Result<Payload, Stop> {
        let ask = method(instance, Method::Check, observation);
        Ok(self.ask(ask)?.payload)
    }

    /// The report of a well-formed observation.
    pub(super) fn report(
        &mut self,
        instance: u32,
        observation: &Value,
    ) -> Result<CheckReport, Stop> {
        let payload = self.check(instance, &observation.to_string())?;
        document("check", payload).map_err(|stop| stop.attributed_to(&["check.violation-shape"]))
    }

    pub(super) fn actions(&mut self, instance: u32) -> Result<Vec<ActionDefinition>, Stop> {
        let payload = self.ask(method(instance, Method::ListActions, ""))?.payload;
        let list: ActionList = document("list_actions", payload)
            .map_err(|stop| stop.attributed_to(&["actions.params-typed"]))?;
        Ok(list.actions)
    }

    pub(super) fn invoke(
        &mut self,
        instance: u32,
        call: &InvokeRequest,
    ) -> Result<ProbeResponse, Stop> {
        self.ask(invoke(instance, call)?)
    }

    pub(super) fn drop_instance(&mut self, instance: u32) -> Result<ProbeResponse, Stop> {
        self.ask(ProbeRequest::Drop { instance })
    }

    pub(super) fn environment(&mut self) -> Result<String, Stop> {
        match self.ask(ProbeRequest::Environment)?.payload {
            Payload::Text(text) => Ok(text),
            other => Err(Stop::error(shown(&other))),
        }
    }
}

pub(super) fn method(instance: u32, method: Method, text: impl Into<Text>) -> ProbeRequest {
    ProbeRequest::Call {
        instance,
        method,
        text: text.into(),
    }
}

pub(super) fn observe(instance: u32, deadline: Duration) -> ProbeRequest {
    observe_again(instance, deadline, None)
}

pub(super) fn observe_again(
    instance: u32,
    deadline: Duration,
    memory: Option<Value>,
) -> ProbeRequest {
    let request = ObserveRequest {
        deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
        memory,
    };
    let text = serde_json::to_string(&request).unwrap_or_default();
    method(instance, Method::Observe, text)
}

pub(super) fn invoke(instance: u32, call: &InvokeRequest) -> Result<ProbeRequest, Stop> {
    let text = serde_json::to_string(call).map_err(Stop::error)?;
    Ok(method(instance, Method::Invoke, text))
}

/// A call without an answer, attributed to the cases that test for it.
pub(super) fn ended(error: CallError) -> Stop {
    match &error {
        CallError::Died { .. } => Stop::blocked(&DEATHS, Status::Crash, described(&error)),
        CallError::Deadline { deadline, .. } => {
            let deadline = humantime::format_duration(*deadline);
            let what = format!("a call did not return within {deadline}");
            Stop::blocked(&HANGS, Status::Hang, what)
        }
        CallError::BadAnswer { why, .. } => Stop::fail(why.clone()),
        _ => Stop::error(error),
    }
}

fn described(error: &CallError) -> String {
    error.to_string().replace("probe: ", "")
}

/// The answer as a document of this type.
pub(super) fn document<T: DeserializeOwned>(call: &str, payload: Payload) -> Result<T, Stop> {
    match payload {
        Payload::Text(text) => serde_json::from_str(&text).map_err(|error| {
            Stop::fail(format!(
                "{call} answered with a document of another shape: {error}"
            ))
        }),
        other => {
            let what = format!("{call} {}", shown(&other));
            Err(match other.error_kind() {
                Some(ErrorKind::Panic) => Stop::blocked(&["robustness.panic"], Status::Fail, what),
                _ => Stop::fail(what),
            })
        }
    }
}

pub(super) fn result(payload: Payload) -> Result<ActionResult, Stop> {
    document("invoke", payload)
}

/// The answer, short enough for a sentence.
pub(super) fn shown(payload: &Payload) -> String {
    match payload {
        Payload::Text(text) => format!("answered {}", short(text)),
        Payload::TooLarge(bytes) => format!("answered with {bytes} bytes"),
        Payload::Error { kind, message, .. } => {
            format!("answered with an error of kind {kind}: {}", short(message))
        }
        Payload::Nothing(why) => format!("gave no answer: {why}"),
    }
}

/// At most 200 characters.
pub(super) fn short(text: &str) -> String {
    const MOST: usize = 200;
    let mut cut: String = text.chars().take(MOST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
