//! Observing and checking subjects on demand.

use std::{collections::BTreeMap, sync::Arc};

use operator_actions::tools;
use operator_config::{PluginConfig, SubjectConfig, check_names};
use operator_loader::{Observed, Observer, Plugin};
use operator_model::{Ticket, TicketState, shown_database};
use operator_monitor::{
    CycleOutcome, PLUGIN_FAILING, Seen, Tally, Verdicts, policies, tally, verdicts,
};
use operator_plugin_api::{CheckReport, Descriptor, Objective, Slo, Unknown};
use operator_store::{Store, TicketFilter};
use operator_subject::{self as subject, PreparedSubject};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{Guidance, Service, ServiceError};

/// The verdict over a whole subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectHealth {
    /// Every invariant holds, but for those that the subject cannot tell of, or that do not apply at present.
    Healthy,
    /// At least one is broken.
    Violated,
    /// None is known to be broken, and at least one is not known that should be; or the subject could not be observed.
    Unknown,
}

/// One observation of a subject, judged.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Name of the subject.
    pub subject: String,
    /// What was seen; absent when the subject could not be observed.
    pub observed: Option<Observed>,
    /// What was judged: without invariants that are disabled, and with the severities of the configuration.
    pub report: CheckReport,
    /// Why the subject could not be observed, or what its plugin did against its contract.
    pub unobservable: Option<String>,
    /// How many invariants are in which state.
    pub tally: Tally,
    /// The verdict.
    pub health: SubjectHealth,
    /// What the author of the plugin wrote about each violated invariant, by its name.
    pub guidance: BTreeMap<String, Guidance>,
    /// Every service level objective of the plugin.
    pub slos: Vec<SloResult>,
    /// The subject's tickets that are open or recovering in the database. They are no part of the verdict.
    pub tickets: Vec<Ticket>,
    /// The database, as people may see its address.
    pub database: String,
}

/// A service level objective and what was observed of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SloResult {
    /// The objective.
    #[serde(flatten)]
    pub slo: Slo,
    /// The value of its indicator; absent where it is unknown.
    pub value: Option<f64>,
    /// Whether the target is met; absent where that is unknown.
    pub met: Option<bool>,
}

impl SloResult {
    fn new(slo: &Slo, observed: Option<&Observed>) -> Self {
        let value = observed.and_then(|observed| observed.slis.get(&slo.sli).copied().flatten());
        Self {
            met: value.map(|value| match slo.objective {
                Objective::AtMost => value <= slo.target,
                Objective::AtLeast => value >= slo.target,
            }),
            slo: slo.clone(),
            value,
        }
    }
}

/// A subject that can be asked: in the instance that this process watches it with, or in one that was made for this.
pub(crate) struct Connected {
    pub(crate) descriptor: Arc<Descriptor>,
    pub(crate) observer: Observer,
    is_shared: bool,
}

impl Connected {
    /// Ends the instance, unless it is watched with.
    pub(crate) async fn close(self) {
        if !self.is_shared {
            self.observer.shutdown().await;
        }
    }
}

impl Service {
    /// Proves that a subject can be watched: its plugin loads and accepts its configuration. Contacts no subject.
    pub async fn prove(&self, subject: &SubjectConfig) -> Result<PluginConfig, ServiceError> {
        let plugin = self.open(subject).await?;
        self.prove_with(subject, Arc::new(plugin)).await
    }

    /// The same, with a plugin file that was opened already.
    pub(crate) async fn prove_with(
        &self,
        subject: &SubjectConfig,
        plugin: Arc<Plugin>,
    ) -> Result<PluginConfig, ServiceError> {
        let proven = self.prove_and_keep(subject, plugin).await?;
        proven.observer.shutdown().await;
        Ok(proven.settings)
    }

    /// The same. The instance that proved it goes on.
    pub(crate) async fn prove_and_keep(
        &self,
        subject: &SubjectConfig,
        plugin: Arc<Plugin>,
    ) -> Result<PreparedSubject, ServiceError> {
        let connected = subject::start(subject, plugin, self.subject_context()).await?;
        let checked = async {
            let (listed, tools) = (connected.observer.list_actions().await?.actions, tools());
            let names = listed.iter().chain(&tools);
            let names: Vec<_> = names.map(|action| action.name.as_str()).collect();
            check_names(subject, &names, &self.loaded().origins)?;
            Ok::<_, ServiceError>(())
        };
        if let Err(error) = checked.await {
            connected.observer.shutdown().await;
            return Err(error);
        }
        Ok(connected)
    }

