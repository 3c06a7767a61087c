//! Constructors and setters for the documents that authors write by hand.
//!
//! Source that builds documents through these keeps compiling when a document gains a field. A constructor takes what
//! every document of its kind has; setters add the rest and can be chained.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use crate::{
    document::{
        ActionDefinition, ActionResult, Invariant, Inverse, InverseParam, Objective, Observation,
        Outcome, Resource, Risk, Severity, Slo, Source, Unknown, UnknownKind, Violation,
    },
    export::now_ms,
    subject::{Call, Deadline, Description},
};

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn names<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Vec<String> {
    names.into_iter().map(Into::into).collect()
}

impl Description {
    /// A plugin without invariants and SLOs.
    pub fn new(subject: &'static str, description: &'static str) -> Self {
        Self {
            subject,
            description,
            invariants: Vec::new(),
            slos: Vec::new(),
        }
    }

    /// Sets the invariants that `check` can report.
    #[must_use]
    pub fn invariants(mut self, invariants: impl IntoIterator<Item = Invariant>) -> Self {
        self.invariants = invariants.into_iter().collect();
        self
    }

    /// Sets the targets for the SLIs.
    #[must_use]
    pub fn slos(mut self, slos: impl IntoIterator<Item = Slo>) -> Self {
        self.slos = slos.into_iter().collect();
        self
    }
}

impl Invariant {
    /// An invariant whose tickets open and resolve at once, without a runbook and without suggested actions.
    pub fn new(
        name: impl Into<String>,
        severity: Severity,
        description: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            severity,
            on: None,
            grace_period_ms: 0,
            keep_firing_for_ms: 0,
            suggested_actions: Vec::new(),
            runbook: String::new(),
        }
    }

    /// The kind of the resources it is judged on; see [`Resource::kind`].
    #[must_use]
    pub fn on(mut self, kind: impl Into<String>) -> Self {
        self.on = Some(kind.into());
        self
    }

    /// How long a violation must last before its ticket opens.
    #[must_use]
    pub fn grace_period(mut self, duration: Duration) -> Self {
        self.grace_period_ms = millis(duration);
        self
    }

    /// How long the invariant must hold again before its ticket resolves.
    #[must_use]
    pub fn keep_firing_for(mut self, duration: Duration) -> Self {
        self.keep_firing_for_ms = millis(duration);
        self
    }

    /// Names of actions that are meant to repair a violation, best first.
    #[must_use]
    pub fn suggested_actions<N: Into<String>>(
        mut self,
        actions: impl IntoIterator<Item = N>,
    ) -> Self {
        self.suggested_actions = names(actions);
        self
    }

    /// What a person should examine and do, as Markdown.
    #[must_use]
    pub fn runbook(mut self, markdown: impl Into<String>) -> Self {
        self.runbook = markdown.into();
        self
    }
}

impl Slo {
    /// A promise that the SLI does not exceed the target, without a unit.
    pub fn at_most(name: impl Into<String>, sli: impl Into<String>, target: f64) -> Self {
        Self::new(name.into(), sli.into(), Objective::AtMost, target)
    }

    /// A promise that the SLI does not fall below the target, without a unit.
    pub fn at_least(name: impl Into<String>, sli: impl Into<String>, target: f64) -> Self {
        Self::new(name.into(), sli.into(), Objective::AtLeast, target)
    }

    fn new(name: String, sli: String, objective: Objective, target: f64) -> Self {
        Self {
            name,
            description: String::new(),
            sli,
            objective,
            target,
            unit: String::new(),
        }
    }

    /// What is promised, in a sentence.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// The unit as people write it: `ms`, `%`, `1/s`.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }
}

impl<D> Observation<D> {
    /// An observation that is complete now, without summary, SLIs and sources.
    pub fn new(data: D) -> Self {
        Self {
            observed_at_ms: now_ms(),
            summary: String::new(),
            data,
            slis: BTreeMap::new(),
            sources: Vec::new(),
            resources: Vec::new(),
            memory: None,
        }
    }

    /// One line for people, without a trailing full stop.
    #[must_use]
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// Adds a service level indicator; `None` is unknown.
    #[must_use]
    pub fn sli(mut self, name: impl Into<String>, value: Option<f64>) -> Self {
        self.slis.insert(name.into(), value);
        self
    }

    /// Adds a source that was asked.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        self.sources.push(source);
        self
    }

    /// Adds a resource that was looked at, or that is gone.
    #[must_use]
    pub fn resource(mut self, resource: Resource) -> Self {
        self.resources.push(resource);
        self
    }

    /// What the next `observe` is given.
    #[must_use]
    pub fn memory(mut self, memory: Value) -> Self {
        self.memory = Some(memory);
        self
    }
}

