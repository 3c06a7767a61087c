//! What must be right before anything is watched.

use std::{collections::BTreeMap, sync::Arc};

use operator_config::{Fault, Faults, KeyPath, Origin, SubjectConfig};
use operator_loader::LoadError;
use operator_monitor::Event;
use operator_store::Quarantined;
use operator_subject::{self as subject, PreparedSubject};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{Service, ServiceError};

/// At most this many plugins are started at the same time: more would only take turns on the processors.
const AT_ONCE: usize = 32;
/// With fewer subjects nobody waits long enough to be told how it goes.
const MANY: usize = 100;

/// A mistake in the configuration is reported at once, and nothing is watched. A plugin that is refused or fails must not
/// keep the other subjects from being watched: it gets a ticket. The instances that proved a subject, for its loop to go on with.
pub(super) async fn refuse_bad_input(
    service: &Service,
) -> Result<BTreeMap<String, PreparedSubject>, ServiceError> {
    let mut good = BTreeMap::new();
    let mut faults = Vec::new();
    for (subject, proof) in proofs(service).await? {
        let error = match proof {
            Ok(proven) => {
                good.extend(proven.map(|proven| (subject.name, proven)));
                continue;
            }
            Err(error) => error,
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
    Ok(good)
}

/// None for a plugin in quarantine.
type Proof = Result<Option<PreparedSubject>, ServiceError>;

/// The proof of each subject, in the order of the configuration.
async fn proofs(service: &Service) -> Result<Vec<(SubjectConfig, Proof)>, ServiceError> {
    let quarantined: Arc<[Quarantined]> = service.kept_out().await?.into();
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let subjects = &service.loaded().config.subjects;
    let mut running = JoinSet::new();
    for (position, subject) in subjects.iter().enumerate() {
        let (service, subject) = (service.clone(), subject.clone());
        let (quarantined, turns) = (quarantined.clone(), turns.clone());
        running.spawn(async move {
            let _turn = turns.acquire().await;
            let proof = prove(&service, &subject, &quarantined).await;
            (position, subject, proof)
        });
    }
    let all = subjects.len();
    let mut proofs = Vec::with_capacity(all);
    while let Some(proof) = running.join_next().await {
        proofs.extend(proof.ok());
        let done = proofs.len();
        if all >= MANY && done.is_multiple_of(all / 5) {
            let hub = service.publisher().hub();
            hub.publish(Event::Started { done, all });
        }
    }
    proofs.sort_by_key(|(position, ..)| *position);
    let proofs = proofs.into_iter();
    Ok(proofs.map(|(_, subject, proof)| (subject, proof)).collect())
}

/// Proves that a subject can be watched, running no code that is in quarantine.
async fn prove(service: &Service, subject: &SubjectConfig, quarantined: &[Quarantined]) -> Proof {
    let plugin = subject::open(subject, service.subject_context())?;
    let mut quarantined = quarantined.iter();
    if quarantined.any(|entry| entry.sha256 == plugin.sha256) {
        return Ok(None);
    }
    let proven = service.prove_and_keep(subject, Arc::new(plugin)).await?;
    Ok(Some(proven))
}
