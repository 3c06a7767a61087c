//! The JSON documents that cross the plugin boundary.
//!
//! Every document tolerates fields it does not know, so that an old plugin works in a new host and a new plugin in
//! an old host. The schemas generated from these types are checked in under `schemas/`.
//!
//! Times are integer milliseconds since the Unix epoch, UTC. Durations are integer milliseconds, and their field
//! names end in `_ms`.
//!
//! What a document may contain at most is in [`bounds`](crate::bounds).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::bounds::MAX_MEMORY;
use crate::bounds::{
    MAX_ACTIONS, MAX_DESCRIPTION, MAX_INVARIANTS, MAX_LABEL, MAX_RESOURCES, MAX_RUNBOOK, MAX_SLIS,
    MAX_SLOS, MAX_SOURCES, MAX_UNKNOWNS, MAX_VIOLATIONS,
};

/// How bad a violation is, from a remark to a page at night.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nobody needs to act.
    Info,
    /// Someone should act during working hours.
    Warning,
    /// Someone should act now.
    Critical,
}

impl Severity {
    /// The name used in documents, configuration and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A plugin's description of itself, before it is configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Descriptor {
    /// Name of the kind of system that is watched, for example `postgres`: lower case letters, digits, `-` and `_`.
    #[schemars(regex(pattern = r"^[a-z0-9_-]{1,64}$"))]
    pub subject: String,
    /// One sentence for people.
    #[schemars(length(max = MAX_DESCRIPTION))]
    pub description: String,
    /// JSON Schema (draft 2020-12) of the configuration that `create` accepts. Properties may carry `default`,
    /// `x-env` (the environment variable that is used where the configuration has no value) and `x-secret: true`.
    pub config_schema: Value,
    /// JSON Schema of [`Observation::data`].
    #[serde(default)]
    pub observation_schema: Value,
    /// Every invariant that `check` can report. The host rejects reports about others.
    #[schemars(length(max = MAX_INVARIANTS))]
    pub invariants: Vec<Invariant>,
    /// Service level objectives over the SLIs of an observation.
    #[serde(default)]
    #[schemars(length(max = MAX_SLOS))]
    pub slos: Vec<Slo>,
}

/// A statement about the subject that should always hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Invariant {
    /// Unique within the plugin: lower case letters, digits and `_`.
    #[schemars(regex(pattern = r"^[a-z0-9_]{1,64}$"))]
    pub name: String,
    /// What holds in a healthy subject, and what a violation means, in a sentence or two.
    #[schemars(length(max = MAX_DESCRIPTION))]
    pub description: String,
    /// How bad a violation is, unless the violation or the operator's configuration overrides it.
    pub severity: Severity,
    /// The kind of the resources it is judged on, as in [`Resource::kind`]. A ticket on such a resource resolves only in
    /// a cycle whose observation lists the resource; absent for an invariant of the subject as a whole, or one whose
    /// resources are not listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// How long a violation must last before its ticket opens. Milliseconds; 0 opens at once.
    #[serde(default)]
    pub grace_period_ms: u64,
    /// How long the invariant must hold again before its ticket resolves. Milliseconds; 0 resolves at once.
    #[serde(default)]
    pub keep_firing_for_ms: u64,
    /// Names of actions that are meant to repair a violation, best first.
    #[serde(default)]
    pub suggested_actions: Vec<String>,
    /// What a person should examine and do, as Markdown.
    #[serde(default)]
    #[schemars(length(max = MAX_RUNBOOK))]
    pub runbook: String,
}

/// A target for one SLI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slo {
    /// Unique within the plugin.
    #[schemars(length(min = 1, max = MAX_LABEL))]
    pub name: String,
    /// What is promised, in a sentence.
    #[schemars(length(max = MAX_DESCRIPTION))]
    pub description: String,
    /// Key into [`Observation::slis`].
    pub sli: String,
    /// Which side of the target is good.
    pub objective: Objective,
    /// In the SLI's unit.
    pub target: f64,
    /// For people: `ms`, `%`, `1/s`.
    pub unit: String,
}

/// Which side of a target is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The SLI must not exceed the target.
    AtMost,
    /// The SLI must not fall below the target.
    AtLeast,
}

/// The state of a subject at one moment, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observation<D = Value> {
    /// When the observation was complete. The host refuses one from another time than that of the call.
    pub observed_at_ms: i64,
    /// One line for people, without a trailing full stop: `3 of 3 nodes healthy, 1,004 checks/s`.
    #[serde(default)]
    pub summary: String,
    /// What `check` judges. What is not known is `null` or absent, never a default that looks healthy.
    pub data: D,
    /// Service level indicators by name; `null` where unknown.
    #[serde(default)]
    #[schemars(extend("maxProperties" = MAX_SLIS))]
    pub slis: BTreeMap<String, Option<f64>>,
    /// Every source that was asked, whether or not it answered.
    #[serde(default)]
    #[schemars(length(max = MAX_SOURCES))]
    pub sources: Vec<Source>,
    /// The parts of the subject that were looked at, and those that are known to be gone. What is not listed is unknown
    /// for every invariant that is declared [`on`](Invariant::on) its kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_RESOURCES))]
    pub resources: Vec<Resource>,
    /// What the plugin needs to know again, such as the members it has seen: any JSON of at most [`MAX_MEMORY`] bytes.
    /// The host keeps it for the subject and hands it back with [`ObserveRequest::memory`], also after a restart of the
    /// plugin or of the host. Absent changes nothing of what is kept. No secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Value>,
}

