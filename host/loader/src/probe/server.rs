//! The worker's side of a probe: any number of modules and instances, and calls with any text.

use std::{
    collections::HashMap,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Barrier, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use abi_stable::std_types::{RResult, RStr, RString};
use operator_plugin_api::abi::{BoxedSubject, PluginError, Reply as AbiReply, SubjectModuleRef};
use rustix::process::{getppid, test_kill_process};
#[cfg(target_os = "linux")]
use rustix::{
    fs::{MemfdFlags, memfd_create},
    process::set_parent_process_death_signal,
};
use serde_json::value::to_raw_value;

use crate::{
    file::error::LoadErrorKind,
    probe::messages::{
        AttemptKind, Method, Payload, ProbeBatch, ProbeRequest, ProbeResponse, Text, load_request,
    },
    worker::{
        library,
        protocol::{MAX_DOCUMENT, Reply},
    },
};

/// The modules and instances of one worker.
#[derive(Default)]
pub(crate) struct ProbeServer(Mutex<Loaded>);

#[derive(Default)]
struct Loaded {
    modules: Vec<SubjectModuleRef>,
    instances: HashMap<u32, Arc<BoxedSubject>>,
}

impl ProbeServer {
    pub(crate) fn handle(&self, body: &str) -> Reply {
        let batch: ProbeBatch = match serde_json::from_str(body) {
            Ok(batch) => batch,
            Err(error) => return Reply::Invalid(error.to_string()),
        };
        let mut responses = Vec::new();
        for _ in 0..batch.times {
            responses = if batch.concurrent {
                self.concurrently(&batch.requests)
            } else {
                let requests = batch.requests.iter();
                requests.map(|request| self.respond(request)).collect()
            };
        }
        match to_raw_value(&responses) {
            Ok(document) => Reply::Document(document),
            Err(error) => Reply::Invalid(error.to_string()),
        }
    }

    /// No thread makes its call before all threads have started.
    fn concurrently(&self, requests: &[ProbeRequest]) -> Vec<ProbeResponse> {
        let barrier = Barrier::new(requests.len());
        thread::scope(|scope| {
            let threads: Vec<_> = requests
                .iter()
                .map(|request| {
                    scope.spawn(|| {
                        barrier.wait();
                        self.respond(request)
                    })
                })
                .collect();
            let responses = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| ProbeResponse {
                    payload: Payload::Nothing("its thread panicked".into()),
                    took_us: 0,
                })
            });
            responses.collect()
        })
    }

    fn respond(&self, request: &ProbeRequest) -> ProbeResponse {
        let begun = Instant::now();
        // A panic in the plugin must not be taken for one in the worker.
        let payload = catch_unwind(AssertUnwindSafe(|| self.payload(request)))
            .unwrap_or_else(|_| Payload::Nothing("a panic came through".into()));
        ProbeResponse {
            payload,
            took_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn payload(&self, request: &ProbeRequest) -> Payload {
        match request {
            ProbeRequest::Load { library } => self.load(library.clone()),
            ProbeRequest::Describe { module } => match self.module(*module) {
                Some(module) => answer(module.describe()()),
                None => missing("module", *module),
            },
            ProbeRequest::Create {
                module,
                instance,
                config,
            } => match self.module(*module) {
                Some(module) => self.create(module, *instance, config),
                None => missing("module", *module),
            },
            ProbeRequest::Call {
                instance,
                method,
                text,
            } => self.call(*instance, *method, text),
            ProbeRequest::Extension {
                instance,
                id,
                payload,
            } => self.with_instance(*instance, payload, |subject, payload| {
                subject.extension(id.as_str().into(), payload)
            }),
            ProbeRequest::Drop { instance } => self.drop_instance(*instance),
            ProbeRequest::DropAfter { instance, pause_ms } => {
                thread::sleep(Duration::from_millis(*pause_ms));
                self.drop_instance(*instance)
            }
            ProbeRequest::Environment => Payload::Text(environment()),
            ProbeRequest::Attempt { kind, path } => attempt(*kind, path),
        }
    }

    fn load(&self, library: PathBuf) -> Payload {
        let request = load_request(library);
        match library::open(&request.library, &request.report) {
            Ok(module) => {
                self.locked(|loaded| loaded.modules.push(module));
                Payload::Text("null".into())
            }
            Err((kind, message)) => Payload::Error {
                kind: kind_name(kind),
                message,
                retryable: false,
            },
        }
    }

    fn create(&self, module: SubjectModuleRef, instance: u32, config: &Text) -> Payload {
        let config = match content(config) {
            Ok(config) => config,
            Err(payload) => return payload,
        };
        match module.create()(config.as_str().into()) {
            RResult::ROk(subject) => {
                let subject = Arc::new(subject);
                let replaced = self.locked(|loaded| loaded.instances.insert(instance, subject));
                drop(replaced);
                Payload::Text("null".into())
            }
            RResult::RErr(error) => plugin_error(error),
        }
    }

    fn drop_instance(&self, instance: u32) -> Payload {
        let removed = self.locked(|loaded| loaded.instances.remove(&instance));
        drop(removed);
        Payload::Text("null".into())
    }

    fn call(&self, instance: u32, method: Method, text: &Text) -> Payload {
        self.with_instance(instance, text, |subject, text| match method {
            Method::Observe => subject.observe(text),
            Method::Check => subject.check(text),
            Method::ListActions => subject.list_actions(),
            Method::Invoke => subject.invoke(text),
        })
    }

    fn with_instance(
        &self,
        number: u32,
        text: &Text,
        call: impl FnOnce(&BoxedSubject, RStr<'_>) -> AbiReply,
    ) -> Payload {
        let Some(instance) = self.locked(|loaded| loaded.instances.get(&number).cloned()) else {
            return missing("instance", number);
        };
        match content(text) {
            Ok(text) => answer(call(&instance, text.as_str().into())),
            Err(payload) => payload,
        }
    }

    fn module(&self, number: usize) -> Option<SubjectModuleRef> {
        self.locked(|loaded| loaded.modules.get(number).copied())
    }

    /// Holds the lock only for a lookup, never while the plugin's code runs.
    fn locked<T>(&self, use_it: impl FnOnce(&mut Loaded) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn content(text: &Text) -> Result<String, Payload> {
    match text {
        Text::Inline(text) => Ok(text.clone()),
        Text::File(path) => fs::read_to_string(path)
            .map_err(|error| Payload::Nothing(format!("{}: {error}", path.display()))),
    }
}

fn missing(what: &str, number: impl std::fmt::Display) -> Payload {
    Payload::Nothing(format!("there is no {what} {number}"))
}

fn kind_name(kind: LoadErrorKind) -> String {
    let name = serde_json::to_value(kind).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

fn answer(reply: AbiReply) -> Payload {
    match reply {
        RResult::ROk(answer) => text(answer),
        RResult::RErr(error) => plugin_error(error),
    }
}

fn text(answer: RString) -> Payload {
    if answer.len() > MAX_DOCUMENT / 2 {
        Payload::TooLarge(answer.len())
    } else {
        Payload::Text(answer.into_string())
    }
}

fn plugin_error(error: PluginError) -> Payload {
    Payload::Error {
        kind: error.kind.into_string(),
        message: error.message.into_string(),
        retryable: error.retryable,
    }
}

fn attempt(kind: AttemptKind, path: &Path) -> Payload {
    let done = match kind {
        AttemptKind::Read => fs::read(path).map(drop),
        AttemptKind::Write => fs::write(path, "written"),
        AttemptKind::Exec => Command::new(path).status().map(drop),
        #[cfg(target_os = "linux")]
        AttemptKind::Outlive => set_parent_process_death_signal(None).map_err(io::Error::from),
        #[cfg(target_os = "linux")]
        AttemptKind::Share => memfd_create("attempt", MemfdFlags::empty())
            .map(drop)
            .map_err(io::Error::from),
        #[cfg(not(target_os = "linux"))]
        AttemptKind::Outlive | AttemptKind::Share => Ok(()),
        // Only checks whether a signal could be sent.
        AttemptKind::Call => getppid().map_or(Ok(()), |parent| {
            test_kill_process(parent).map_err(io::Error::from)
        }),
    };
    match done {
        Ok(()) => Payload::Text("null".into()),
        Err(error) => Payload::Error {
            kind: error.kind().to_string(),
            message: error.to_string(),
            retryable: false,
        },
    }
}

fn environment() -> String {
    let variables = std::env::vars_os();
    let mut lines: Vec<_> = variables
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    lines.sort();
    lines.join("\n")
}
