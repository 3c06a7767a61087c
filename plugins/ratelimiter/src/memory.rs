//! What a subject remembers from one observation to the next. Only `observe` uses it; what `check` needs of it is written
//! into the observation.

use crate::{keys::Keys, observation::ApiForm, roster::Roster};

/// What is remembered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    pub(crate) roster: Roster,
    pub(crate) keys: Keys,
    /// The form of the management API that answered last; none while none did.
    pub(crate) form: Option<ApiForm>,
}
