//! What must be right before anything is watched.

use std::sync::Arc;

use operator_config::{Fault, Faults, KeyPath, Origin, SubjectConfig};
use operator_loader::LoadError;
use operator_subject as subject;
use tokio::task::JoinSet;

use crate::{Service, ServiceError};

/// A mistake in the configuration is reported at once, and nothing is watched. A plugin that is refused or fails must not
/// keep the other subjects from being watched: it gets a ticket.
pub(super) async fn refuse_bad_input(service: &Service) -> Result<(), ServiceError> {
    let mut proofs = JoinSet::new();
    for (position, subject) in service.loaded().config.subjects.iter().enumerate() {
        let (service, subject) = (service.clone(), subject.clone());
        proofs.spawn(async move {
            let proof = prove(&service, &subject).await;
            (position, subject, proof)
        });
    }
    let mut proven = Vec::new();
    while let Some(proof) = proofs.join_next().await {
        proven.extend(proof.ok());
    }
    proven.sort_by_key(|(position, ..)| *position);
    let mut faults = Vec::new();
    for (_, subject, proof) in proven {
        let Err(error) = proof else {
            continue;
        };
        let key = KeyPath::new(["subjects", &subject.name, "plugin"]);
        let origin = service.loaded().origins.around(&key);
        match error {
            ServiceError::Config(found) => faults.extend(found.0),
            error @ ServiceError::Store(_) => return Err(error),
            // A person at the keyboard waits for this very plugin.
            error if matches!(origin, Origin::Flag(_)) => return Err(error),
            ServiceError::Load(LoadError { path, why, .. }) if !path.exists() => {
                faults.push(Fault {
                    origin,
                    key: Some(key),
                    what: format!("{}: {why}", path.display()),
                    fix: String::new(),
                });
            }
            ServiceError::Plugin(error) if error.is_config() => faults.push(Fault {
                origin,
                key: Some(KeyPath::new(["subjects", &subject.name, "config"])),
                what: error.to_string(),
                fix: String::new(),
            }),
            error => tracing::warn!(subject = subject.name, "{error}"),
        }
    }
    Faults(faults).or(())?;
    Ok(())
}

/// Proves that a subject can be watched, running no code that is in quarantine.
async fn prove(service: &Service, subject: &SubjectConfig) -> Result<(), ServiceError> {
    let plugin = subject::open(subject, service.subject_context())?;
    let quarantined = service.quarantined().await?;
    if quarantined
        .iter()
        .all(|entry| entry.sha256 != plugin.sha256)
    {
        service.prove_with(subject, Arc::new(plugin)).await?;
    }
    Ok(())
}
