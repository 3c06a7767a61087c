//! A plugin in a separate worker, for the conformance suite.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use operator_model::Sandbox;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::to_raw_value;
use tokio::runtime::Runtime;

use crate::{
    error::CallError,
    file::{
        error::{LoadError, LoadErrorKind},
        plugin::Plugin,
    },
    link::parse,
    probe::{
        listener::Listener,
        messages::{Attempt, Payload, ProbeBatch, ProbeRequest, ProbeResponse},
    },
    sandbox::{confinement::Confinement, grants::Grants},
    worker::{
        client::Worker,
        log::{Output, PluginLog},
        protocol::{Call, ConfineRequest, Reply},
    },
};

/// A plugin in a separate worker. More can be called than through an [`Observer`](crate::Observer): any method of any number of
/// instances, with any text, one after the other or at the same time. Only the conformance suite uses it.
///
/// Dropping it kills the worker's process group.
pub struct Probe {
    runtime: Runtime,
    worker: Worker,
    plugin: Plugin,
    output: Arc<Mutex<Output>>,
    /// Exists for a watched worker.
    listener: Option<Listener>,
}

impl Probe {
    /// Starts the worker. No code of the plugin runs yet.
    pub fn start(plugin: &Plugin) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let output = Arc::<Mutex<Output>>::default();
        let kept = Arc::clone(&output);
        let dir = plugin.work_dir();
        let started = Worker::spawn(&dir, false, |pipe| PluginLog::keep(pipe, kept));
        let worker = runtime.block_on(started)?;
        Ok(Self {
            runtime,
            worker,
            plugin: plugin.clone(),
            output,
            listener: None,
        })
    }

    /// Confines the worker to what the sandbox grants. Returns what could not be enforced. If `watched`, [`Probe::attempts`]
    /// records what the plugin attempts beyond that.
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
        let confinement: Confinement = self.exchange(Call::Confine, &request, deadline)?;
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

    /// What the plugin has attempted so far that its sandbox does not permit. Empty for a worker that is not watched.
    pub fn attempts(&self) -> io::Result<Vec<Attempt>> {
        let listener = self.listener.as_ref();
        listener.map_or(Ok(Vec::new()), Listener::attempts)
    }

    /// The worker's process id; `None` once it has ended.
    pub fn pid(&self) -> Option<i32> {
        let pid = self.worker.process().pid()?;
        Some(pid.as_raw_nonzero().get())
    }

    /// The worker's directory.
    pub fn dir(&self) -> PathBuf {
        self.plugin.work_dir()
    }

    /// The plugin's output so far, up to 1 MiB of it, and the size of all of it in bytes.
    pub fn printed(&self) -> (String, u64) {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = String::from_utf8_lossy(&output.kept).into_owned();
        (kept, output.total)
    }

    /// Opens the plugin's library, as the operator does. It becomes module 0.
    pub fn load(&mut self, deadline: Duration) -> Result<(), CallError> {
        let library = self.plugin.copy.clone();
        self.load_other(&library, deadline)
    }

    /// Opens a library, which becomes the next module.
    pub fn load_other(&mut self, library: &Path, deadline: Duration) -> Result<(), CallError> {
        let request = ProbeRequest::Load {
            library: library.to_owned(),
        };
        match self.call(request, deadline)?.payload {
            Payload::Text(_) => Ok(()),
            Payload::Error { kind, message, .. } => {
                let kind = serde_json::from_value(kind.into()).unwrap_or(LoadErrorKind::Other);
                Err(LoadError::of_kind(kind, &self.plugin.path, message).into())
            }
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    /// Makes one call, on the worker's first thread.
    pub fn call(
        &mut self,
        request: ProbeRequest,
        deadline: Duration,
    ) -> Result<ProbeResponse, CallError> {
        let mut responses = self.call_repeatedly(vec![request], 1, deadline)?;
        responses.pop().ok_or_else(|| unexpected("nothing"))
    }

    /// Makes several calls one after the other, and all of that this many times. Returns the last responses.
    pub fn call_repeatedly(
        &mut self,
        requests: Vec<ProbeRequest>,
        times: u32,
        deadline: Duration,
    ) -> Result<Vec<ProbeResponse>, CallError> {
        let batch = ProbeBatch {
            requests,
            concurrent: false,
            times,
        };
        self.exchange(Call::Probe, &batch, deadline)
    }

    /// Makes several calls at the same time, each on its own thread.
    pub fn call_concurrently(
        &mut self,
        requests: Vec<ProbeRequest>,
        deadline: Duration,
    ) -> Result<Vec<ProbeResponse>, CallError> {
        let batch = ProbeBatch {
            requests,
            concurrent: true,
            times: 1,
        };
        self.exchange(Call::Probe, &batch, deadline)
    }

    fn exchange<T: DeserializeOwned>(
        &mut self,
        call: Call,
        request: &impl Serialize,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let body = to_raw_value(request).map_err(|error| unexpected(&error.to_string()))?;
        let called = self.worker.call(call, &body, deadline);
        match self.runtime.block_on(called)? {
            Reply::Document(document) => parse(call, &document),
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    /// Closes the worker's socket, so that it drops every instance and exits. Returns how long that took, or `None` if it was
    /// killed after the grace period, and its output.
    pub fn close(self, grace: Duration) -> (Option<Duration>, String) {
        let begun = Instant::now();
        self.runtime.block_on(self.worker.close(grace));
        let took = begun.elapsed();
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = String::from_utf8_lossy(&output.kept).into_owned();
        ((took < grace).then_some(took), kept)
    }
}

fn unexpected(what: &str) -> CallError {
    CallError::BadAnswer {
        call: Call::Probe.as_str(),
        why: format!("the worker answered with {what:.200}"),
    }
}
