//! Calls of a plugin's methods one by one, for conformance cases: any text, any number of instances, in turn or at once.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use operator_model::Sandbox;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::to_raw_value;
use tokio::runtime::Runtime;

use super::{
    Attempt, Confinement, Payload, Plugin, ProbeRequest, ProbeResponse,
    call::{Call, ConfineRequest, Outcome},
    error::{CallError, LoadError, LoadErrorKind},
    grants::Grants,
    listener::Listener,
    log::{PluginLog, Printed},
    probe::ProbeBatch,
    remote::Worker,
    subject::parse,
};

/// A plugin in a worker of its own. Dropping it ends the worker and what that has started.
pub struct Probe {
    runtime: Runtime,
    worker: Worker,
    plugin: Plugin,
    printed: Arc<Mutex<Printed>>,
    /// Of a worker that is watched.
    listener: Option<Listener>,
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
            listener: None,
        })
    }

    /// Takes from the plugin what it is not granted; says what cannot be taken. `watched` records what it attempts
    /// nevertheless, for [`Probe::attempts`].
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
        let confinement: Confinement = self.call(Call::Confine, &request, deadline)?;
        if watched && confinement.missing.is_empty() {
            let listener = self.listen(&request);
            self.listener = Some(listener.map_err(|error| unexpected(&error.to_string()))?);
        }
        Ok(confinement)
    }

    fn listen(&mut self, confined: &ConfineRequest) -> io::Result<Listener> {
        let descriptors = self.worker.take_descriptors();
        let pid = self.pid().ok_or(io::ErrorKind::NotFound)?;
        let process = PathBuf::from(format!("/proc/{pid}"));
        let (sandbox, directory) = (&confined.sandbox, self.dir());
        let grants = Grants::new(sandbox, &confined.library, &directory, &process);
        Listener::start(descriptors, process, &grants, sandbox.exec)
    }

    /// What the plugin has attempted so far that its sandbox does not permit, if it was confined to be watched.
    pub fn attempts(&self) -> io::Result<Vec<Attempt>> {
        let listener = self.listener.as_ref();
        listener.map_or(Ok(Vec::new()), Listener::attempts)
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
        let asked = ProbeRequest::Load {
            library: library.to_owned(),
        };
        match self.ask(asked, deadline)?.payload {
            Payload::Text(_) => Ok(()),
            Payload::Error { kind, message, .. } => {
                let refusal = serde_json::from_value(kind.into()).unwrap_or(LoadErrorKind::Other);
                Err(LoadError::refused(&self.plugin.path, refusal, message).into())
            }
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    /// Asks one thing, on the worker's first thread.
    pub fn ask(
        &mut self,
        ask: ProbeRequest,
        deadline: Duration,
    ) -> Result<ProbeResponse, CallError> {
        let mut answers = self.ask_all(vec![ask], 1, deadline)?;
        answers.pop().ok_or_else(|| unexpected("nothing"))
    }

    /// Asks several things one after the other, so many times, and gives the answers of the last time.
    pub fn ask_all(
        &mut self,
        asks: Vec<ProbeRequest>,
        times: u32,
        deadline: Duration,
    ) -> Result<Vec<ProbeResponse>, CallError> {
        let together = false;
        let asking = ProbeBatch {
            asks,
            together,
            times,
        };
        self.call(Call::Probe, &asking, deadline)
    }

    /// Asks several things at the same time, each on a thread of its own.
    pub fn ask_together(
        &mut self,
        asks: Vec<ProbeRequest>,
        deadline: Duration,
    ) -> Result<Vec<ProbeResponse>, CallError> {
        let (together, times) = (true, 1);
        let asking = ProbeBatch {
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
