//! The worker's side of a [`super::Probe`]: any number of modules and instances, and calls with any text.

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
use operator_plugin_api::abi::{BoxedSubject, PluginError, Reply, SubjectModuleRef};
use rustix::process::{getppid, test_kill_process};
use serde_json::value::to_raw_value;

use super::{
    call::{MAX_ANSWER, Outcome},
    error::LoadErrorKind,
    library,
    probe::{
        Method, Payload, ProbeBatch, ProbeRequest, ProbeResponse, Text, Trespass, load_request,
    },
};

/// What has been brought up for conformance cases.
#[derive(Default)]
pub(super) struct Specimen(Mutex<Brought>);

#[derive(Default)]
struct Brought {
    modules: Vec<SubjectModuleRef>,
    instances: HashMap<u32, Arc<BoxedSubject>>,
}

impl Specimen {
    pub(super) fn handle(&self, body: &str) -> Outcome {
        let asking: ProbeBatch = match serde_json::from_str(body) {
            Ok(asking) => asking,
            Err(error) => return Outcome::Bad(error.to_string()),
        };
        let mut answers = Vec::new();
        for _ in 0..asking.times {
            answers = if asking.together {
                self.together(&asking.asks)
            } else {
                asking.asks.iter().map(|ask| self.timed(ask)).collect()
            };
        }
        match to_raw_value(&answers) {
            Ok(document) => Outcome::Answer(document),
            Err(error) => Outcome::Bad(error.to_string()),
        }
    }

    /// All at once: no thread asks before every thread is there.
    fn together(&self, asks: &[ProbeRequest]) -> Vec<ProbeResponse> {
        let barrier = Barrier::new(asks.len());
        thread::scope(|scope| {
            let threads: Vec<_> = asks
                .iter()
                .map(|ask| {
                    scope.spawn(|| {
                        barrier.wait();
                        self.timed(ask)
                    })
                })
                .collect();
            let answers = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| ProbeResponse {
                    payload: Payload::Nothing("its thread panicked".into()),
                    took_us: 0,
                })
            });
            answers.collect()
        })
    }

    fn timed(&self, ask: &ProbeRequest) -> ProbeResponse {
        let begun = Instant::now();
        // A panic that the plugin lets through must not be taken for one of the worker's.
        let payload = catch_unwind(AssertUnwindSafe(|| self.put(ask)))
            .unwrap_or_else(|_| Payload::Nothing("a panic came through".into()));
        ProbeResponse {
            payload,
            took_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn put(&self, ask: &ProbeRequest) -> Payload {
        match ask {
            ProbeRequest::Load { library } => self.load(library.clone()),
            ProbeRequest::Describe { module } => match self.module(*module) {
                Some(module) => reply(module.describe()()),
                None => nothing("module", *module),
            },
            ProbeRequest::Create {
                module,
                instance,
                config,
            } => match self.module(*module) {
                Some(module) => self.create(module, *instance, config),
                None => nothing("module", *module),
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
            } => self.with(*instance, payload, |subject, payload| {
                subject.extension(id.as_str().into(), payload)
            }),
            ProbeRequest::Drop { instance } => self.drop_instance(*instance),
            ProbeRequest::DropAfter { instance, pause_ms } => {
                thread::sleep(Duration::from_millis(*pause_ms));
                self.drop_instance(*instance)
            }
            ProbeRequest::Environment => Payload::Text(environment()),
            ProbeRequest::Trespass { kind, path } => trespass(*kind, path),
        }
    }

    fn load(&self, library: PathBuf) -> Payload {
        let request = load_request(library);
        match library::open(&request.library, &request.report) {
            Ok(module) => {
                self.brought(|brought| brought.modules.push(module));
                Payload::Text("null".into())
            }
            Err((refusal, message)) => Payload::Error {
                kind: name(refusal),
                message,
                retryable: false,
            },
        }
    }

    fn create(&self, module: SubjectModuleRef, instance: u32, config: &Text) -> Payload {
        let config = match content(config) {
            Ok(config) => config,
            Err(said) => return said,
        };
        match module.create()(config.as_str().into()) {
            RResult::ROk(subject) => {
                let subject = Arc::new(subject);
                let before = self.brought(|brought| brought.instances.insert(instance, subject));
                drop(before);
                Payload::Text("null".into())
            }
            RResult::RErr(error) => refused(error),
        }
    }

    fn drop_instance(&self, instance: u32) -> Payload {
        let dropped = self.brought(|brought| brought.instances.remove(&instance));
        drop(dropped);
        Payload::Text("null".into())
    }

    fn call(&self, instance: u32, method: Method, text: &Text) -> Payload {
        self.with(instance, text, |subject, text| match method {
            Method::Observe => subject.observe(text),
            Method::Check => subject.check(text),
            Method::ListActions => subject.list_actions(),
            Method::Invoke => subject.invoke(text),
        })
    }

    fn with(
        &self,
        instance: u32,
        text: &Text,
        call: impl FnOnce(&BoxedSubject, RStr<'_>) -> Reply,
    ) -> Payload {
        let Some(subject) = self.brought(|brought| brought.instances.get(&instance).cloned())
        else {
            return nothing("instance", instance);
        };
        match content(text) {
            Ok(text) => reply(call(&subject, text.as_str().into())),
            Err(said) => said,
        }
    }

    fn module(&self, number: usize) -> Option<SubjectModuleRef> {
        self.brought(|brought| brought.modules.get(number).copied())
    }

    /// Holds the lock for as long as it takes to look something up, and never while the plugin runs.
    fn brought<T>(&self, use_it: impl FnOnce(&mut Brought) -> T) -> T {
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

fn nothing(what: &str, number: impl std::fmt::Display) -> Payload {
    Payload::Nothing(format!("there is no {what} {number}"))
}

fn name(refusal: LoadErrorKind) -> String {
    let name = serde_json::to_value(refusal).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

fn reply(reply: Reply) -> Payload {
    match reply {
        RResult::ROk(answer) => text(answer),
        RResult::RErr(error) => refused(error),
    }
}

fn text(answer: RString) -> Payload {
    if answer.len() > MAX_ANSWER / 2 {
        Payload::TooLarge(answer.len())
    } else {
        Payload::Text(answer.into_string())
    }
}

fn refused(error: PluginError) -> Payload {
    Payload::Error {
        kind: error.kind.into_string(),
        message: error.message.into_string(),
        retryable: error.retryable,
    }
}

fn trespass(kind: Trespass, path: &Path) -> Payload {
    let done = match kind {
        Trespass::Read => fs::read(path).map(drop),
        Trespass::Write => fs::write(path, "written"),
        Trespass::Exec => Command::new(path).status().map(drop),
        // Asks whether it could be ended, and leaves it be.
        Trespass::Call => getppid().map_or(Ok(()), |parent| {
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
