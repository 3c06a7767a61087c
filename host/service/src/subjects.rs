//! Looking at subjects once, without the daemon.

use std::sync::Arc;

use operator_actions::tools;
use operator_config::{PluginConfig, SubjectConfig, check_names};
use operator_loader::{Observed, Plugin};
use operator_monitor::{CycleOutcome, PLUGIN_FAILING, Tally, policies, tally, verdicts};
use operator_plugin_api::{ActionList, CheckReport};
use operator_subject::{self as subject, PreparedSubject};
use serde::Serialize;
use serde_json::Value;

use super::{Service, ServiceError};

/// What one look at a subject says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectHealth {
    /// Every invariant holds.
    Healthy,
    /// At least one is broken.
    Violated,
    /// None is known to be broken, and at least one is not known; or the subject could not be observed.
    Unknown,
}

/// One look at a subject.
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
}

impl Service {
    /// Proves that a subject can be watched: its plugin loads, and accepts what it is given. Contacts no subject.
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
        let connected = subject::start(subject, plugin, self.around()).await?;
        let created = connected.observer.list_actions().await;
        connected.observer.shutdown().await;
        let (listed, tools) = (created?.actions, tools());
        let names = listed.iter().chain(&tools);
        let names: Vec<_> = names.map(|action| action.name.as_str()).collect();
        check_names(subject, &names, &self.loaded().origins)?;
        Ok(connected.settings)
    }

    async fn prepare(&self, subject: &SubjectConfig) -> Result<PreparedSubject, ServiceError> {
        let plugin = Arc::new(self.open(subject).await?);
        Ok(subject::start(subject, plugin, self.around()).await?)
    }

    /// Looks at a subject once. Keeps nothing.
    pub async fn observe(&self, subject: &SubjectConfig) -> Result<Observed, ServiceError> {
        let connected = self.prepare(subject).await?;
        let observed = connected.observer.observe().await;
        connected.observer.shutdown().await;
        Ok(observed?)
    }

    /// Looks at a subject and judges it once. Keeps nothing; grace periods do not count.
    pub async fn check(&self, subject: &SubjectConfig) -> Result<Checked, ServiceError> {
        let connected = self.prepare(subject).await?;
        let looked = match connected.observer.observe().await {
            Ok(observed) => {
                let report = connected.observer.check(&observed).await;
                report.map(|report| (Some(observed), CycleOutcome::Judged(report)))
            }
            Err(error) if error.is_subjects_fault() => {
                Ok((None, CycleOutcome::Unobservable(error.to_string())))
            }
            Err(error) => Err(error),
        };
        connected.observer.shutdown().await;
        let (observed, outcome) = looked?;
        Ok(checked(subject, &connected.descriptor, observed, outcome))
    }

    /// What can be done to a subject.
    pub async fn actions(&self, subject: &SubjectConfig) -> Result<ActionList, ServiceError> {
        let connected = self.prepare(subject).await?;
        let actions = connected.observer.list_actions().await;
        connected.observer.shutdown().await;
        Ok(actions?)
    }
}

fn checked(
    subject: &SubjectConfig,
    descriptor: &operator_plugin_api::Descriptor,
    observed: Option<Observed>,
    outcome: CycleOutcome,
) -> Checked {
    let policies = policies(Some(descriptor), subject);
    let verdicts = verdicts(&outcome, &policies);
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
        let all_known = tally.unknown == 0 && report.unknown.is_empty() && unobservable.is_none();
        if all_known {
            SubjectHealth::Healthy
        } else {
            SubjectHealth::Unknown
        }
    } else {
        SubjectHealth::Violated
    };
    Checked {
        subject: subject.name.clone(),
        observed,
        report,
        unobservable,
        tally,
        health,
    }
}

impl Checked {
    /// The whole answer as one JSON value.
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "subject": self.subject,
            "health": self.health,
            "holding": self.tally.holding,
            "violated": self.tally.violated,
            "unknown": self.tally.unknown,
            "unobservable": self.unobservable,
            "violations": self.report.violations,
            "unknowns": self.report.unknown,
            "summary": self.observed.as_ref().map(|observed| &observed.summary),
            "slis": self.observed.as_ref().map(|observed| &observed.slis),
            "sources": self.observed.as_ref().map(|observed| &observed.sources),
        })
    }
}