    /// The instance that this process watches the subject with, or else a new one.
    pub(crate) async fn connect(&self, subject: &SubjectConfig) -> Result<Connected, ServiceError> {
        if let Some((descriptor, observer)) = self.running.find(&subject.name) {
            return Ok(Connected {
                descriptor,
                observer,
                is_shared: true,
            });
        }
        let plugin = Arc::new(self.open(subject).await?);
        let prepared = self.prepare(subject, plugin).await?;
        Ok(Connected {
            descriptor: prepared.descriptor,
            observer: prepared.observer,
            is_shared: false,
        })
    }

    /// A process starts for the descriptor only where none is kept of this very plugin file.
    pub(crate) async fn prepare(
        &self,
        subject: &SubjectConfig,
        plugin: Arc<Plugin>,
    ) -> Result<PreparedSubject, ServiceError> {
        if !Store::may_exist(&self.loaded().config.database) {
            return Ok(subject::start(subject, plugin, self.subject_context()).await?);
        }
        let kept = self.reading().await?.descriptor(&subject.name).await?;
        if let Some(kept) = kept.filter(|kept| kept.sha256 == plugin.sha256) {
            let context = self.subject_context();
            return Ok(subject::prepare(subject, plugin, kept.descriptor, context).await?);
        }
        let started = subject::start(subject, plugin, self.subject_context()).await?;
        self.keep_descriptor(subject, &started).await;
        Ok(started)
    }

    /// What the daemon's watch loops call when they have connected a subject.
    pub(crate) async fn connected(&self, subject: &SubjectConfig, started: &PreparedSubject) {
        self.running
            .register(&subject.name, &started.descriptor, &started.observer);
        self.keep_descriptor(subject, started).await;
    }

    /// It is a copy for later: a failure to write it fails nothing else.
    async fn keep_descriptor(&self, subject: &SubjectConfig, started: &PreparedSubject) {
        let kept = async {
            let store = self.store().await?;
            let (sha256, descriptor) = (&started.plugin.sha256, &started.descriptor);
            let kept = store.descriptor(&subject.name).await?;
            if kept.is_some_and(|kept| kept.sha256 == *sha256 && kept.descriptor == **descriptor) {
                return Ok(());
            }
            store
                .keep_descriptor(&subject.name, sha256, descriptor)
                .await
                .map_err(ServiceError::from)
        };
        if let Err(error) = kept.await {
            tracing::debug!(subject = subject.name, "{error}");
        }
    }

    /// Observes a subject once. The plugin is given what the daemon keeps for it; nothing is kept of the observation.
    pub async fn observe(&self, subject: &SubjectConfig) -> Result<Observed, ServiceError> {
        let memory = self.memory(subject).await?;
        let connected = self.connect(subject).await?;
        let observed = connected.observer.observe_again(memory.as_deref()).await;
        connected.close().await;
        Ok(observed?)
    }

    /// What the daemon keeps for a subject's plugin, if there is a database.
    async fn memory(&self, subject: &SubjectConfig) -> Result<Option<Box<RawValue>>, ServiceError> {
        if !Store::may_exist(&self.loaded().config.database) {
            return Ok(None);
        }
        let kept = self.store().await?.memory(&subject.name).await?;
        Ok(kept.and_then(|text| RawValue::from_string(text).ok()))
    }

    /// The tickets of a subject that are not over, if there is a database.
    async fn live_tickets(&self, subject: &SubjectConfig) -> Result<Vec<Ticket>, ServiceError> {
        if !Store::may_exist(&self.loaded().config.database) {
            return Ok(Vec::new());
        }
        let filter = TicketFilter {
            subjects: vec![subject.name.clone()],
            states: vec![
                TicketState::Pending,
                TicketState::Open,
                TicketState::Recovering,
            ],
            limit: None,
        };
        Ok(self.store().await?.tickets(&filter).await?)
    }

