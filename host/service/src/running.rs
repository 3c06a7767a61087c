//! The subjects that this process watches already, so that a question to one starts no second worker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use operator_loader::{Observer, WeakObserver};
use operator_plugin_api::Descriptor;

/// The watch loops own the instances; what is registered here keeps none of them alive.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunningSubjects(Arc<Mutex<BTreeMap<String, RunningSubject>>>);

#[derive(Debug)]
struct RunningSubject {
    descriptor: Arc<Descriptor>,
    observer: WeakObserver,
}

impl RunningSubjects {
    /// Registers an instance that a watch loop has connected, in place of an earlier one.
    pub(crate) fn register(
        &self,
        subject: &str,
        descriptor: &Arc<Descriptor>,
        observer: &Observer,
    ) {
        let running = RunningSubject {
            descriptor: Arc::clone(descriptor),
            observer: observer.downgrade(),
        };
        self.lock().insert(subject.to_owned(), running);
    }

    /// The instance of a subject, if its watch loop still has it.
    pub(crate) fn find(&self, subject: &str) -> Option<(Arc<Descriptor>, Observer)> {
        let running = self.lock();
        let found = running.get(subject)?;
        Some((Arc::clone(&found.descriptor), found.observer.upgrade()?))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, RunningSubject>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
