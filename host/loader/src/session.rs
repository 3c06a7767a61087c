//! One plugin instance and the calls into it: the same in a worker and in the operator's own process.

use std::path::Path;

use abi_stable::std_types::{RResult, RString};
use operator_plugin_api::abi::{BoxedSubject, PluginError, Reply, SubjectModuleRef};
use serde_json::value::RawValue;

use super::{
    call::{Call, LoadRequest, MAX_ANSWER, Outcome},
    library,
    specimen::Specimen,
};

/// The longest error message of a plugin that is passed on, in bytes.
const MAX_MESSAGE: usize = 8 << 10;

/// A plugin, as far as it has been brought up.
#[derive(Default)]
pub(super) struct Session {
    module: Option<SubjectModuleRef>,
    subject: Option<BoxedSubject>,
    /// For conformance cases alone.
    specimen: Specimen,
}

impl Session {
    /// Makes the call; blocks as long as the plugin does.
    pub(super) fn handle(&mut self, call: Call, body: &str) -> Outcome {
        match (call, self.module, &self.subject) {
            (Call::Load, _, _) => self.load(body),
            (Call::Drop, _, _) => {
                self.subject = None;
                null()
            }
            (Call::Probe, _, _) => self.specimen.handle(body),
            (Call::Describe, Some(module), _) => outcome(module.describe()()),
            (Call::Create, Some(module), _) => self.create(module, body),
            (Call::Observe, _, Some(subject)) => outcome(subject.observe(body.into())),
            (Call::Check, _, Some(subject)) => outcome(subject.check(body.into())),
            (Call::ListActions, _, Some(subject)) => outcome(subject.list_actions()),
            (Call::Invoke, _, Some(subject)) => outcome(subject.invoke(body.into())),
            _ => Outcome::Bad(format!(
                "{} before the plugin was brought up",
                call.as_str()
            )),
        }
    }

    fn load(&mut self, body: &str) -> Outcome {
        let request: LoadRequest = match serde_json::from_str(body) {
            Ok(request) => request,
            Err(error) => return Outcome::Bad(error.to_string()),
        };
        match library::open(Path::new(&request.library), &request.report) {
            Ok(module) => {
                self.module = Some(module);
                null()
            }
            Err((refusal, why)) => Outcome::Refused(refusal, why),
        }
    }

    fn create(&mut self, module: SubjectModuleRef, config: &str) -> Outcome {
        match module.create()(config.into()) {
            RResult::ROk(subject) => {
                self.subject = Some(subject);
                null()
            }
            RResult::RErr(error) => plugin_error(error),
        }
    }
}

fn null() -> Outcome {
    Outcome::Answer(RawValue::NULL.to_owned())
}

fn outcome(reply: Reply) -> Outcome {
    match reply {
        RResult::ROk(answer) => document(answer),
        RResult::RErr(error) => plugin_error(error),
    }
}

fn document(answer: RString) -> Outcome {
    if answer.len() > MAX_ANSWER {
        return Outcome::Bad(format!(
            "answered with {} bytes, at most {MAX_ANSWER} are read",
            answer.len()
        ));
    }
    match RawValue::from_string(answer.into_string()) {
        Ok(document) => Outcome::Answer(document),
        Err(error) => Outcome::Bad(format!("answered with something that is no JSON: {error}")),
    }
}

fn plugin_error(error: PluginError) -> Outcome {
    let mut message = error.message.into_string();
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    Outcome::Error {
        kind: error.kind.into_string(),
        message,
        retryable: error.retryable,
    }
}