/// A part of the subject on which invariants are judged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// What it is, for example `node`: lower case letters, digits and `_`.
    #[schemars(regex(pattern = r"^[a-z0-9_]{1,64}$"))]
    pub kind: String,
    /// Its name, as violations and unknowns have it in their `resource`.
    #[schemars(length(min = 1))]
    pub id: String,
    /// Why it is no longer a part of the subject: it left in good order, was removed, or was forgotten after its time.
    /// Absent while it is one, also while it does not answer. Tickets on a resource that is gone resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
}

/// One place that an observation was read from, and whether it answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Short and stable, for example `prometheus` or `node-2`.
    #[schemars(length(min = 1, max = MAX_LABEL))]
    pub name: String,
    /// Why it gave nothing usable; absent when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took to answer or to fail. Milliseconds.
    #[serde(default)]
    pub took_ms: f64,
}

/// The judgement of one observation. An invariant that is in neither list holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    /// Invariants that are violated, at most one entry per invariant and resource.
    #[schemars(length(max = MAX_VIOLATIONS))]
    pub violations: Vec<Violation>,
    /// Invariants that could not be evaluated.
    #[serde(default)]
    #[schemars(length(max = MAX_UNKNOWNS))]
    pub unknown: Vec<Unknown>,
}

/// One violated invariant on one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// Name of a declared invariant.
    pub invariant: String,
    /// Where it is violated (a node, a key); absent when it is the subject as a whole. Stable from cycle to cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Overrides the invariant's severity for this violation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// One sentence with the numbers that show it.
    pub message: String,
    /// The numbers themselves, for diagnosis.
    #[serde(default)]
    pub evidence: Value,
}

/// An invariant that could not be evaluated, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unknown {
    /// Name of a declared invariant.
    pub invariant: String,
    /// The resource that is unknown; absent when nothing is known about the invariant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What was missing, in a sentence.
    pub reason: String,
    /// Whether it should be known. An unknown of any kind neither opens nor resolves a ticket of its invariant.
    #[serde(default, skip_serializing_if = "UnknownKind::is_missing")]
    pub kind: UnknownKind,
}

/// Why something is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownKind {
    /// It should be known, and somebody should find out why it is not.
    #[default]
    Missing,
    /// This subject, or its version, can never tell.
    NotSupported,
    /// There is nothing to judge at present: an idle system has no latency.
    NotApplicable,
}

impl UnknownKind {
    /// Whether it is [`UnknownKind::Missing`].
    pub fn is_missing(&self) -> bool {
        *self == Self::Missing
    }
}

/// Something that a plugin can do to its subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionDefinition {
    /// Unique within the plugin, and no tool of the host (`wait`, `log_message`, `observe_now`): lower case letters, digits
    /// and `_`.
    #[schemars(regex(pattern = r"^[a-z0-9_]{1,64}$"))]
    pub name: String,
    /// What it does and what it costs, in a sentence or two.
    #[schemars(length(max = MAX_DESCRIPTION))]
    pub description: String,
    /// JSON Schema of the parameters: an object with typed and bounded properties. A property may carry
    /// `x-resource: true`: its value names what the action touches, as the violations name it (a node, a key). The host
    /// limits how many different resources are touched within a time; where no property is marked, it counts them all.
    pub params_schema: Value,
    /// How much harm it can do.
    pub risk: Risk,
    /// Whether running it twice with the same parameters is the same as running it once.
    pub idempotent: bool,
    /// The action that undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inverse: Option<Inverse>,
    /// Names of the invariants whose violation it is meant to repair.
    #[serde(default)]
    pub mends: Vec<String>,
    /// Whether `invoke` honours `dry_run`.
    #[serde(default)]
    pub dry_run: bool,
}

/// How much harm an action can do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Cannot hurt users of the subject.
    Low,
    /// Can hurt some users, or one part of the subject, for a while.
    Medium,
    /// Can hurt all users, or cannot be undone.
    High,
}

impl Risk {
    /// The name used in documents, configuration and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// The action that undoes another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inverse {
    /// Name of an action of the same plugin.
    pub action: String,
    /// For each parameter of the inverse, where its value comes from.
    #[serde(default)]
    pub params: BTreeMap<String, InverseParam>,
}

/// Where a parameter of an inverse action comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InverseParam {
    /// The parameter of this name of the original call.
    Param(String),
    /// This field of the original call's [`ActionResult::details`], such as the value before the change.
    Detail(String),
    /// Always this value.
    Value(Value),
}

/// The reply of `list_actions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionList {
    /// Every action that `invoke` accepts.
    #[schemars(length(max = MAX_ACTIONS))]
    pub actions: Vec<ActionDefinition>,
}

/// The request of `observe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObserveRequest {
    /// How long the call may take, from its arrival. Milliseconds. The host ends a plugin that takes longer.
    pub deadline_ms: u64,
    /// The last [`Observation::memory`] of this subject; absent before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Value>,
}

/// The request of `invoke`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InvokeRequest {
    /// Name of an action from `list_actions`.
    pub action: String,
    /// Parameters that fit the action's schema.
    pub params: Value,
    /// How long the call may take, from its arrival. Milliseconds.
    pub deadline_ms: u64,
    /// The same for every attempt at one execution, so that a subject can recognise a repeat.
    pub idempotency_key: String,
    /// Report what would be done and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionResult {
    /// What is known of the effect.
    pub outcome: Outcome,
    /// One sentence for people.
    pub message: String,
    /// What the subject answered, and the values before a change where the inverse needs them.
    #[serde(default)]
    pub details: Value,
}

/// What is known of an action's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The subject accepted it.
    Done,
    /// It had no effect.
    Failed,
    /// It may or may not have had an effect: the request was sent and no answer came.
    Unknown,
}
