//! A plugin in a worker of its own, of which more can be asked than the operator ever does: any text to any method of any
//! number of instances, in turn or at the same time. Only `conformance` uses it.
//!
//! The plugin runs in a worker like any other. Whoever judges it does so in another process, from what came back and from
//! what the kernel tells of the worker.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use operator_plugin_api::ErrorKind;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::to_raw_value;
use tokio::runtime::Runtime;

use super::{
    Plugin,
    attempts::Trespass,
    call::{Call, ConfineRequest, LoadRequest, Outcome},
    error::{CallError, LoadError, Refusal},
    log::{PluginLog, Printed},
    remote::Worker,
    sandbox::{Confinement, Sandbox},
    subject::parse,
};

/// A method of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// An `ObserveRequest` -> an `Observation`.
    Observe,
    /// An `Observation` -> a `CheckReport`.
    Check,
    /// Nothing -> an `ActionList`.
    ListActions,
    /// An `InvokeRequest` -> an `ActionResult`.
    Invoke,
}

impl Method {
    /// The name used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Check => "check",
            Self::ListActions => "list_actions",
            Self::Invoke => "invoke",
        }
    }
}

/// What a method is given: any text at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// As it is.
    Inline(String),
    /// The content of a file in the worker's directory, for what is too large to be sent.
    File(PathBuf),
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self::Inline(text.into())
    }
}

/// One thing that is asked. Modules are numbered in the order in which they were loaded, instances as the asker likes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Opens one more library, or the same again.
    Load {
        /// The library.
        library: PathBuf,
    },
    /// What a module says of itself.
    Describe {
        /// Which one.
        module: usize,
    },
    /// Makes an instance, in place of another of this number.
    Create {
        /// Of which module.
        module: usize,
        /// Its number from now on.
        instance: u32,
        /// The configuration.
        config: Text,
    },
    /// Calls a method.
    Call {
        /// Of which instance.
        instance: u32,
        /// Which method.
        method: Method,
        /// What it is given.
        text: Text,
    },
    /// Calls an extension.
    Extension {
        /// Of which instance.
        instance: u32,
        /// Its id.
        id: String,
        /// What it is given.
        payload: Text,
    },
    /// Drops an instance.
    Drop {
        /// Which one.
        instance: u32,
    },
    /// Drops an instance after a pause, which counts in what it took. Milliseconds.
    DropAfter {
        /// Which one.
        instance: u32,
        /// The pause.
        pause_ms: u64,
    },
    /// The environment of the process, as `NAME=VALUE` lines.
    Environment,
    /// What was refused in the process so far, as a list of [`Attempt`]s; it was confined to be watched.
    Attempts,
    /// What a plugin in this process would do to trespass in this way; the answer is an error if it was refused.
    Trespass {
        /// In which way.
        kind: Trespass,
        /// The file, or the program.
        path: PathBuf,
    },
}

/// What came of one [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The plugin's answer.
    pub said: Said,
    /// How long it took. Microseconds.
    pub took_us: u64,
}

/// What the plugin answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// A text, which may or may not be a document.
    Text(String),
    /// A text that is larger than is read, and how large. Bytes.
    TooLarge(usize),
    /// An error of its own.
    Error {
        /// The name of its kind, as it crossed the boundary.
        kind: String,
        /// Its words.
        message: String,
        /// Whether it says that trying again can help.
        retryable: bool,
    },
    /// Nothing: it could not be asked.
    Nothing(String),
}

impl Said {
    /// The kind of error, if it is one.
    pub fn error_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Error { kind, .. } => Some(ErrorKind::from_name(kind)),
            _ => None,
        }
    }
}

/// What crosses to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asking {
    pub(super) asks: Vec<Ask>,
    /// Each on a thread of its own, all at once; else one after the other on the worker's first thread.
    pub(super) together: bool,
    /// How often all of it is done. Only the last answers come back.
    pub(super) times: u32,
}

/// A plugin in a worker of its own. Dropping it ends the worker and what that has started.
pub struct Probe {
    runtime: Runtime,
    worker: Worker,
    plugin: Plugin,
    printed: Arc<Mutex<Printed>>,
}

