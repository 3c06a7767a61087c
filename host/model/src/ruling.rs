//! Rulings: what each rule of the gate decides about a call.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The rules of the gate. A rule is named after its setting, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Nothing runs while the kill switch is engaged.
    KillSwitch,
    /// Nothing runs in the mode `observe`.
    Mode,
    /// No action of the deny list runs.
    Deny,
    /// A valid approval of these very calls is needed.
    Approval,
    /// Nothing begins before its time, or before what it follows.
    NotBefore,
    /// Actions run only within the maintenance windows.
    MaintenanceWindows,
    /// At most one proposal is executed on a subject.
    OneAtATime,
    /// Time passes between two calls of one action.
    Cooldown,
    /// Calls of one action within an hour are limited.
    MaxPerActionPerHour,
    /// Calls of all actions within an hour are limited.
    MaxPerHour,
    /// The number of different resources that are affected is limited.
    BlastRadius,
}

impl Rule {
    /// Every rule, in the order of their rank.
    pub const ALL: [Self; 11] = [
        Self::KillSwitch,
        Self::Mode,
        Self::Deny,
        Self::Approval,
        Self::NotBefore,
        Self::MaintenanceWindows,
        Self::OneAtATime,
        Self::Cooldown,
        Self::MaxPerActionPerHour,
        Self::MaxPerHour,
        Self::BlastRadius,
    ];

    /// The name in the store, in documents and in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KillSwitch => "kill_switch",
            Self::Mode => "mode",
            Self::Deny => "deny",
            Self::Approval => "approval",
            Self::NotBefore => "not_before",
            Self::MaintenanceWindows => "maintenance_windows",
            Self::OneAtATime => "one_at_a_time",
            Self::Cooldown => "cooldown",
            Self::MaxPerActionPerHour => "max_per_action_per_hour",
            Self::MaxPerHour => "max_per_hour",
            Self::BlastRadius => "blast_radius",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What follows when a rule refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// It may begin later; its approval stays.
    #[serde(rename = "waits")]
    Defer,
    /// Its approval is no longer valid; a person may approve it anew.
    #[serde(rename = "lapses")]
    Lapse,
    /// It will never run.
    #[serde(rename = "rejects")]
    Reject,
}

/// What one rule decides about a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// Which rule.
    pub rule: Rule,
    /// What follows if it refuses; absent if it does not.
    pub refuses: Option<Consequence>,
    /// The reason, in a sentence.
    #[serde(rename = "says")]
    pub reason: String,
}

/// The refusal of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("refused by the rule `{rule}`: {reason}")]
pub struct RuleRefusal {
    /// Which rule.
    pub rule: Rule,
    /// What follows.
    #[serde(rename = "weight")]
    pub consequence: Consequence,
    /// Why.
    #[serde(rename = "says")]
    pub reason: String,
}

impl Ruling {
    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<RuleRefusal> {
        Some(RuleRefusal {
            rule: self.rule,
            consequence: self.refuses?,
            reason: self.reason.clone(),
        })
    }
}

/// Why a proposal does not begin for now. Kept and shown as `rule: reason`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// Which rule; none when it is one that only a newer version knows.
    rule: Option<Rule>,
    text: String,
}

impl HeldBack {
    /// Whether this rule holds it back.
    pub fn is_by(&self, rule: Rule) -> bool {
        self.rule == Some(rule)
    }
}

impl From<&RuleRefusal> for HeldBack {
    fn from(refusal: &RuleRefusal) -> Self {
        Self {
            rule: Some(refusal.rule),
            text: format!("{}: {}", refusal.rule, refusal.reason),
        }
    }
}

/// As it was kept.
impl From<String> for HeldBack {
    fn from(text: String) -> Self {
        let name = text.split_once(": ").map(|(name, _)| Value::from(name));
        Self {
            rule: name.and_then(|name| serde_json::from_value(name).ok()),
            text,
        }
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for HeldBack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_one_name() {
        for rule in Rule::ALL {
            assert_eq!(serde_json::json!(rule), rule.as_str());
        }
    }

    #[test]
    fn what_holds_back_is_read_as_it_was_kept() {
        for rule in Rule::ALL {
            let refusal = RuleRefusal {
                rule,
                consequence: Consequence::Defer,
                reason: "outside of Sat 00:00-24:00: really".to_owned(),
            };
            let held_back = HeldBack::from(&refusal);
            let kept = HeldBack::from(held_back.to_string());
            assert_eq!(kept, held_back);
            assert!(kept.is_by(rule));
        }
        let newer = HeldBack::from("moon_phase: it is full".to_owned());
        assert!(Rule::ALL.iter().all(|rule| !newer.is_by(*rule)));
        assert_eq!(newer.to_string(), "moon_phase: it is full");
    }
}
