//! What every case starts from: the plugin, its golden files, and ways to bring it up against fakes.

use std::{path::PathBuf, time::Duration};

use operator_loader::{Confinement, LoadErrorKind, Plugin, Probe};
use operator_model::Sandbox;
use operator_plugin_api::{Descriptor, InvokeRequest};
use operator_plugin_fakes::{Manner, Reads};
use serde_json::{Map, Value};

use super::{
    backends::{Backends, Mode},
    bench::Bench,
    golden::Golden,
    order::Order,
    samples,
    verdict::{Status, Stop},
};

/// The deadline that a plugin is told where a case says nothing else.
pub(super) const DEADLINE: Duration = Duration::from_millis(1500);
/// By how much it may be missed: a busy machine must not fail an honest plugin.
pub(super) const LENIENCE: Duration = Duration::from_secs(2);

/// Every way in which an agreeable backend can answer a read.
pub(super) const READS: [Reads; 3] = [Reads::EmptyObject, Reads::EmptyList, Reads::NotFound];

/// What every case starts from.
pub(super) struct Lab {
    pub(super) order: Order,
    pub(super) golden: Golden,
}

/// A plugin with one instance, number 0, and the fakes that it was pointed at.
pub(super) struct Ready {
    pub(super) bench: Bench,
    pub(super) descriptor: Descriptor,
    pub(super) backends: Backends,
}

impl Lab {
    pub(super) fn new(order: Order) -> Result<Self, Stop> {
        let golden = Golden::read(order.golden.as_deref())?;
        Ok(Self { order, golden })
    }

    /// The examined plugin; if it was refused, that is the business of another case.
    pub(super) fn plugin(&self) -> Result<&Plugin, Stop> {
        self.order.plugin.as_ref().map_err(|(refusal, why)| {
            let case = case_of(*refusal);
            Stop::blocked(&[case], Status::Fail, why.clone())
        })
    }

    /// A worker, with nothing of the plugin in it.
    pub(super) fn start(&self) -> Result<Bench, Stop> {
        self.start_of(self.plugin()?)
    }

    pub(super) fn start_of(&self, plugin: &Plugin) -> Result<Bench, Stop> {
        Ok(self.confined(plugin, false)?.0)
    }

    /// A worker that keeps what the plugin tries and is refused; skipped where the kernel refuses too little.
    pub(super) fn start_watched(&self) -> Result<Bench, Stop> {
        let (bench, confinement) = self.confined(self.plugin()?, true)?;
        match confinement.missing.first() {
            Some(missing) => Err(Stop::skip(missing.clone())),
            None => Ok(bench),
        }
    }

    /// It is granted what its manifest asks for, and the files of the suite.
    fn confined(&self, plugin: &Plugin, watched: bool) -> Result<(Bench, Confinement), Stop> {
        let sandbox = Sandbox {
            read: self.order.golden.iter().cloned().collect(),
            write: vec![self.order.dir.clone()],
            ..Sandbox::default()
        };
        let sandbox = sandbox.granting(&plugin.manifest.needs);
        let mut probe = Probe::start(plugin).map_err(Stop::error)?;
        let call = self.order.call();
        let confinement = probe.confine(sandbox, watched, call).map_err(Stop::error)?;
        Ok((Bench { probe, call }, confinement))
    }

    /// A worker that has opened the library.
    pub(super) fn loaded(&self) -> Result<Bench, Stop> {
        let mut bench = self.start()?;
        bench.load()?;
        Ok(bench)
    }

    /// A worker with one instance, pointed at fakes in this mode.
    pub(super) fn ready(&self, mode: Mode) -> Result<Ready, Stop> {
        let mut bench = self.loaded()?;
        let descriptor = bench.describe()?;
        let backends = self.backends(&descriptor, mode)?;
        bench.create(0, &backends.config)?;
        Ok(Ready {
            bench,
            descriptor,
            backends,
        })
    }

    /// The same, for a case about backends: skipped for a plugin without any.
    pub(super) fn ready_with_backends(&self, mode: Mode) -> Result<Ready, Stop> {
        let ready = self.ready(mode)?;
        if ready.backends.fakes.is_empty() {
            return Err(Stop::skip(
                "no setting of this plugin names a backend by URL (\"format\": \"uri\")",
            ));
        }
        Ok(ready)
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
        self.order.dir.join(name)
    }
}

impl Ready {
    /// Calls of every action whose parameters can be made from its schema, with the names of the others.
    pub(super) fn calls(&mut self) -> Result<(Vec<InvokeRequest>, Vec<String>), Stop> {
        // Whatever else the configuration names may be real.
        if self.backends.fakes.is_empty() {
            return Err(Stop::skip(
                "no setting of this plugin names a backend by URL, so that an action could reach something real",
            ));
        }
        let (mut calls, mut without) = (Vec::new(), Vec::new());
        for action in self.bench.actions(0)? {
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

    /// Says nothing in any manner that a plugin could act on, for as long as it takes to find one that makes `act` ask for
    /// a change. Gives whether there was one.
    pub(super) fn until_changed(
        &mut self,
        manner: fn(Reads) -> Manner,
        mut act: impl FnMut(&mut Bench) -> Result<(), Stop>,
    ) -> Result<bool, Stop> {
        for reads in READS {
            self.backends.behave(manner(reads));
            self.backends.forget();
            act(&mut self.bench)?;
            if !self.backends.changes().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A call with the deadline that is told where a case says nothing else.
pub(super) fn request(action: &str, params: Value) -> InvokeRequest {
    InvokeRequest {
        action: action.to_owned(),
        params,
        deadline_ms: u64::try_from(DEADLINE.as_millis()).unwrap_or(u64::MAX),
        idempotency_key: "conformance-1".to_owned(),
        dry_run: false,
    }
}

/// The case that finds a file which is refused for this.
fn case_of(refusal: LoadErrorKind) -> &'static str {
    match refusal {
        LoadErrorKind::Manifest => "load.manifest",
        LoadErrorKind::Symbol => "load.symbol",
        LoadErrorKind::Abi => "load.abi-major",
        LoadErrorKind::Panic => "load.panic-strategy",
        _ => "load.file-integrity",
    }
}
