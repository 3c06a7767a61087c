//! Who may have what done. Pure.

use super::ValidCall;

/// The permission to execute one call. Only this module can make one.
#[derive(Debug)]
pub struct Approved {
    call: ValidCall,
    by: String,
}

impl Approved {
    /// What may be done.
    pub fn call(&self) -> &ValidCall {
        &self.call
    }

    /// Who said so.
    pub fn by(&self) -> &str {
        &self.by
    }
}

/// A person who has seen this very call agrees to it.
pub fn agreed_by(call: ValidCall, person: &str) -> Approved {
    Approved {
        call,
        by: person.to_owned(),
    }
}
