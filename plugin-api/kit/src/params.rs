//! Parameters of actions.

use operator_plugin_api::{Call, Error, ErrorKind};
use serde::de::DeserializeOwned;

use crate::{faults::Faults, text::did_you_mean};

/// Parameters with bounds beyond their types. The schema contains the bounds for the caller; they are checked here again
/// before anything is sent.
pub trait Bounded {
    /// Adds what does not fit.
    fn check(&self, faults: &mut Faults);
}

/// No parameters.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Deserialize, operator_plugin_api::schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "operator_plugin_api::schemars")]
pub struct NoParams {}

impl Bounded for NoParams {
    fn check(&self, _: &mut Faults) {}
}

/// The parameters of a call, with every fault named.
pub fn parse<P: DeserializeOwned + Bounded>(call: &Call) -> Result<P, Error> {
    let params: P = call.params()?;
    let mut faults = Faults::default();
    params.check(&mut faults);
    let of = format!("parameters of `{}`", call.action);
    faults.result(ErrorKind::Invalid, &of)?;
    Ok(params)
}

/// The error for an action that does not exist.
pub fn unknown_action<'a>(action: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.into_iter().collect();
    let suggestion = did_you_mean(action, &known);
    let message = format!("there is no action `{action}`; {suggestion}");
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use operator_plugin_api::Deadline;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Level {
        node: String,
        level: u64,
    }

    impl Bounded for Level {
        fn check(&self, faults: &mut Faults) {
            faults.length("node", &self.node, 1..=8);
            faults.within("level", self.level, 0..=100);
        }
    }

    fn level(params: Value) -> Result<Level, Error> {
        let deadline = Deadline::after(Duration::from_secs(1));
        parse(&Call::new("set_level", params, deadline))
    }

    #[test]
    fn every_fault_of_the_parameters_is_named() {
        assert!(level(json!({"node": "a", "level": 100})).is_ok());
        let error = level(json!({"node": "", "level": 101})).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert_eq!(
            error.message,
            "parameters of `set_level`: `node` must have from 1 to 8 bytes, not 0; `level` must be from 0 to 100, not 101"
        );
    }

    #[test]
    fn a_misspelled_action_is_suggested() {
        let error = unknown_action("set_levle", ["set_level", "reset"]);
        assert!(
            error.message.contains("did you mean `set_level`?"),
            "{error}"
        );
    }
}
