//! One plugin instance and the calls into it. The same in a worker process and in the operator's own process.

use abi_stable::std_types::{RResult, RString};
use operator_plugin_api::abi::{BoxedSubject, PluginError, Reply as AbiReply, SubjectModuleRef};
use serde_json::value::RawValue;

#[cfg(feature = "probe")]
use crate::probe::server::ProbeServer;
use crate::{
    bounds,
    worker::{
        library,
        protocol::{Call, LoadRequest, MAX_DOCUMENT, Reply},
    },
};

/// The longest error message of a plugin that is passed on. Bytes.
const MAX_MESSAGE: usize = 8 << 10;

/// A plugin's module and instance, once they exist.
#[derive(Default)]
pub(crate) struct Session {
    module: Option<SubjectModuleRef>,
    subject: Option<BoxedSubject>,
    #[cfg(feature = "probe")]
    probe: ProbeServer,
}

impl Session {
    /// Makes the call. Blocks as long as the plugin does.
    pub(crate) fn handle(&mut self, call: Call, body: &str) -> Reply {
        match (call, self.module, &self.subject) {
            (Call::Load, _, _) => self.load(body),
            (Call::Drop, _, _) => {
                self.subject = None;
                null()
            }
            #[cfg(feature = "probe")]
            (Call::Probe, _, _) => self.probe.handle(body),
            (Call::Describe, Some(module), _) => reply(call, module.describe()()),
            (Call::Create, Some(module), _) => self.create(module, body),
            (Call::Observe, _, Some(subject)) => reply(call, subject.observe(body.into())),
            (Call::Check, _, Some(subject)) => reply(call, subject.check(body.into())),
            (Call::ListActions, _, Some(subject)) => reply(call, subject.list_actions()),
            (Call::Invoke, _, Some(subject)) => reply(call, subject.invoke(body.into())),
            _ => Reply::Invalid(format!(
                "{} was called before the plugin was loaded and configured",
                call.as_str()
            )),
        }
    }

    fn load(&mut self, body: &str) -> Reply {
        let request: LoadRequest = match serde_json::from_str(body) {
            Ok(request) => request,
            Err(error) => return Reply::Invalid(error.to_string()),
        };
        match library::open(&request.library, &request.report) {
            Ok(module) => {
                self.module = Some(module);
                null()
            }
            Err((kind, why)) => Reply::LoadFailed(kind, why),
        }
    }

    fn create(&mut self, module: SubjectModuleRef, config: &str) -> Reply {
        match module.create()(config.into()) {
            RResult::ROk(subject) => {
                self.subject = Some(subject);
                null()
            }
            RResult::RErr(error) => plugin_error(error),
        }
    }
}

fn null() -> Reply {
    Reply::Document(RawValue::NULL.to_owned())
}

fn reply(call: Call, result: AbiReply) -> Reply {
    match result {
        RResult::ROk(text) => document(call, text),
        RResult::RErr(error) => plugin_error(error),
    }
}

/// The plugin's document, if it keeps to the bounds: in a worker, nothing else reaches the operator.
fn document(call: Call, text: RString) -> Reply {
    if text.len() > MAX_DOCUMENT {
        return Reply::Invalid(format!(
            "answered with {} bytes, the limit is {MAX_DOCUMENT}",
            text.len()
        ));
    }
    match RawValue::from_string(text.into_string()) {
        Ok(document) => match bounds::check(call, document.get()) {
            Ok(()) => Reply::Document(document),
            Err(why) => Reply::Invalid(why),
        },
        Err(error) => Reply::Invalid(format!("answered with something that is not JSON: {error}")),
    }
}

fn plugin_error(error: PluginError) -> Reply {
    let mut message = error.message.into_string();
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    Reply::Error {
        kind: error.kind.into_string(),
        message,
        retryable: error.retryable,
    }
}
