//! What a subject remembers from one observation to the next. Only `observe` uses it; what `check` needs is written into the
//! observation.

use crate::{keys::Keys, observation::ApiForm, roster::Roster};

/// The memory of a subject.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) roster: Roster,
    pub(crate) keys: Keys,
    /// The form of the management API that answered last; none before the first answer.
    pub(crate) form: Option<ApiForm>,
}