    /// Observes a subject and judges it once, as a cycle of the daemon does. Keeps nothing of it; grace periods do not count.
    pub async fn check(&self, subject: &SubjectConfig) -> Result<Checked, ServiceError> {
        let memory = self.memory(subject).await?;
        let tickets = self.live_tickets(subject).await?;
        let connected = self.connect(subject).await?;
        let observed = connected.observer.observe_again(memory.as_deref()).await;
        let judged = match observed {
            Ok(observed) => {
                let report = connected.observer.check(&observed).await;
                report.map(|report| (Some(observed), CycleOutcome::Judged(report)))
            }
            Err(error) if error.is_subjects_fault() => {
                Ok((None, CycleOutcome::Unobservable(error.to_string())))
            }
            Err(error) => Err(error),
        };
        let descriptor = Arc::clone(&connected.descriptor);
        connected.close().await;
        let (observed, outcome) = judged?;
        let database = shown_database(&self.loaded().config.database);
        let mut checked = checked(subject, &descriptor, &tickets, observed, outcome);
        checked.tickets = tickets;
        checked
            .tickets
            .retain(|ticket| ticket.state != TicketState::Pending);
        checked.database = database;
        Ok(checked)
    }
}

fn checked(
    subject: &SubjectConfig,
    descriptor: &Descriptor,
    tickets: &[Ticket],
    observed: Option<Observed>,
    outcome: CycleOutcome,
) -> Checked {
    let policies = policies(Some(descriptor), subject);
    let seen = Seen {
        resources: observed.as_ref().map_or(&[], |o| &o.resources),
        tickets,
    };
    let verdicts = verdicts(&outcome, seen, &policies);
    let tally = tally(&verdicts, &policies);
    let contract_broken = verdicts.findings.iter().find_map(|(key, finding)| {
        (key.invariant == PLUGIN_FAILING).then(|| finding.message.clone())
    });
    let enabled = |invariant: &str| policies.get(invariant).is_none_or(|policy| policy.enabled);
    let (report, unobservable) = match outcome {
        CycleOutcome::Judged(mut report) => {
            report
                .violations
                .retain(|violation| enabled(&violation.invariant));
            add_unlisted(&mut report, &verdicts);
            report.unknown.retain(|unknown| enabled(&unknown.invariant));
            for violation in &mut report.violations {
                let policy = policies.get(&violation.invariant);
                let own = violation
                    .severity
                    .filter(|_| policy.is_none_or(|p| !p.severity_overridden));
                violation.severity = own.or(policy.map(|policy| policy.severity));
            }
            (report, contract_broken)
        }
        CycleOutcome::Unobservable(why) | CycleOutcome::PluginFailing(why) => {
            (CheckReport::default(), Some(why))
        }
    };
    let health = if report.violations.is_empty() {
        if tally.is_healthy() && unobservable.is_none() {
            SubjectHealth::Healthy
        } else {
            SubjectHealth::Unknown
        }
    } else {
        SubjectHealth::Violated
    };
    let violated = report.violations.iter();
    let guidance = violated.filter_map(|violation| {
        let guidance = Guidance::of(&violation.invariant, Some(descriptor))?;
        Some((violation.invariant.clone(), guidance))
    });
    let slos = descriptor.slos.iter();
    Checked {
        subject: subject.name.clone(),
        guidance: guidance.collect(),
        slos: slos
            .map(|slo| SloResult::new(slo, observed.as_ref()))
            .collect(),
        observed,
        report,
        unobservable,
        tally,
        health,
        tickets: Vec::new(),
        database: String::new(),
    }
}

/// What is unknown although the plugin did not report it: the resources of tickets at which nobody looked.
fn add_unlisted(report: &mut CheckReport, verdicts: &Verdicts) {
    for (key, reason) in &verdicts.unknown {
        let Some(resource) = &key.resource else {
            continue;
        };
        let is_reported = report.unknown.iter().any(|unknown| {
            unknown.invariant == key.invariant && unknown.resource.as_ref() == Some(resource)
        });
        if !is_reported {
            let unknown = Unknown::new(&key.invariant, &reason.text).resource(resource);
            report.unknown.push(unknown);
        }
    }
}

impl Checked {
    /// As one JSON document.
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "subject": self.subject,
            "health": self.health,
            "holding": self.tally.holding,
            "violated": self.tally.violated,
            "unknown": self.tally.unknown,
            "not_supported": self.tally.not_supported,
            "not_applicable": self.tally.not_applicable,
            "unobservable": self.unobservable,
            "violations": self.report.violations,
            "unknowns": self.report.unknown,
            "guidance": self.guidance,
            "slos": self.slos,
            "summary": self.observed.as_ref().map(|observed| &observed.summary),
            "slis": self.observed.as_ref().map(|observed| &observed.slis),
            "sources": self.observed.as_ref().map(|observed| &observed.sources),
            "resources": self.observed.as_ref().map(|observed| &observed.resources),
            "tickets": self.tickets,
        })
    }
}
