//! What a subject's plugin wants to know again: given back with every `observe`, and kept in the store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::value::RawValue;

/// Between two writes while a cycle writes nothing else.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// The memory of one subject's plugin, and how much of it the store has.
#[derive(Default)]
pub(super) struct PluginMemory {
    latest: Option<Arc<RawValue>>,
    /// Whether `latest` differs from what the store has.
    is_unwritten: bool,
    written: Option<Instant>,
}

impl PluginMemory {
    /// As the store has it. What cannot be understood counts as none.
    pub(super) fn kept(text: Option<String>) -> Self {
        let latest = text.and_then(|text| RawValue::from_string(text).ok());
        Self {
            latest: latest.map(Arc::from),
            ..Self::default()
        }
    }

    pub(super) fn latest(&self) -> Option<Arc<RawValue>> {
        self.latest.clone()
    }

    /// Takes over what an observation contains. Nothing in it changes nothing.
    pub(super) fn learn(&mut self, observed: Option<&Arc<RawValue>>) {
        let Some(observed) = observed else { return };
        let is_known = self
            .latest
            .as_ref()
            .is_some_and(|latest| latest.get() == observed.get());
        if !is_known {
            self.latest = Some(Arc::clone(observed));
            self.is_unwritten = true;
        }
    }

    /// What the store does not have yet: to be written with anything else that is.
    pub(super) fn unwritten(&self) -> Option<&str> {
        let latest = self.latest.as_ref().filter(|_| self.is_unwritten);
        latest.map(|latest| latest.get())
    }

    /// What must be written now, even if nothing else is.
    pub(super) fn due(&self) -> Option<&str> {
        let is_early = self.written.is_some_and(|at| at.elapsed() < WRITE_AGAIN);
        self.unwritten().filter(|_| !is_early)
    }

    /// The store has it.
    pub(super) fn mark_written(&mut self) {
        self.is_unwritten = false;
        self.written = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Arc<RawValue> {
        Arc::from(RawValue::from_string(text.to_owned()).expect("JSON"))
    }

    #[test]
    fn only_what_changed_is_written_and_not_in_every_cycle() {
        let mut memory = PluginMemory::kept(Some(r#"{"n":1}"#.to_owned()));
        memory.learn(Some(&json(r#"{"n":1}"#)));
        memory.learn(None);
        assert_eq!(memory.unwritten(), None);
        memory.learn(Some(&json(r#"{"n":2}"#)));
        assert_eq!(memory.due(), Some(r#"{"n":2}"#));
        memory.mark_written();
        assert_eq!(memory.unwritten(), None);
        memory.learn(Some(&json(r#"{"n":3}"#)));
        assert_eq!(memory.due(), None);
        assert_eq!(memory.unwritten(), Some(r#"{"n":3}"#));
    }

    #[test]
    fn what_cannot_be_understood_counts_as_none() {
        assert!(PluginMemory::kept(Some("{".to_owned())).latest().is_none());
    }
}
