//! The trait that a plugin author implements.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    document::{ActionDefinition, ActionResult, CheckReport, Invariant, Observation, Slo},
    error::{Error, ErrorKind},
};

/// One kind of distributed system, and how to watch it.
///
/// Calls block: the host runs them where blocking is allowed, one at a time for each subject. A panic anywhere becomes
/// an [`ErrorKind::Panic`]. Nothing here may start a runtime that outlives the call, write outside the process, or print
/// secrets; what is printed goes to the plugin's log.
pub trait Subject: Sized + Send + Sync + 'static {
    /// The configuration: an object of named keys. Derive `#[serde(deny_unknown_fields)]`, so that a mistyped key is rejected.
    type Config: DeserializeOwned + JsonSchema;
    /// The data of an observation. What may be unknown is an `Option`.
    type Data: Serialize + DeserializeOwned + JsonSchema;

    /// Describes the plugin. The schemas are derived from the types.
    fn describe() -> Description;

    /// Validates the configuration. Never connects: the subject may be down, which `observe` reports.
    fn create(config: Self::Config) -> Result<Self, Error>;

    /// Reads the state of the subject, without changing it.
    ///
    /// A source that does not answer is named in [`Observation::sources`]; an error means that nothing could be read.
    fn observe(&self, deadline: Deadline) -> Result<Observation<Self::Data>, Error>;

    /// [`Subject::observe`] for a plugin that must know again what it has seen before, also after a restart. The host calls
    /// this one; `memory` is the last [`Observation::memory`], or `None` before there was one. What does not parse is
    /// treated as `None`: another version of the plugin may have written it.
    fn observe_again(
        &self,
        deadline: Deadline,
        memory: Option<&Value>,
    ) -> Result<Observation<Self::Data>, Error> {
        let _ = memory;
        self.observe(deadline)
    }

    /// Judges an observation: no I/O, no clock, no memory of earlier calls, and nothing of the configuration, so that every
    /// instance gives the same report. What is missing is unknown, never healthy.
    fn check(&self, observation: &Observation<Self::Data>) -> CheckReport;

    /// The actions that `invoke` accepts.
    fn actions(&self) -> Vec<ActionDefinition> {
        Vec::new()
    }

    /// Runs one of [`Subject::actions`]. Invalid arguments are rejected before anything is done.
    fn invoke(&self, call: &Call) -> Result<ActionResult, Error> {
        Err(Error::new(
            ErrorKind::Invalid,
            format!("there is no action `{}`", call.action),
        ))
    }

    /// Handles an extension that this ABI does not know.
    fn extension(&self, id: &str, payload: &str) -> Result<String, Error> {
        let _ = payload;
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("extension `{id}` is not offered"),
        ))
    }
}

/// An author's description of the plugin; the SDK adds the schemas.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// See [`crate::document::Descriptor::subject`].
    pub subject: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// Every invariant that [`Subject::check`] can report.
    pub invariants: Vec<Invariant>,
    /// Targets for the SLIs.
    pub slos: Vec<Slo>,
}

/// When a call must return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline this far from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// How much time is left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The time left, capped at `duration`: for a step that must not use all of it.
    pub fn at_most(self, duration: Duration) -> Duration {
        self.remaining().min(duration)
    }
}

/// One call of an action.
#[derive(Debug, Clone)]
pub struct Call {
    /// Name of the action.
    pub action: String,
    /// The raw parameters; see [`Call::params`].
    pub params: Value,
    /// When the call must return.
    pub deadline: Deadline,
    /// The same for every attempt at one execution.
    pub idempotency_key: String,
    /// Report what would be done and do nothing.
    pub dry_run: bool,
}

impl Call {
    /// The parameters as the type that the action's schema was derived from.
    ///
    /// Derive `#[serde(deny_unknown_fields)]` on it; the caller checks bounds that its types do not express.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P, Error> {
        let wrong = |why: String| {
            let message = format!("parameters of `{}`: {why}", self.action);
            Error::new(ErrorKind::Invalid, message)
        };
        // Serde would read a list as a struct as well.
        if !self.params.is_object() {
            return Err(wrong("they must be an object of named values".into()));
        }
        P::deserialize(&self.params).map_err(|error| wrong(error.to_string()))
    }
}