impl Resource {
    /// A part of the subject.
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            id: id.into(),
            gone: None,
        }
    }

    /// It is no longer a part of the subject, and why.
    #[must_use]
    pub fn gone(mut self, why: impl Into<String>) -> Self {
        self.gone = Some(why.into());
        self
    }
}

impl Source {
    /// A source that answered.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            error: None,
            took_ms: 0.0,
        }
    }

    /// Why the source gave nothing usable; `None` where it answered.
    #[must_use]
    pub fn error(mut self, error: Option<impl Display>) -> Self {
        self.error = error.map(|error| error.to_string());
        self
    }

    /// How long it took to answer or to fail.
    #[must_use]
    pub fn took(mut self, duration: Duration) -> Self {
        self.took_ms = duration.as_secs_f64() * 1_000.0;
        self
    }
}

impl Violation {
    /// A violation on the subject as a whole, with the severity of its invariant. The message is one sentence with the
    /// numbers that show it.
    pub fn new(invariant: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            invariant: invariant.into(),
            resource: None,
            severity: None,
            message: message.into(),
            evidence: Value::Null,
        }
    }

    /// The resource on which the invariant is violated.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Overrides the severity of the invariant.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }

    /// The numbers themselves, for diagnosis.
    #[must_use]
    pub fn evidence(mut self, evidence: Value) -> Self {
        self.evidence = evidence;
        self
    }
}

impl Unknown {
    /// An invariant of which nothing is known. The reason says what is missing, in a sentence.
    pub fn new(invariant: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            invariant: invariant.into(),
            resource: None,
            reason: reason.into(),
            kind: UnknownKind::Missing,
        }
    }

    /// This subject, or its version, can never tell.
    #[must_use]
    pub fn not_supported(mut self) -> Self {
        self.kind = UnknownKind::NotSupported;
        self
    }

    /// There is nothing to judge at present.
    #[must_use]
    pub fn not_applicable(mut self) -> Self {
        self.kind = UnknownKind::NotApplicable;
        self
    }

    /// The resource that is unknown.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }
}

impl ActionDefinition {
    /// An action with parameters of type `P`. It counts as neither idempotent nor able to run dry until the setters say
    /// so.
    pub fn new<P: JsonSchema>(
        name: impl Into<String>,
        risk: Risk,
        description: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            params_schema: schema_for!(P).to_value(),
            risk,
            idempotent: false,
            inverse: None,
            mends: Vec::new(),
            dry_run: false,
        }
    }

    /// Running it twice with the same parameters is the same as running it once.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// `invoke` honours `dry_run`.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// The action that undoes it.
    #[must_use]
    pub fn inverse(mut self, inverse: Inverse) -> Self {
        self.inverse = Some(inverse);
        self
    }

    /// Names of the invariants whose violation it is meant to repair.
    #[must_use]
    pub fn mends<N: Into<String>>(mut self, invariants: impl IntoIterator<Item = N>) -> Self {
        self.mends = names(invariants);
        self
    }
}

impl Inverse {
    /// An inverse action without parameters.
    pub fn new(action: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            params: BTreeMap::new(),
        }
    }

    /// The inverse's parameter `name` is the parameter `of` of the original call.
    #[must_use]
    pub fn param(self, name: impl Into<String>, of: impl Into<String>) -> Self {
        self.with(name.into(), InverseParam::Param(of.into()))
    }

    /// The inverse's parameter `name` is the field `of` of the original call's [`ActionResult::details`].
    #[must_use]
    pub fn detail(self, name: impl Into<String>, of: impl Into<String>) -> Self {
        self.with(name.into(), InverseParam::Detail(of.into()))
    }

    /// The inverse's parameter `name` always has this value.
    #[must_use]
    pub fn value(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with(name.into(), InverseParam::Value(value.into()))
    }

    fn with(mut self, name: String, from: InverseParam) -> Self {
        self.params.insert(name, from);
        self
    }
}

impl ActionResult {
    /// The subject accepted the action.
    pub fn done(message: impl Into<String>) -> Self {
        Self::new(Outcome::Done, message)
    }

    /// The action had no effect.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Outcome::Failed, message)
    }

    /// The request was sent and no answer came: it may or may not have had an effect.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(Outcome::Unknown, message)
    }

    /// A result without details. The message is one sentence for people.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            message: message.into(),
            details: Value::Null,
        }
    }

    /// What the subject answered, and the values before the change where the inverse needs them.
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Self {
        self.details = details.into();
        self
    }
}

impl Call {
    /// A call that is meant: no dry run, with an empty idempotency key. For tests of `invoke`.
    pub fn new(action: impl Into<String>, params: Value, deadline: Deadline) -> Self {
        Self {
            action: action.into(),
            params,
            deadline,
            idempotency_key: String::new(),
            dry_run: false,
        }
    }

    /// Whether the call only asks what would be done.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}
