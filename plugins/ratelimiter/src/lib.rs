//! Operator's subject plugin for a distributed rate limiter.
//!
//! It reads the management API of any live node, every node's own health and metrics, the Redis they share, and
//! Prometheus. See the README for what each invariant means.

mod actions;
mod check;
mod checks;
mod collect;
mod config;
mod describe;
mod exposition;
mod heartbeat;
mod kept;
mod keys;
mod management;
mod memory;
mod observation;
mod observe;
mod probe;
mod prometheus;
mod rates;
mod recurring;
mod redis_link;
mod redis_view;
mod roster;
mod sample;
mod summary;
mod sweep;
mod thresholds;
mod wire;

use std::sync::{Mutex, PoisonError};

use operator_plugin_api::{
    ActionDefinition, ActionResult, Call, CheckReport, Deadline, Description, Error, Observation,
    Subject, export_subject,
};
use operator_plugin_kit::Http;
use serde_json::Value;

pub use config::Config;
pub use observation::*;
pub use thresholds::{ObservedThresholds, Thresholds};

use config::Settings;
use memory::Memory;

/// A rate limiter as this plugin watches it.
pub struct RateLimiter {
    settings: Settings,
    http: Http,
    memory: Mutex<Memory>,
}

impl Subject for RateLimiter {
    type Config = Config;
    type Data = Data;

    fn describe() -> Description {
        describe::description()
    }

    fn create(config: Config) -> Result<Self, Error> {
        Ok(Self {
            settings: Settings::new(config)?,
            http: Http::new(concat!("operator-ratelimiter/", env!("CARGO_PKG_VERSION"))),
            memory: Mutex::default(),
        })
    }

    fn observe(&self, deadline: Deadline) -> Result<Observation<Data>, Error> {
        self.observe_again(deadline, None)
    }

    fn observe_again(
        &self,
        deadline: Deadline,
        memory: Option<&Value>,
    ) -> Result<Observation<Data>, Error> {
        observe::observe(&self.settings, &self.http, &self.memory, deadline, memory)
    }

    fn check(&self, observation: &Observation<Data>) -> CheckReport {
        check::check(&observation.data)
    }

    fn actions(&self) -> Vec<ActionDefinition> {
        actions::definitions()
    }

    fn invoke(&self, call: &Call) -> Result<ActionResult, Error> {
        let targets = {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.roster.targets(&self.settings.management)
        };
        actions::Invoker {
            http: &self.http,
            token: self.settings.admin_token.as_deref(),
            endpoints: targets.into_iter().map(|target| target.endpoint).collect(),
        }
        .invoke(call)
    }
}

export_subject!(RateLimiter);
