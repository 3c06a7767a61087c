//! Real faults, switched at run time, and only with `--enable-chaos`.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The highest `added_latency_ms` accepted.
pub(crate) const MAX_ADDED_LATENCY_MS: u64 = 60_000;
/// The largest clock skew in either direction, in ms.
pub(crate) const MAX_CLOCK_SKEW_MS: i64 = 86_400_000;

/// Which faults are on. A field that is left out of a request is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Faults {
    /// Count and add in two round trips, so that bursts overshoot.
    pub(crate) non_atomic: bool,
    /// Use this node's own clock with this offset instead of Redis's.
    pub(crate) clock_skew_ms: i64,
    /// Count, but never refuse a check for its limit.
    pub(crate) ignore_limits: bool,
    /// Wait this long before each check is answered.
    pub(crate) added_latency_ms: u64,
    /// Every Redis operation of this node hangs until its timeout.
    pub(crate) redis_hang: bool,
}

impl Faults {
    pub(crate) fn validate(self) -> Result<Self, String> {
        if self.added_latency_ms > MAX_ADDED_LATENCY_MS {
            return Err(format!(
                "added_latency_ms must be at most {MAX_ADDED_LATENCY_MS}"
            ));
        }
        if self.clock_skew_ms.unsigned_abs() > MAX_CLOCK_SKEW_MS.unsigned_abs() {
            return Err(format!(
                "clock_skew_ms must be within plus or minus {MAX_CLOCK_SKEW_MS}"
            ));
        }
        Ok(self)
    }

    /// Whether no active fault affects decisions.
    pub(crate) fn keeps_decisions_correct(self) -> bool {
        let sound = Self {
            added_latency_ms: self.added_latency_ms,
            ..Self::default()
        };
        self == sound
    }

    pub(crate) fn added_latency(self) -> Option<Duration> {
        (self.added_latency_ms > 0).then(|| Duration::from_millis(self.added_latency_ms))
    }
}

/// The active faults of this node.
#[derive(Debug, Default)]
pub(crate) struct Chaos(RwLock<Faults>);

impl Chaos {
    pub(crate) fn now(&self) -> Faults {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, faults: Faults) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = faults;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_left_out_is_off_and_an_unknown_one_is_refused() {
        let faults: Faults = serde_json::from_str(r#"{"redis_hang":true}"#).unwrap();
        assert_eq!(
            faults,
            Faults {
                redis_hang: true,
                ..Faults::default()
            }
        );
        assert!(serde_json::from_str::<Faults>(r#"{"redis_hangs":true}"#).is_err());
    }

    #[test]
    fn faults_have_bounds() {
        let slow = Faults {
            added_latency_ms: MAX_ADDED_LATENCY_MS + 1,
            ..Faults::default()
        };
        assert!(slow.validate().is_err());
        let skewed = Faults {
            clock_skew_ms: -MAX_CLOCK_SKEW_MS - 1,
            ..Faults::default()
        };
        assert!(skewed.validate().is_err());
    }
}
