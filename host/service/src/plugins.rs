//! Plugin files: listing them, inspecting one, and the quarantine.

use std::{path::PathBuf, sync::Arc};

use operator_config::SubjectConfig;
use operator_loader::{self as loader, Plugin};
use operator_model::{Lack, Timestamp, nearest};
use operator_plugin_api::{ActionList, Descriptor, manifest::Manifest};
use operator_store::Quarantined;
use operator_subject as subject;
use serde::Serialize;

use super::{Service, ServiceError};

/// A plugin file in one of the plugin directories, or of a subject.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The file.
    pub path: PathBuf,
    /// Of its content; absent when it is refused.
    pub sha256: Option<String>,
    /// Its manifest; absent when it is refused.
    pub manifest: Option<Manifest>,
    /// Why it is refused, and what to do.
    pub refused: Option<String>,
    /// Why it is in quarantine.
    pub quarantined: Option<String>,
    /// Names of the subjects that it watches.
    pub subjects: Vec<String>,
}

/// A plugin and what it declares.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// The file.
    pub path: PathBuf,
    /// Of the file's content.
    pub sha256: String,
    /// The file's manifest.
    pub manifest: Manifest,
    /// What the plugin declares.
    pub descriptor: Descriptor,
    /// What the sandbox cannot keep it from on this machine, as the subject is configured; a clause each.
    pub unprotected: Vec<String>,
    /// What it asks for and is not granted.
    pub lacks: Vec<Lack>,
    /// Its actions; absent when it could not be created with the settings at hand.
    pub actions: Option<ActionList>,
}

impl Service {
    /// The plugins of the configured subjects and those in the plugin directories. Runs none of their code.
    pub async fn plugins(&self) -> Result<Vec<Listed>, ServiceError> {
        let quarantined = self.kept_out().await?;
        let config = &self.loaded().config;
        let mut listed: Vec<Listed> = Vec::new();
        for subject in &config.subjects {
            let found = loader::find_plugin(&subject.plugin, &config.plugin_dirs);
            let path = found.unwrap_or_else(|error| error.path);
            match listed.iter_mut().find(|known| known.path == path) {
                Some(known) => known.subjects.push(subject.name.clone()),
                None => listed.push(Listed {
                    subjects: vec![subject.name.clone()],
                    ..list_one(path, &quarantined)
                }),
            }
        }
        for candidate in loader::list_plugins(&config.plugin_dirs) {
            if listed.iter().all(|known| known.path != candidate.path) {
                listed.push(list_one(candidate.path, &quarantined));
            }
        }
        Ok(listed)
    }

    /// Asks a subject's plugin what it declares and what it can do.
    pub async fn inspect(&self, subject: &SubjectConfig) -> Result<Inspected, ServiceError> {
        let plugin = Arc::new(self.open(subject).await?);
        let descriptor = subject::describe(subject, &plugin).await?;
        let confinement = loader::confinement(
            &plugin,
            subject.isolation,
            &subject.sandbox,
            subject.deadlines.create,
        )
        .await?;
        let actions = self.actions_of(subject, &plugin, &descriptor).await;
        Ok(Inspected {
            path: plugin.path.clone(),
            sha256: plugin.sha256.clone(),
            manifest: plugin.manifest.clone(),
            lacks: subject.sandbox.lacks(&plugin.manifest.needs),
            unprotected: confinement.missing,
            descriptor,
            actions,
        })
    }

    async fn actions_of(
        &self,
        subject: &SubjectConfig,
        plugin: &Arc<Plugin>,
        descriptor: &Descriptor,
    ) -> Option<ActionList> {
        let plugin = Arc::clone(plugin);
        let context = self.subject_context();
        let prepared = subject::prepare(subject, plugin, descriptor.clone(), context).await;
        let prepared = prepared.ok()?;
        let actions = prepared.observer.list_actions().await;
        prepared.observer.shutdown().await;
        actions.ok()
    }

    /// The plugin file of a subject, examined. One in quarantine is refused: no command runs its code.
    pub(super) async fn open(&self, subject: &SubjectConfig) -> Result<Plugin, ServiceError> {
        let plugin = subject::open(subject, self.subject_context())?;
        let entries = self.kept_out().await?;
        match entries.iter().find(|entry| entry.sha256 == plugin.sha256) {
            None => Ok(plugin),
            Some(entry) => Err(ServiceError::Input(format!(
                "plugin {} is quarantined: {}; `operator plugins quarantine lift {}` lets it start again",
                entry.plugin,
                entry.reason,
                entry.sha256.get(..12).unwrap_or(&entry.sha256),
            ))),
        }
    }

    /// Every quarantined plugin file, the oldest first.
    pub async fn quarantined(&self) -> Result<Vec<Quarantined>, ServiceError> {
        Ok(self.reading().await?.quarantined().await?)
    }

    /// The same. Where there is no database nothing is in quarantine, and nothing is created to find that out.
    pub(crate) async fn kept_out(&self) -> Result<Vec<Quarantined>, ServiceError> {
        match self.quarantined().await {
            Err(ServiceError::NoDatabase(_)) => Ok(Vec::new()),
            entries => entries,
        }
    }

    /// Puts a subject's plugin file into quarantine.
    pub async fn quarantine(
        &self,
        subject: &SubjectConfig,
        by: &str,
        reason: &str,
    ) -> Result<Quarantined, ServiceError> {
        let path = loader::find_plugin(&subject.plugin, &self.loaded().config.plugin_dirs)?;
        let examined = loader::examine(&path)?;
        let entry = Quarantined {
            sha256: examined.sha256,
            plugin: examined.manifest.name,
            reason: reason.to_owned(),
            actor: by.to_owned(),
            at: Timestamp::now(),
        };
        self.store().await?.quarantine(&entry).await?;
        Ok(entry)
    }

    /// Lets a plugin file be started again: by the beginning of its hash, or by its name.
    pub async fn lift_quarantine(&self, which: &str) -> Result<Quarantined, ServiceError> {
        let store = self.store().await?;
        let entries = store.quarantined().await?;
        let wanted = which.to_lowercase();
        let mut meant: Vec<Quarantined> = entries
            .iter()
            .filter(|entry| entry.plugin == which || entry.sha256.starts_with(&wanted))
            .cloned()
            .collect();
        match meant.len() {
            1 => {
                let entry = meant.remove(0);
                store.lift_quarantine(&entry.sha256).await?;
                Ok(entry)
            }
            0 => {
                let names = entries.iter().map(|entry| entry.plugin.as_str());
                let fix = nearest(which, names)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                Err(ServiceError::Input(format!(
                    "nothing in quarantine has the name or hash `{which}`{fix}"
                )))
            }
            several => Err(ServiceError::Input(format!(
                "`{which}` means {several} plugin files in quarantine; give more of the hash"
            ))),
        }
    }
}

fn list_one(path: PathBuf, quarantined: &[Quarantined]) -> Listed {
    let examined = loader::examine(&path);
    let sha256 = examined
        .as_ref()
        .ok()
        .map(|examined| examined.sha256.clone());
    let entry = quarantined
        .iter()
        .find(|entry| Some(&entry.sha256) == sha256.as_ref());
    Listed {
        quarantined: entry.map(|entry| entry.reason.clone()),
        refused: examined.as_ref().err().map(|error| error.why.clone()),
        manifest: examined.ok().map(|examined| examined.manifest),
        subjects: Vec::new(),
        sha256,
        path,
    }
}
