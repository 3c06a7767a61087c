//! Operator's subject plugin for a TiKV cluster.
//!
//! It reads PD's HTTP API and Prometheus, and TiKV's log where one is configured. See the README for what each invariant
//! means and where its numbers come from.

mod actions;
mod check;
mod collect;
mod config;
mod convert;
mod costs;
mod describe;
mod instances;
mod kept;
mod leader_rules;
mod log;
mod memory;
mod meter;
mod observation;
mod observe;
mod pd;
mod prometheus;
mod summary;
mod thresholds;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use operator_plugin_api::{
    ActionDefinition, ActionResult, Call, CheckReport, Deadline, Description, Error, Observation,
    Subject, export_subject,
};
use operator_plugin_kit::Http;
use serde_json::Value;

pub use config::Config;
pub use log::{EventKind, LogEvent, LogEvidence};
pub use observation::*;
pub use thresholds::{ObservedThresholds, Thresholds};

use config::Settings;
use log::LogTail;
use memory::Memory;
use meter::Meter;

/// The largest body that is read whole: larger than the list of 5,000 stores of 1.3 KiB.
const MAX_BODY_BYTES: u64 = 16 << 20;

/// A connection within a data centre takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(900);

fn http() -> Http {
    Http::new(concat!("operator-tikv/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .max_body_bytes(MAX_BODY_BYTES)
}

/// A cluster as this plugin watches it.
pub struct Tikv {
    settings: Arc<Settings>,
    http: Arc<Http>,
    meter: Meter,
    memory: Mutex<Memory>,
    log: Mutex<LogTail>,
}

impl Subject for Tikv {
    type Config = Config;
    type Data = Data;

    fn describe() -> Description {
        describe::description()
    }

    fn create(config: Config) -> Result<Self, Error> {
        let settings = Arc::new(Settings::new(config)?);
        let http = Arc::new(http());
        Ok(Self {
            meter: Meter::new(Arc::clone(&settings), Arc::clone(&http)),
            settings,
            http,
            memory: Mutex::default(),
            log: Mutex::default(),
        })
    }

    fn observe(&self, deadline: Deadline) -> Result<Observation<Data>, Error> {
        self.observe_again(deadline, None)
    }

    fn observe_again(
        &self,
        deadline: Deadline,
        kept: Option<&Value>,
    ) -> Result<Observation<Data>, Error> {
        {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            // Afterwards this instance knows more than the host.
            if !std::mem::replace(&mut memory.is_restored, true)
                && let Some(kept) = kept
            {
                kept::restore(&mut memory, kept, Instant::now());
            }
        }
        observe::observe(
            &self.settings,
            &self.http,
            &self.meter,
            &self.memory,
            &self.log,
            deadline,
        )
    }

    fn check(&self, observation: &Observation<Data>) -> CheckReport {
        check::check(&observation.data)
    }

    fn actions(&self) -> Vec<ActionDefinition> {
        actions::definitions()
    }

    fn invoke(&self, call: &Call) -> Result<ActionResult, Error> {
        let members = {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.members.clone()
        };
        actions::invoke(&self.http, &self.settings.pd, &members, call)
    }
}

export_subject!(Tikv);
