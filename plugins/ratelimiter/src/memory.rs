//! What a subject remembers from one observation to the next. Only `observe` uses it; what `check` needs is written into the
//! observation.

use crate::{
    checks::CheckCounts, kept::Told, keys::Keys, management::Answers, observation::ApiForm,
    roster::Roster, sweep::Sweep,
};

/// The memory of a subject.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) roster: Roster,
    pub(crate) keys: Keys,
    /// The form of the management API that answered last; none before the first answer.
    pub(crate) form: Option<ApiForm>,
    /// What was answered to questions that are not asked in every cycle.
    pub(crate) answers: Answers,
    /// Where reading the registry goes on.
    pub(crate) registry_cursor: u64,
    pub(crate) sweep: Sweep,
    pub(crate) checks: CheckCounts,
    pub(crate) told: Told,
    /// Whether something was read, so that what the host kept is no news.
    pub(crate) has_observed: bool,
}
