//! What every case starts from: the plugin, its golden files, and ways to start it against fakes.

use std::{path::PathBuf, time::Duration};

use operator_loader::{Confinement, LoadErrorKind, Plugin, Probe};
use operator_model::Sandbox;
use operator_plugin_api::{Descriptor, InvokeRequest};
use operator_plugin_fakes::{Manner, Reads};
use serde_json::{Map, Value};

use super::{
    backends::{Backends, Mode},
    golden::Golden,
    protocol::CaseInput,
    samples,
    verdict::{Status, Stop},
    worker::Worker,
};

/// The deadline in requests where a case sets none.
pub(super) const DEADLINE: Duration = Duration::from_millis(1500);
/// How much later an answer may come: a busy machine must not fail a correct plugin.
pub(super) const LENIENCE: Duration = Duration::from_secs(2);

/// The answers to a read that a backend which accepts every change can give.
pub(super) const READS: [Reads; 3] = [Reads::EmptyObject, Reads::EmptyList, Reads::NotFound];

/// What every case starts from.
pub(super) struct CaseContext {
    pub(super) input: CaseInput,
    pub(super) golden: Golden,
}

/// A plugin with one instance, number 0, configured to use the fakes.
pub(super) struct Setup {
    pub(super) worker: Worker,
    pub(super) descriptor: Descriptor,
    pub(super) backends: Backends,
}

impl CaseContext {
    pub(super) fn new(input: CaseInput) -> Result<Self, Stop> {
        let golden = Golden::read(input.golden.as_deref())?;
        Ok(Self { input, golden })
    }

    /// The examined plugin; a refusal is the finding of another case.
    pub(super) fn plugin(&self) -> Result<&Plugin, Stop> {
        self.input.plugin.as_ref().map_err(|(refusal, why)| {
            let case = case_of(*refusal);
            Stop::blocked(&[case], Status::Fail, why.clone())
        })
    }

    /// A worker that has not opened the library yet.
    pub(super) fn start(&self) -> Result<Worker, Stop> {
        self.start_of(self.plugin()?)
    }

    pub(super) fn start_of(&self, plugin: &Plugin) -> Result<Worker, Stop> {
        Ok(self.confined(plugin, false)?.0)
    }

    /// A worker that records what the sandbox refuses; skipped where the kernel cannot enforce all of it.
    pub(super) fn start_watched(&self) -> Result<Worker, Stop> {
        let (worker, confinement) = self.confined(self.plugin()?, true)?;
        match confinement.missing.first() {
            Some(missing) => Err(Stop::skip(missing.clone())),
            None => Ok(worker),
        }
    }

    /// It is granted what its manifest asks for, and the files of the suite.
    fn confined(&self, plugin: &Plugin, watched: bool) -> Result<(Worker, Confinement), Stop> {
        let sandbox = Sandbox {
            read: self.input.golden.iter().cloned().collect(),
            write: vec![self.input.dir.clone()],
            ..Sandbox::default()
        };
        let sandbox = sandbox.granting(&plugin.manifest.needs);
        let mut probe = Probe::start(plugin).map_err(Stop::error)?;
        let call = self.input.call_timeout();
        let confinement = probe.confine(sandbox, watched, call).map_err(Stop::error)?;
        Ok((Worker { probe, call }, confinement))
    }

    /// A worker that has opened the library.
    pub(super) fn loaded(&self) -> Result<Worker, Stop> {
        let mut worker = self.start()?;
        worker.load()?;
        Ok(worker)
    }

    /// A worker with one instance, configured to use fakes in this mode.
    pub(super) fn set_up(&self, mode: Mode) -> Result<Setup, Stop> {
        let mut worker = self.loaded()?;
        let descriptor = worker.describe()?;
        let backends = self.backends(&descriptor, mode)?;
        worker.create(0, &backends.config)?;
        Ok(Setup {
            worker,
            descriptor,
            backends,
        })
    }

    /// Like [`Self::set_up`], for a case about backends: skipped for a plugin without any.
    pub(super) fn set_up_with_backends(&self, mode: Mode) -> Result<Setup, Stop> {
        let setup = self.set_up(mode)?;
        if setup.backends.fakes.is_empty() {
            return Err(Stop::skip(
                "no setting of this plugin names a backend by URL (\"format\": \"uri\")",
            ));
        }
        Ok(setup)
    }

    pub(super) fn backends(&self, descriptor: &Descriptor, mode: Mode) -> Result<Backends, Stop> {
        let base = self.config(descriptor);
        Backends::start(&descriptor.config_schema, &base, mode)
            .map_err(|error| Stop::error(format!("a fake backend: {error}")))
    }

    /// The configuration of the golden files, or else one made of what the schema requires.
    pub(super) fn config(&self, descriptor: &Descriptor) -> Map<String, Value> {
        let golden = self.golden.config.clone();
        golden.unwrap_or_else(|| samples::required(&descriptor.config_schema))
    }

    /// A file in the case's own directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.input.dir.join(name)
    }
}

impl Setup {
    /// Calls of every action whose parameters can be made from its schema, with the names of the others.
    pub(super) fn calls(&mut self) -> Result<(Vec<InvokeRequest>, Vec<String>), Stop> {
        // Anything else that the configuration names may be real.
        if self.backends.fakes.is_empty() {
            return Err(Stop::skip(
                "no setting of this plugin names a backend by URL, so that an action could reach something real",
            ));
        }
        let (mut calls, mut without) = (Vec::new(), Vec::new());
        for action in self.worker.actions(0)? {
            match samples::params(&action.params_schema) {
                Some(params) => calls.push(request(&action.name, params)),
                None => without.push(action.name),
            }
        }
        if calls.is_empty() {
            let why = if without.is_empty() {
                "the plugin has no actions".to_owned()
            } else {
                format!("no parameters fit the schemas of {}", without.join(", "))
            };
            return Err(Stop::skip(why));
        }
        Ok((calls, without))
    }

    /// Tries one answer to reads after another until `act` asks a backend for a change. Returns whether one did.
    pub(super) fn until_changed(
        &mut self,
        manner: fn(Reads) -> Manner,
        mut act: impl FnMut(&mut Worker) -> Result<(), Stop>,
    ) -> Result<bool, Stop> {
        for reads in READS {
            self.backends.behave(manner(reads));
            self.backends.forget();
            act(&mut self.worker)?;
            if !self.backends.changes().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A call with the ordinary deadline.
pub(super) fn request(action: &str, params: Value) -> InvokeRequest {
    InvokeRequest {
        action: action.to_owned(),
        params,
        deadline_ms: u64::try_from(DEADLINE.as_millis()).unwrap_or(u64::MAX),
        idempotency_key: "conformance-1".to_owned(),
        dry_run: false,
    }
}

/// The case whose finding this refusal is.
fn case_of(refusal: LoadErrorKind) -> &'static str {
    match refusal {
        LoadErrorKind::Manifest => "load.manifest",
        LoadErrorKind::Symbol => "load.symbol",
        LoadErrorKind::Abi => "load.abi-major",
        LoadErrorKind::Panic => "load.panic-strategy",
        _ => "load.file-integrity",
    }
}
