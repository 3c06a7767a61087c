//! All faults of a configuration or of parameters in one error.

use std::{fmt::Display, ops::RangeInclusive};

use operator_plugin_api::{Error, ErrorKind};

use crate::endpoint::Endpoint;

/// The faults that were found so far. Messages name the key and the fix, and never repeat a text, which can hold a
/// password.
#[derive(Debug, Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Adds a fault: "`key` must be ...".
    pub fn push(&mut self, fault: impl Into<String>) {
        self.0.push(fault.into());
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses a base URL; the example is one that would be accepted.
    pub fn endpoint(&mut self, key: &str, url: &str, example: &str) -> Option<Endpoint> {
        let endpoint = Endpoint::parse(url);
        if let Err(why) = &endpoint {
            self.push(format!("`{key}` {why}, as in `{example}`"));
        }
        endpoint.ok()
    }

    /// Checks that a number is within bounds. NaN is not.
    pub fn within<N: PartialOrd + Display>(
        &mut self,
        key: &str,
        number: N,
        bounds: RangeInclusive<N>,
    ) {
        if !bounds.contains(&number) {
            let (least, most) = (bounds.start(), bounds.end());
            self.push(format!(
                "`{key}` must be from {least} to {most}, not {number}"
            ));
        }
    }

    /// Checks that the length of a text is within bounds. Bytes.
    pub fn length(&mut self, key: &str, text: &str, bounds: RangeInclusive<usize>) {
        let length = text.len();
        if !bounds.contains(&length) {
            let (least, most) = (bounds.start(), bounds.end());
            self.push(format!(
                "`{key}` must have from {least} to {most} bytes, not {length}"
            ));
        }
    }

    /// Checks that a token, if there is one, fits into an HTTP header.
    pub fn token(&mut self, key: &str, token: Option<&str>) {
        let fits = |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        if token.is_some_and(|token| !fits(token)) {
            self.push(format!(
                "`{key}` must be printable ASCII without spaces, or absent"
            ));
        }
    }

    /// Succeeds where no fault was found; otherwise see [`Faults::error`].
    pub fn result(self, kind: ErrorKind, of: &str) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(self.error(kind, of))
    }

    /// One error with all faults: "configuration: `a` must be ...; `b` must be ...".
    pub fn error(self, kind: ErrorKind, of: &str) -> Error {
        Error::new(kind, format!("{of}: {}", self.joined()))
    }

    /// The faults as one text.
    pub fn joined(&self) -> String {
        self.0.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_and_no_text_is_repeated() {
        let mut faults = Faults::default();
        faults.endpoint("url", "ftp://canary", "http://localhost:1");
        faults.within("ratio", f64::NAN, 0.0..=1.0);
        faults.within("count", 7, 1..=5);
        faults.within("fine", 3, 1..=5);
        faults.length("name", "canary", 1..=3);
        faults.token("token", Some("canary canary"));
        faults.token("none", None);
        let error = faults
            .result(ErrorKind::Config, "configuration")
            .unwrap_err();
        for key in ["`url`", "`ratio`", "`count`", "`name`", "`token`"] {
            assert!(error.message.contains(key), "{key} is missing in {error}");
        }
        for other in ["canary", "fine", "none"] {
            assert!(!error.message.contains(other), "{error}");
        }
        assert_eq!(Faults::default().result(ErrorKind::Config, ""), Ok(()));
    }
}
