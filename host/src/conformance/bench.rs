//! A plugin in a worker, and what a case can ask of it. What goes wrong on the way, and is another case's business, says so.

use std::{path::Path, time::Duration};

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
use crate::loader::{Answer, Ask, CallError, Method, Probe, Refusal, Said, Text};

/// The cases that find a plugin which ends its process.
pub(super) const DEATHS: [&str; 3] = [
    "robustness.exit",
    "robustness.segfault",
    "robustness.stack-overflow",
];
/// The cases that find a plugin which does not come back.
pub(super) const HANGS: [&str; 2] = ["robustness.spin", "robustness.lock"];

/// A plugin in a worker.
pub(super) struct Bench {
    pub(super) probe: Probe,
    /// How long a call may take.
    pub(super) call: Duration,
}

impl Bench {
    /// Opens the library.
    pub(super) fn load(&mut self) -> Result<(), Stop> {
        self.probe.load(self.call).map_err(|error| match &error {
            CallError::Load(refused) => {
                let case = match refused.refusal {
                    Refusal::Linker => "load.undefined-symbol",
                    _ => "load.layout",
                };
                Stop::blocked(&[case], Status::Fail, refused.why.clone())
            }
            CallError::Deadline { .. } => {
                Stop::blocked(&["load.time"], Status::Hang, "loading took too long")
            }
            _ => Stop::blocked(&["load.constructor-panic"], Status::Crash, told(&error)),
        })
    }

    pub(super) fn load_other(&mut self, library: &Path) -> Result<(), Stop> {
        let loaded = self.probe.load_other(library, self.call);
        loaded.map_err(|error| Stop::fail(told(&error)))
    }

    pub(super) fn ask(&mut self, ask: Ask) -> Result<Answer, Stop> {
        self.probe.ask(ask, self.call).map_err(ended)
    }

    pub(super) fn ask_together(&mut self, asks: Vec<Ask>) -> Result<Vec<Answer>, Stop> {
        self.probe.ask_together(asks, self.call).map_err(ended)
    }

    pub(super) fn repeat(&mut self, asks: Vec<Ask>, times: u32) -> Result<Vec<Answer>, Stop> {
        self.probe.ask_all(asks, times, self.call).map_err(ended)
    }

    pub(super) fn process(&self) -> Result<Process, Stop> {
        let pid = self.probe.pid();
        pid.map(Process)
            .ok_or_else(|| Stop::blocked(&DEATHS, Status::Crash, "the plugin's process has ended"))
    }

    pub(super) fn describe(&mut self) -> Result<Descriptor, Stop> {
        let said = self.ask(Ask::Describe { module: 0 })?.said;
        document("describe", said).map_err(|stop| stop.of_another(&["describe.valid"]))
    }

    /// Makes an instance, which must succeed.
    pub(super) fn create(
        &mut self,
        instance: u32,
        config: &Map<String, Value>,
    ) -> Result<(), Stop> {
        let config = Value::Object(config.clone()).to_string();
        match self.try_create(instance, config)? {
            Said::Text(_) => Ok(()),
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
    ) -> Result<Said, Stop> {
        let config = config.into();
        let ask = Ask::Create {
            module: 0,
            instance,
            config,
        };
        Ok(self.ask(ask)?.said)
    }

    pub(super) fn observe(&mut self, instance: u32, deadline: Duration) -> Result<Answer, Stop> {
        self.ask(observe(instance, deadline))
    }

    pub(super) fn check(&mut self, instance: u32, observation: &str) -> Result<Said, Stop> {
        let ask = method(instance, Method::Check, observation);
        Ok(self.ask(ask)?.said)
    }

    /// The report over an observation that can be read.
    pub(super) fn report(
        &mut self,
        instance: u32,
        observation: &Value,
    ) -> Result<CheckReport, Stop> {
        let said = self.check(instance, &observation.to_string())?;
        document("check", said).map_err(|stop| stop.of_another(&["check.violation-shape"]))
    }

    pub(super) fn actions(&mut self, instance: u32) -> Result<Vec<ActionDefinition>, Stop> {
        let said = self.ask(method(instance, Method::ListActions, ""))?.said;
        let list: ActionList = document("list_actions", said)
            .map_err(|stop| stop.of_another(&["actions.params-typed"]))?;
        Ok(list.actions)
    }

    pub(super) fn invoke(&mut self, instance: u32, call: &InvokeRequest) -> Result<Answer, Stop> {
        self.ask(invoke(instance, call)?)
    }

    pub(super) fn drop_instance(&mut self, instance: u32) -> Result<Answer, Stop> {
        self.ask(Ask::Drop { instance })
    }

    pub(super) fn environment(&mut self) -> Result<String, Stop> {
        match self.ask(Ask::Environment)?.said {
            Said::Text(text) => Ok(text),
            other => Err(Stop::error(shown(&other))),
        }
    }
}

pub(super) fn method(instance: u32, method: Method, text: impl Into<Text>) -> Ask {
    Ask::Call {
        instance,
        method,
        text: text.into(),
    }
}

pub(super) fn observe(instance: u32, deadline: Duration) -> Ask {
    let request = ObserveRequest {
        deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
    };
    let text = serde_json::to_string(&request).unwrap_or_default();
    method(instance, Method::Observe, text)
}

pub(super) fn invoke(instance: u32, call: &InvokeRequest) -> Result<Ask, Stop> {
    let text = serde_json::to_string(call).map_err(Stop::error)?;
    Ok(method(instance, Method::Invoke, text))
}

/// A call that gave nothing, as the business of the case that looks for such ends.
pub(super) fn ended(error: CallError) -> Stop {
    match &error {
        CallError::Died { .. } => Stop::blocked(&DEATHS, Status::Crash, told(&error)),
        CallError::Deadline { deadline, .. } => {
            let deadline = humantime::format_duration(*deadline);
            let what = format!("a call did not come back within {deadline}");
            Stop::blocked(&HANGS, Status::Hang, what)
        }
        CallError::BadAnswer { why, .. } => Stop::fail(why.clone()),
        _ => Stop::error(error),
    }
}

fn told(error: &CallError) -> String {
    error.to_string().replace("probe: ", "")
}

/// A document of this type, or how the answer falls short of it.
pub(super) fn document<T: DeserializeOwned>(call: &str, said: Said) -> Result<T, Stop> {
    match said {
        Said::Text(text) => serde_json::from_str(&text)
            .map_err(|error| Stop::fail(format!("{call} answered with no such document: {error}"))),
        other => {
            let what = format!("{call} {}", shown(&other));
            Err(match other.error_kind() {
                Some(ErrorKind::Panic) => Stop::blocked(&["robustness.panic"], Status::Fail, what),
                _ => Stop::fail(what),
            })
        }
    }
}

pub(super) fn result(said: Said) -> Result<ActionResult, Stop> {
    document("invoke", said)
}

/// What the plugin said, short enough for a sentence.
pub(super) fn shown(said: &Said) -> String {
    match said {
        Said::Text(text) => format!("answered {}", short(text)),
        Said::TooLarge(bytes) => format!("answered with {bytes} bytes"),
        Said::Error { kind, message, .. } => {
            format!("answered with an error of kind {kind}: {}", short(message))
        }
        Said::Nothing(why) => format!("gave nothing: {why}"),
    }
}

/// Cut to what one reads.
pub(super) fn short(text: &str) -> String {
    const MOST: usize = 200;
    let mut cut: String = text.chars().take(MOST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
