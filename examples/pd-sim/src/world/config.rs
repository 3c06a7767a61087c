//! PD's configuration, as far as it can be read and changed over HTTP.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{MINUTE, Nanos, SECOND};
use crate::go_format;

/// The settings that can only be set with a TTL.
const TEMPORARY: [&str; 11] = [
    "max-snapshot-count",
    "max-merge-region-size",
    "max-pending-peer-count",
    "max-merge-region-keys",
    "leader-schedule-limit",
    "region-schedule-limit",
    "replica-schedule-limit",
    "merge-schedule-limit",
    "hot-region-schedule-limit",
    "scheduler-max-waiting-operator",
    "enable-location-replacement",
];

/// Keys that the API replaces with values stored elsewhere.
const SHOWN_ELSEWHERE: Value = Value::Null;

/// Why a setting was rejected.
#[derive(Debug, PartialEq)]
pub(crate) enum ConfigError {
    NotFound(String),
    /// A value of the wrong type, such as a boolean instead of a number.
    WrongType {
        key: String,
        is: &'static str,
        wanted: &'static str,
    },
    /// It would contradict another setting.
    Invalid(String),
    /// A value with a TTL blocks the change.
    Temporary(String),
}

#[derive(Debug)]
pub(crate) struct Config {
    /// `schedule`, in PD's order.
    pub(crate) schedule: Vec<(&'static str, Value)>,
    pub(crate) replication: Vec<(&'static str, Value)>,
    temporary: BTreeMap<&'static str, (Value, Nanos)>,
}

impl Config {
    /// The defaults; `newest` adds items that v8.5 does not have.
    pub(crate) fn new(replicas: usize, newest: bool) -> Self {
        let mut schedule = defaults();
        if !newest {
            schedule.retain(|(key, _)| *key != "default-store-limit");
        }
        Self {
            schedule,
            replication: vec![
                ("max-replicas", json!(replicas)),
                ("location-labels", json!("")),
                ("strictly-match-label", json!("false")),
                ("enable-placement-rules", json!("true")),
                ("enable-placement-rules-cache", json!("false")),
                ("isolation-level", json!("")),
            ],
            temporary: BTreeMap::new(),
        }
    }

    fn value(&self, key: &str, now: Nanos) -> &Value {
        if let Some((value, until)) = self.temporary.get(key)
            && *until > now
        {
            return value;
        }
        let mut all = self.schedule.iter().chain(&self.replication);
        all.find(|(name, _)| *name == key)
            .map_or(&Value::Null, |(_, value)| value)
    }

    pub(crate) fn number(&self, key: &str, now: Nanos) -> usize {
        let number = self.value(key, now).as_u64().unwrap_or(0);
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    pub(crate) fn ratio(&self, key: &str, now: Nanos) -> f64 {
        self.value(key, now).as_f64().unwrap_or(0.0)
    }

    pub(crate) fn is_on(&self, key: &str, now: Nanos) -> bool {
        self.value(key, now) == "true"
    }

    pub(crate) fn down_after(&self, now: Nanos) -> Nanos {
        let text = self.value("max-store-down-time", now).as_str();
        text.and_then(go_format::parse_duration)
            .unwrap_or(30 * MINUTE)
    }

    /// Sets one item of `schedule` or `replication`; `key` may be dotted.
    pub(crate) fn set(&mut self, key: &str, value: &Value, now: Nanos) -> Result<(), ConfigError> {
        let bare = bare(key);
        if self
            .temporary
            .get(bare)
            .is_some_and(|(_, until)| *until > now)
        {
            return Err(ConfigError::Temporary(format!("schedule.{bare}")));
        }
        let mut all = self.schedule.iter_mut().chain(&mut self.replication);
        let found = all.find(|(name, _)| *name == bare);
        let Some((_, current)) = found else {
            return Err(ConfigError::NotFound(key.to_owned()));
        };
        check_type(bare, current, value)?;
        let before = std::mem::replace(current, value.clone());
        if self.ratio("low-space-ratio", now) <= self.ratio("high-space-ratio", now) {
            let undone = self.set(bare, &before, now);
            debug_assert!(undone.is_ok(), "what was there is valid");
            let text = "low-space-ratio should be larger than high-space-ratio";
            return Err(ConfigError::Invalid(text.to_owned()));
        }
        Ok(())
    }

    /// Sets one item with a TTL in seconds; 0 removes it.
    pub(crate) fn set_for(
        &mut self,
        key: &str,
        value: &Value,
        seconds: i64,
        now: Nanos,
    ) -> Result<(), ConfigError> {
        let known = TEMPORARY.iter().find(|name| **name == bare(key));
        let Some(known) = known else {
            return Err(ConfigError::NotFound(format!(
                "unsupported ttl config {key}"
            )));
        };
        check_type(known, self.value(known, Nanos::MAX), value)?;
        self.temporary
            .insert(known, (value.clone(), now + seconds * SECOND));
        Ok(())
    }
}

fn bare(key: &str) -> &str {
    let undotted = key.strip_prefix("schedule.");
    undotted
        .or_else(|| key.strip_prefix("replication."))
        .unwrap_or(key)
}

fn check_type(key: &str, current: &Value, value: &Value) -> Result<(), ConfigError> {
    let fits = match current {
        Value::Number(number) if number.is_f64() => value.is_number(),
        Value::Number(_) => value.is_u64() || value.is_i64(),
        Value::String(text) if text == "true" || text == "false" => {
            value == "true" || value == "false"
        }
        Value::String(_) => value.is_string(),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let is = match value {
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Array(_) => "array",
        Value::Object(_) | Value::Null => "object",
    };
    let wanted = match current {
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "uint64",
        _ => "string",
    };
    Err(ConfigError::WrongType {
        key: key.to_owned(),
        is,
        wanted,
    })
}

fn defaults() -> Vec<(&'static str, Value)> {
    vec![
        ("max-snapshot-count", json!(64)),
        ("max-pending-peer-count", json!(64)),
        ("max-merge-region-size", json!(54)),
        ("max-merge-region-keys", json!(540_000)),
        ("split-merge-interval", json!("1h0m0s")),
        ("switch-witness-interval", json!("1h0m0s")),
        ("enable-one-way-merge", json!("false")),
        ("enable-cross-table-merge", json!("true")),
        ("patrol-region-interval", json!("10ms")),
        ("max-store-down-time", json!("30m0s")),
        ("max-store-preparing-time", json!("48h0m0s")),
        ("leader-schedule-limit", json!(4)),
        ("leader-schedule-policy", json!("count")),
        ("region-schedule-limit", json!(2_048)),
        ("witness-schedule-limit", json!(4)),
        ("replica-schedule-limit", json!(64)),
        ("merge-schedule-limit", json!(8)),
        ("hot-region-schedule-limit", json!(4)),
        ("affinity-schedule-limit", json!(0)),
        ("split-scatter-schedule-limit", json!(4)),
        ("hot-region-cache-hits-threshold", json!(3)),
        (
            "default-store-limit",
            json!({"add-peer": 15, "remove-peer": 15}),
        ),
        ("store-limit", SHOWN_ELSEWHERE),
        ("tolerant-size-ratio", json!(0.0)),
        ("low-space-ratio", json!(0.8)),
        ("high-space-ratio", json!(0.7)),
        ("region-score-formula-version", json!("v2")),
        ("scheduler-max-waiting-operator", json!(5)),
        ("enable-remove-down-replica", json!("true")),
        ("enable-replace-offline-replica", json!("true")),
        ("enable-make-up-replica", json!("true")),
        ("enable-remove-extra-replica", json!("true")),
        ("enable-location-replacement", json!("true")),
        ("enable-debug-metrics", json!("false")),
        ("enable-joint-consensus", json!("true")),
        ("enable-tikv-split-region", json!("true")),
        ("enable-heartbeat-breakdown-metrics", json!("true")),
        ("enable-heartbeat-concurrent-runner", json!("true")),
        ("schedulers-v2", SHOWN_ELSEWHERE),
        ("hot-regions-write-interval", json!("10m0s")),
        ("hot-regions-reserved-days", json!(7)),
        ("max-movable-hot-peer-size", json!(512)),
        ("enable-diagnostic", json!("true")),
        ("enable-witness", json!("false")),
        (
            "slow-store-evicting-affected-store-ratio-threshold",
            json!(0.3),
        ),
        ("store-limit-version", json!("v1")),
        ("halt-scheduling", json!("false")),
        ("patrol-region-worker-count", json!(1)),
        ("max-affinity-merge-region-size", json!(256)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_with_a_ttl_expires() {
        let mut config = Config::new(3, true);
        let key = "schedule.leader-schedule-limit";
        config.set_for(key, &json!(0), 60, 0).unwrap();
        assert_eq!(config.number("leader-schedule-limit", 59 * SECOND), 0);
        assert_eq!(config.number("leader-schedule-limit", MINUTE), 4);
    }

    #[test]
    fn a_setting_with_a_ttl_blocks_a_permanent_one() {
        let mut config = Config::new(3, true);
        let key = "schedule.leader-schedule-limit";
        config.set_for(key, &json!(0), 60, 0).unwrap();
        let refused = config.set("leader-schedule-limit", &json!(8), SECOND);
        assert_eq!(refused, Err(ConfigError::Temporary(key.to_owned())));
        config.set_for(key, &json!(0), 0, SECOND).unwrap();
        assert_eq!(
            config.set("leader-schedule-limit", &json!(8), SECOND),
            Ok(())
        );
    }

    #[test]
    fn a_contradicting_setting_is_rejected() {
        let mut config = Config::new(3, true);
        let refused = config.set("low-space-ratio", &json!(0.5), 0);
        assert!(matches!(refused, Err(ConfigError::Invalid(_))));
        assert!((config.ratio("low-space-ratio", 0) - 0.8).abs() < f64::EPSILON);
    }

    #[test]
    fn a_bare_boolean_is_refused() {
        let mut config = Config::new(3, true);
        assert!(config.set("halt-scheduling", &json!(true), 0).is_err());
        assert_eq!(config.set("halt-scheduling", &json!("true"), 0), Ok(()));
    }
}
