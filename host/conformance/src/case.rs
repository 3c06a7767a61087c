//! What a case is.

use super::{context::CaseContext, verdict::CaseResult};

/// One property that the suite tests.
pub(super) struct Case {
    /// `group.name`
    pub(super) id: &'static str,
    /// What a conforming plugin does, in a sentence.
    pub(super) expects: &'static str,
    /// How to fix a plugin that does not, in a sentence.
    pub(super) fix: &'static str,
    pub(super) run: fn(&CaseContext) -> CaseResult,
}

impl Case {
    /// The first part of its id.
    pub(super) fn group(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(group, _)| group)
    }
}