impl Probe {
    /// Starts the worker. No code of the plugin runs yet.
    pub fn start(plugin: &Plugin) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let printed = Arc::<Mutex<Printed>>::default();
        let keeping = Arc::clone(&printed);
        let dir = plugin.work_dir();
        let started = Worker::spawn(&dir, |pipe| PluginLog::keep(pipe, keeping));
        let worker = runtime.block_on(started)?;
        Ok(Self {
            runtime,
            worker,
            plugin: plugin.clone(),
            printed,
        })
    }

    /// Takes from the plugin what it is not granted; says what cannot be taken. `watched` keeps what it tries nevertheless,
    /// for [`Ask::Attempts`].
    pub fn confine(
        &mut self,
        sandbox: Sandbox,
        watched: bool,
        deadline: Duration,
    ) -> Result<Confinement, CallError> {
        let library = self.plugin.copy.clone();
        let request = ConfineRequest {
            sandbox,
            library,
            watched,
        };
        self.call(Call::Confine, &request, deadline)
    }

    /// The worker's process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        let pid = self.worker.process().pid()?;
        Some(pid.as_raw_nonzero().get())
    }

    /// The directory in which the worker runs.
    pub fn dir(&self) -> PathBuf {
        self.plugin.work_dir()
    }

    /// What the plugin has printed so far, up to 1 MiB of it, and how much it was in all. Bytes.
    pub fn printed(&self) -> (String, u64) {
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = String::from_utf8_lossy(&printed.kept).into_owned();
        (kept, printed.total)
    }

    /// Opens the plugin's own library, as the operator does; it becomes module 0.
    pub fn load(&mut self, deadline: Duration) -> Result<(), CallError> {
        let library = self.plugin.copy.clone();
        self.load_other(&library, deadline)
    }

    /// Opens a library, which becomes the next module.
    pub fn load_other(&mut self, library: &Path, deadline: Duration) -> Result<(), CallError> {
        let asked = Ask::Load {
            library: library.to_owned(),
        };
        match self.ask(asked, deadline)?.said {
            Said::Text(_) => Ok(()),
            Said::Error { kind, message, .. } => {
                let refusal = serde_json::from_value(kind.into()).unwrap_or(Refusal::Other);
                Err(LoadError::refused(&self.plugin.path, refusal, message).into())
            }
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    /// Asks one thing, on the worker's first thread.
    pub fn ask(&mut self, ask: Ask, deadline: Duration) -> Result<Answer, CallError> {
        let mut answers = self.ask_all(vec![ask], 1, deadline)?;
        answers.pop().ok_or_else(|| unexpected("nothing"))
    }

    /// Asks several things one after the other, so many times, and gives the answers of the last time.
    pub fn ask_all(
        &mut self,
        asks: Vec<Ask>,
        times: u32,
        deadline: Duration,
    ) -> Result<Vec<Answer>, CallError> {
        let together = false;
        let asking = Asking {
            asks,
            together,
            times,
        };
        self.call(Call::Probe, &asking, deadline)
    }

    /// Asks several things at the same time, each on a thread of its own.
    pub fn ask_together(
        &mut self,
        asks: Vec<Ask>,
        deadline: Duration,
    ) -> Result<Vec<Answer>, CallError> {
        let (together, times) = (true, 1);
        let asking = Asking {
            asks,
            together,
            times,
        };
        self.call(Call::Probe, &asking, deadline)
    }

    fn call<T: DeserializeOwned>(
        &mut self,
        call: Call,
        request: &impl Serialize,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let body = to_raw_value(request).map_err(|error| unexpected(&error.to_string()))?;
        let called = self.worker.call(call, &body, deadline);
        match self.runtime.block_on(called)? {
            Outcome::Answer(document) => parse(call, &document),
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    /// Lets the worker end in good order; it drops every instance first. Gives how long that took, or `None` when it had to
    /// be killed, and what was printed to the end.
    pub fn close(self, grace: Duration) -> (Option<Duration>, String) {
        let begun = std::time::Instant::now();
        self.runtime.block_on(self.worker.close(grace));
        let took = begun.elapsed();
        let printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = String::from_utf8_lossy(&printed.kept).into_owned();
        ((took < grace).then_some(took), kept)
    }
}

fn unexpected(what: &str) -> CallError {
    CallError::BadAnswer {
        call: Call::Probe.as_str(),
        why: format!("the worker answered with {what:.200}"),
    }
}

/// What a [`Call::Load`] needs, for a library of this path.
pub(super) fn load_request(library: PathBuf) -> LoadRequest {
    let report = library.with_extension("load-error.txt");
    LoadRequest { library, report }
}
